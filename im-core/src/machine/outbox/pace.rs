//! How fast sends leave, so that a server that limits the rate has no reason to refuse one and
//! break the order.

use std::time::{Duration, Instant};

/// How much may leave at once, counted in time at the full rate. The server allows twice that: the
/// rest is for what the network bunches together.
const BURST: Duration = Duration::from_secs(1);

/// Lets `per_s` sends a second through, after a burst of one second's worth.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When all that left would have left at an even rate.
    even: Instant,
    /// Nothing leaves before: the server said so.
    paused: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            interval: Duration::ZERO,
            even: now,
            paused: now,
        }
    }

    pub(super) fn set_rate(&mut self, per_s: u32) {
        self.interval = Duration::from_secs(1) / per_s.max(1);
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused = self.paused.max(until);
    }

    /// When the next one may leave; a moment that has passed means now.
    pub(super) fn next(&self) -> Instant {
        let room = BURST.saturating_sub(self.interval);
        let even = self.even.checked_sub(room).unwrap_or(self.even);
        even.max(self.paused)
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.even = self.even.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_then_the_rate() {
        let start = crate::machine::test_start();
        let mut pace = Pace::new(start);
        pace.set_rate(50);
        let mut left = vec![];
        for ms in 0..4_000 {
            let now = start + Duration::from_millis(ms);
            while pace.next() <= now {
                pace.take(now);
                left.push(ms);
            }
        }
        assert_eq!(left.iter().filter(|ms| **ms == 0).count(), 50);
        assert_eq!(left.iter().filter(|ms| **ms > 0).count(), 199);
    }

    #[test]
    fn nothing_leaves_while_the_server_said_so() {
        let start = crate::machine::test_start();
        let mut pace = Pace::new(start);
        pace.set_rate(1);
        assert!(pace.next() <= start);
        pace.pause(start + Duration::from_secs(9));
        pace.pause(start + Duration::from_secs(3));
        assert_eq!(pace.next(), start + Duration::from_secs(9));
    }
}
