//! A node's clock: tokio's paused time, and records that jump.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant as StdInstant;

use im_core::model::Timestamp;
use im_core::port::Clock;
use tokio::time::Instant;

/// What every simulated clock shows at the start: a time in 2026.
const START_MS: i64 = 1_790_000_000_000;

/// A [`Clock`] that runs with tokio's and whose timestamps can be made to jump either way.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    offset_ms: AtomicI64,
}

impl SimClock {
    /// A clock that starts now, `offset_ms` ahead of (or behind) the others.
    #[must_use]
    pub fn new(offset_ms: i64) -> Self {
        Self {
            start: Instant::now(),
            offset_ms: AtomicI64::new(offset_ms),
        }
    }

    /// Moves the timestamps; timers don't notice.
    pub fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> StdInstant {
        Instant::now().into_std()
    }

    fn timestamp(&self) -> Timestamp {
        let since = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(START_MS + since + self.offset_ms.load(Ordering::Relaxed))
    }
}
