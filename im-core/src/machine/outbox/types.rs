//! What goes into an outbox and what comes out.

use std::time::Duration;

use crate::frame::Failure;
use crate::machine::Backoff;
#[cfg(doc)]
use crate::machine::Outbox;
use crate::model::{CmId, ConversationId, Draft, MessageId, Seq, Timestamp};

/// Bounds and times of an [`Outbox`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The most sends in flight. Default 32.
    pub window: usize,
    /// The most sends of one target that left and are not answered. 1 keeps their order even when
    /// the server refuses one for a while. Default: no bound beside `window`.
    pub per_target: usize,
    /// The most unanswered sends. Default 1,024.
    pub queue_max: usize,
    /// The most bytes of unanswered sends, about. Default 16 MiB.
    pub queue_bytes_max: usize,
    /// When a send without an answer leaves again. Default 10 s to 60 s.
    pub answer: Backoff,
    /// How long a refused send waits, if the server doesn't ask for longer. Default 0.2 s to 30 s.
    pub retry: Backoff,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            window: 32,
            per_target: usize::MAX,
            queue_max: 1_024,
            queue_bytes_max: 16 << 20,
            answer: Backoff::new(Duration::from_secs(10), Duration::from_secs(60)),
            retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// What became of a send; exactly one for each accepted by [`Outbox::handle_send`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxEvent {
    /// The server refused it for good; nothing was stored.
    Failed {
        /// Which.
        cm_id: CmId,
        /// Why.
        failure: Failure,
    },
    /// It was tried as long as the server would have recognised it, in vain. Whether it was stored
    /// is unknown: trying again under another `cm_id` may double it.
    GaveUp {
        /// Which.
        cm_id: CmId,
    },
    /// Stored.
    Sent {
        /// Which.
        cm_id: CmId,
        /// Where.
        conv: ConversationId,
        /// Its place.
        seq: Seq,
        /// Its own id.
        id: MessageId,
        /// When, by the server's clock.
        at: Timestamp,
        /// An earlier try had stored it.
        dup: bool,
    },
}

/// Why a send was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboxFull {
    /// A send with this `cm_id` is pending.
    #[error("a send with this cm_id is pending")]
    Pending,
    /// So many, or so large, sends are unanswered that no more are taken.
    #[error("too many sends are unanswered")]
    QueueFull,
}

/// An unanswered send, as a durable file keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDraft {
    /// What was to be sent.
    pub draft: Draft,
    /// When it left first, by the server's clock; `None` when it never did.
    pub first_try: Option<Timestamp>,
}
