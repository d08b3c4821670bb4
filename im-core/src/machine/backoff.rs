//! How long to wait before trying again: exponential, bounded, jittered from a seed.

use std::time::Duration;

/// A schedule of waits: `base`, twice that, four times … up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// A schedule from `base` to `max`.
    #[must_use]
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self { base, max }
    }

    /// The wait after so many failures in a row (0: after the first), drawn between one half and
    /// the whole of the schedule's step, so that those who failed together don't return together.
    pub fn delay(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let step = self
            .base
            .saturating_mul(1 << failures.min(20))
            .min(self.max);
        step / 2 + fraction(step / 2, rng)
    }
}

/// A wait that a server asked for, drawn between it and half as much again: never earlier.
pub(super) fn at_least(wait: Duration, rng: &mut fastrand::Rng) -> Duration {
    wait.saturating_add(fraction(wait / 2, rng))
}

fn fraction(of: Duration, rng: &mut fastrand::Rng) -> Duration {
    let us = u64::try_from(of.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.u64(0..=us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut rng = fastrand::Rng::with_seed(1);
        for failures in [0, 1, 2, 3, 4, 5, 6, 7, 63, u32::MAX] {
            let step = Duration::from_millis(100 << failures.min(6)).min(backoff.max);
            let step = if failures > 5 { backoff.max } else { step };
            let waits: Vec<_> = (0..100)
                .map(|_| backoff.delay(failures, &mut rng))
                .collect();
            let (low, high) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(
                *low >= step / 2 && *high <= step,
                "{failures}: {low:?}..{high:?}"
            );
            assert!(*high - *low > step / 4, "{failures}: {low:?}..{high:?}");
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_is_never_cut() {
        let mut rng = fastrand::Rng::with_seed(1);
        for ms in [0, 1, 1_000, u64::MAX] {
            let wait = Duration::from_millis(ms);
            assert!(at_least(wait, &mut rng) >= wait);
        }
    }
}
