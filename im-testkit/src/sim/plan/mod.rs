//! What happens in a run: drawn from a seed, and then fixed, so that a failing plan can be shrunk
//! by leaving parts of it out.

mod draw;
mod more;
mod op;

use std::time::Duration;

use im_core::frame::Codec;

pub use op::{Op, To};

use super::ports::{BusWeather, StoreWeather};

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it was drawn from; also what every chance during the run comes from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many users.
    pub users: usize,
    /// Each client: a device of a user.
    pub clients: Vec<Device>,
    /// Settings of the nodes.
    pub tuning: Tuning,
    /// How the store behaves.
    pub store: StoreWeather,
    /// Over how many stores conversations are spread.
    pub shards: usize,
    /// A hot tier before the store, or stores.
    pub tier: Option<Tier>,
    /// How the bus behaves.
    pub bus: BusWeather,
    /// The most milliseconds that the registry takes.
    pub registry_slow_ms: u64,
    /// At most so many milliseconds more for a frame on the network; few take ten times that.
    pub network_slow_ms: u64,
    /// How long the chaos lasts.
    pub chaos: Duration,
    /// What is done, and when: milliseconds from the start, ascending.
    pub ops: Vec<(u64, Op)>,
}

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Whose.
    pub user: usize,
    /// How it writes.
    pub codec: Codec,
    /// The most sends of one conversation in flight.
    pub per_target: usize,
    /// Frames that the network holds for it before its node must wait.
    pub capacity: usize,
}

/// Settings of the nodes, small enough to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// `limits.window`.
    pub window: usize,
    /// `limits.ack_ms`.
    pub ack_ms: u64,
    /// `limits.sends_per_s`.
    pub sends_per_s: u32,
    /// `heartbeat`.
    pub heartbeat: Duration,
    /// `sweep`.
    pub sweep: Duration,
    /// `commit_deadline`.
    pub commit_deadline: Duration,
    /// `lanes`.
    pub lanes: usize,
    /// `batch_max`.
    pub batch_max: usize,
    /// How long a lease of the registry holds.
    pub lease: Duration,
}

/// A hot tier, small enough that what it holds comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// A commit is answered when the tier has it, not when the store has.
    pub is_cached: bool,
    /// Entries that it keeps of a log although the store has them.
    pub keep: usize,
    /// With so many entries that the store has not, it is busy.
    pub backlog_max: u64,
    /// The second append to a log within this time makes it hot; with zero, the first.
    pub warm_within: Duration,
    /// How often flushers look.
    pub flush_every: Duration,
    /// How many entries they take at once.
    pub flush_entries: usize,
    /// How the tier behaves.
    pub weather: StoreWeather,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        more::plan(seed)
    }

    /// The plan of a seed on one store, with as little that goes wrong as the first simulator knew.
    /// What it is for a seed does not change, so that seeds which once failed stay what they were.
    #[must_use]
    pub fn plain(seed: u64) -> Self {
        draw::plain(seed)
    }

    /// A plan in which nothing goes wrong: one node, two users, a few messages.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        draw::calm(seed)
    }

    /// The same plan with only some of its operations, by their places.
    #[must_use]
    pub fn with_ops(&self, keep: &[usize]) -> Self {
        let ops = self.ops.iter().enumerate();
        let ops = ops.filter(|(at, _)| keep.contains(at));
        Self {
            ops: ops.map(|(_, op)| op.clone()).collect(),
            ..self.clone()
        }
    }
}
