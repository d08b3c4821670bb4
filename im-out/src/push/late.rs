//! Subscriptions whose push service does not answer: they rest, each time longer, and are given up
//! in the end. Else one that never answers would hold up everybody's pushes with each message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use im_core::model::FactKey;
use parking_lot::Mutex;

/// How long a subscription rests after the first time; twice as long after each further one.
const REST: Duration = Duration::from_secs(10);
/// The longest rest: an hour.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// So many times in a row, and it is given up: that takes twelve hours at least.
const LATER_MAX: u32 = 20;
/// The most subscriptions that are remembered, some 2 MB; those beyond do not rest.
const KNOWN_MAX: usize = 10_000;

/// See the [module](self). Forgotten when the process ends.
#[derive(Debug, Default)]
pub(super) struct Late(Mutex<BTreeMap<FactKey, One>>);

#[derive(Debug)]
struct One {
    times: u32,
    until: Instant,
}

/// What comes of one that said *later*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It rests.
    Rests,
    /// It never said anything else: it is given up.
    Enough,
}

impl Late {
    /// Whether a subscription is to be left alone for now.
    pub(super) fn rests(&self, key: &FactKey, now: Instant) -> bool {
        self.0.lock().get(key).is_some_and(|one| one.until > now)
    }

    /// It said *later*, or nothing.
    pub(super) fn handle_later(&self, key: &FactKey, now: Instant) -> Said {
        let mut known = self.0.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(key) {
            known.retain(|_, one| one.until > now);
            if known.len() >= KNOWN_MAX {
                return Said::Rests;
            }
        }
        let one = known.entry(key.clone());
        let one = one.or_insert(One {
            times: 0,
            until: now,
        });
        // Messages that were under way side by side are one time.
        if one.until > now {
            return Said::Rests;
        }
        one.until = now + (REST * (1 << one.times.min(10))).min(REST_MAX);
        one.times += 1;
        if one.times >= LATER_MAX {
            return Said::Enough;
        }
        Said::Rests
    }

    /// It said something, whatever it was, or is no more.
    pub(super) fn handle_answer(&self, key: &FactKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use im_core::model::FactTable;

    use super::*;

    fn key(n: usize) -> FactKey {
        FactKey::new(FactTable::PushTarget, "u", n.to_string())
    }

    #[test]
    fn who_never_answers_is_asked_ever_less_and_given_up_after_half_a_day() {
        let (late, began) = (Late::default(), Instant::now());
        let mut now = began;
        let mut asked = 1;
        while late.handle_later(&key(1), now) == Said::Rests {
            assert!(late.rests(&key(1), now));
            assert!(!late.rests(&key(2), now));
            while late.rests(&key(1), now) {
                now += Duration::from_secs(1);
            }
            asked += 1;
        }
        assert_eq!(asked, LATER_MAX);
        assert!(now - began > Duration::from_secs(11 * 3_600));
    }

    #[test]
    fn who_answered_begins_anew() {
        let (late, now) = (Late::default(), Instant::now());
        for _ in 0..2 * LATER_MAX {
            assert_eq!(late.handle_later(&key(1), now), Said::Rests);
            late.handle_answer(&key(1));
            assert!(!late.rests(&key(1), now));
        }
    }

    #[test]
    fn a_flood_of_them_takes_bounded_memory() {
        let (late, now) = (Late::default(), Instant::now());
        for n in 0..KNOWN_MAX + 10 {
            assert_eq!(late.handle_later(&key(n), now), Said::Rests);
        }
        assert_eq!(late.0.lock().len(), KNOWN_MAX);
        late.handle_later(&key(KNOWN_MAX), now + REST);
        assert_eq!(late.0.lock().len(), 1);
    }
}
