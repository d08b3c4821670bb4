//! Message ids: unique over all nodes and restarts, without a clock.

use std::sync::atomic::{AtomicU64, Ordering};

use im_core::model::MessageId;

/// Bits that count within one start of a node: 10^12 messages.
const COUNT_BITS: u32 = 40;

/// Gives ids: the number of this start (which the store never gives twice) above a counter. So a
/// clock that jumps, or a restart within one tick, can't make the same id again.
#[derive(Debug)]
pub(crate) struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// For the start of that number, see [`next_start`](im_core::port::next_start).
    pub(crate) const fn new(start: u64) -> Self {
        Self {
            next: AtomicU64::new(start << COUNT_BITS),
        }
    }

    pub(crate) fn next(&self) -> MessageId {
        MessageId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
