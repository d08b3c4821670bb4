//! State machines: what is hard, without IO, clock, threads or async.
//!
//! Every machine has the same verbs. Inputs are `handle_*`, outputs are `poll_*` and are drained
//! until `None` after each input; `poll_timeout` says when to call `handle_timeout`, and why.
//! Time comes in as an argument. `assert_invariants` checks the machine's own state; tests call it
//! after every step.
//!
//! The page of a machine's module is its run loop: which inputs there are, and what to drain when.

mod backoff;
mod bucket;
pub mod delivery;
pub mod inbox;
pub mod outbox;
pub mod room;

pub use backoff::Backoff;
pub use bucket::Bucket;
pub use delivery::{Delivery, DeliveryEvent, Push};
pub use inbox::{Cursor, Inbox, InboxConfig, InboxEvent, StartAt};
pub use outbox::{Outbox, OutboxConfig, OutboxEvent, OutboxFull, PendingDraft};
pub use room::{Room, RoomEvent, RoomRead};

/// A moment to start virtual time from.
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can't be made otherwise; tests only"
)]
pub(crate) fn test_start() -> std::time::Instant {
    std::time::Instant::now()
}
