//! A token bucket: how many sends a user may make.

use std::time::{Duration, Instant};

/// A token in the parts that it is counted in: a microsecond brings `per_s` of them, so that
/// nothing is rounded away.
const TOKEN: u64 = 1_000_000;

/// A bucket that refills at a rate and holds twice a second's worth.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    per_s: u32,
    parts: u64,
    at: Instant,
}

impl Bucket {
    /// A full bucket of `per_s` tokens a second, burst 2 × `per_s`.
    #[must_use]
    pub const fn new(now: Instant, per_s: u32) -> Self {
        Self {
            per_s,
            parts: Self::full(per_s),
            at: now,
        }
    }

    const fn full(per_s: u32) -> u64 {
        per_s as u64 * 2 * TOKEN
    }

    /// Takes one token.
    ///
    /// # Errors
    /// When there is none: how long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if self.parts >= TOKEN {
            self.parts -= TOKEN;
            return Ok(());
        }
        // Up: a moment earlier there is none yet.
        let us = (TOKEN - self.parts).div_ceil(u64::from(self.per_s.max(1)));
        Err(Duration::from_micros(us.max(1_000)))
    }

    /// Gives one back: what it was taken for turned out to be free.
    pub fn give_back(&mut self) {
        self.parts = (self.parts + TOKEN).min(Self::full(self.per_s));
    }

    /// Whether it is full again, so that forgetting it changes nothing.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.parts == Self::full(self.per_s)
    }

    fn refill(&mut self, now: Instant) {
        let us = now.saturating_duration_since(self.at).as_micros();
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        let gained = us.saturating_mul(u64::from(self.per_s));
        self.parts = self
            .parts
            .saturating_add(gained)
            .min(Self::full(self.per_s));
        // What is left of a microsecond counts next time.
        self.at += Duration::from_micros(us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_through_the_burst_and_then_the_rate() {
        let start = crate::machine::test_start();
        let mut bucket = Bucket::new(start, 50);
        let mut taken = 0;
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            while bucket.take(now).is_ok() {
                taken += 1;
            }
        }
        assert!((599..=600).contains(&taken), "{taken}");
    }

    #[test]
    fn it_says_when_to_come_back() {
        let start = crate::machine::test_start();
        for per_s in 1..100 {
            let mut bucket = Bucket::new(start, per_s);
            while bucket.take(start).is_ok() {}
            let wait = bucket.take(start).unwrap_err();
            assert!(bucket.take(start + wait / 2).is_err());
            assert!(bucket.take(start + wait).is_ok(), "{per_s} a second");
        }
    }

    #[test]
    fn who_asks_often_gets_no_less() {
        let start = crate::machine::test_start();
        let mut bucket = Bucket::new(start, 50);
        let mut taken = 0;
        for step in 0..100_000 {
            let now = start + Duration::from_micros(39 * step);
            taken += u32::from(bucket.take(now).is_ok());
        }
        // 3.9 s at 50 a second, and the burst.
        assert!((294..=295).contains(&taken), "{taken}");
    }
}
