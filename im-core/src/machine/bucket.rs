//! A token bucket: how many sends a user may make.

use std::time::{Duration, Instant};

/// A second and a minute in microseconds: so many parts is a token of a bucket that counts by it.
/// A microsecond brings `rate` parts, so that nothing is rounded away.
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;

/// A bucket that refills at a rate.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    rate: u32,
    token: u64,
    full: u64,
    parts: u64,
    at: Instant,
}

impl Bucket {
    /// A full bucket of `per_s` tokens a second, burst 2 × `per_s`.
    #[must_use]
    pub const fn new(now: Instant, per_s: u32) -> Self {
        Self::of(now, per_s, SECOND, per_s as u64 * 2 * SECOND)
    }

    /// A full bucket of `per_minute` tokens a minute, of which all may be taken at once.
    #[must_use]
    pub const fn per_minute(now: Instant, per_minute: u32) -> Self {
        Self::of(now, per_minute, MINUTE, per_minute as u64 * MINUTE)
    }

    const fn of(now: Instant, rate: u32, token: u64, full: u64) -> Self {
        Self {
            rate,
            token,
            full,
            parts: full,
            at: now,
        }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// When there is none: how long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if self.parts >= self.token {
            self.parts -= self.token;
            return Ok(());
        }
        // Up: a moment earlier there is none yet.
        let us = (self.token - self.parts).div_ceil(u64::from(self.rate.max(1)));
        Err(Duration::from_micros(us.max(1_000)))
    }

    /// Gives one back: what it was taken for turned out to be free.
    pub fn give_back(&mut self) {
        self.parts = (self.parts + self.token).min(self.full);
    }

    /// Whether it is full again, so that forgetting it changes nothing.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.parts == self.full
    }

    fn refill(&mut self, now: Instant) {
        let us = now.saturating_duration_since(self.at).as_micros();
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        let gained = us.saturating_mul(u64::from(self.rate));
        self.parts = self.parts.saturating_add(gained).min(self.full);
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
    fn a_rate_by_the_minute_is_kept_to() {
        let start = crate::machine::test_start();
        let mut bucket = Bucket::per_minute(start, 30);
        let mut taken = 0;
        for s in 0..600 {
            let now = start + Duration::from_secs(s);
            while bucket.take(now).is_ok() {
                taken += 1;
            }
        }
        // Ten minutes at 30 a minute, and the burst.
        assert!((329..=330).contains(&taken), "{taken}");
        let now = start + Duration::from_secs(599);
        let wait = bucket.take(now).unwrap_err();
        assert!(bucket.take(now + wait).is_ok());
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
