//! How a tiered store is set up.

use std::time::Duration;

/// When a commit is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the cold store has committed it. The hot tier may lose everything at any time, and may
    /// be away: nothing that was answered is lost.
    #[default]
    Committed,
    /// When the hot tier has it. What the tier loses before it reached the cold store is lost
    /// although it was answered; such a log begins another epoch, so that clients drop their copy.
    Cached,
}

/// How a tiered store is set up; the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// When a commit is answered.
    pub durability: Durability,
    /// The second append to a conversation within this time makes it hot; with zero, the first one.
    pub warm_within: Duration,
    /// How often is looked for what has not reached the cold store; at once when this node appends.
    pub flush_every: Duration,
    /// About how many entries go to the cold store in one batch.
    pub flush_entries: usize,
    /// For how long a `cm_id` is remembered: the node's `dedupe_ms`.
    pub dedupe: Duration,
    /// Where this node's own numbers begin, so that a run repeats; drawn without. No two nodes may
    /// have the same.
    pub seed: Option<u64>,
    /// How long a list waits until what was appended before is in the cold store.
    pub list_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Committed,
            warm_within: Duration::from_secs(60),
            flush_every: Duration::from_millis(100),
            flush_entries: 2_000,
            dedupe: Duration::from_secs(7 * 24 * 3600),
            seed: None,
            list_wait: Duration::from_secs(8),
        }
    }
}
