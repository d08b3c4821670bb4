//! What happened on a day: counted where it happens and written once a minute, so that nobody has
//! to look through logs for it. Each start of a node has rows of its own: none waits for another.

use std::sync::Weak;
use std::time::Duration;

use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value, everyone};
use im_core::port::{Commit, Put, Was, Write};
use parking_lot::Mutex;

use super::Sketch;
use crate::node::Inner;

/// How often counts are written; a crash loses those since.
const FLUSH: Duration = Duration::from_secs(60);
/// Days that wait to be written while the store is away.
const WAITING_MAX: usize = 7;
/// How long a day is kept: 400 days.
const KEEP_MS: u64 = 400 * DAY_MS;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Counts {
    start: u64,
    /// In order; the last is today, those before are not written yet.
    days: Mutex<Vec<Day>>,
}

/// The counts of a day on one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Day {
    number: i64,
    pub(crate) messages: u64,
    pub(crate) groups: u64,
    pub(crate) seen: Sketch,
    is_new: bool,
}

impl Counts {
    pub(crate) const fn new(start: u64) -> Self {
        Self {
            start,
            days: Mutex::new(Vec::new()),
        }
    }

    /// Messages were stored, and groups or channels made.
    pub(crate) fn stored(&self, now: Timestamp, messages: u64, groups: u64) {
        if messages + groups > 0 {
            self.today(now, |day| {
                day.messages += messages;
                day.groups += groups;
                day.is_new = true;
            });
        }
    }

    /// A user was here.
    pub(crate) fn seen(&self, now: Timestamp, user: &UserId) {
        self.today(now, |day| day.is_new |= day.seen.see(user));
    }

    fn today(&self, now: Timestamp, count: impl FnOnce(&mut Day)) {
        let number = day_of(now);
        let mut days = self.days.lock();
        // Who read the clock before midnight may come after who read it later. A day's row is
        // written whole, so a second one must not begin: what is late counts as the next day's.
        let at = match days.iter().position(|day| day.number >= number) {
            Some(at) => at,
            None => {
                if days.len() >= WAITING_MAX {
                    days.remove(0);
                }
                days.push(Day {
                    number,
                    ..Day::default()
                });
                days.len() - 1
            }
        };
        count(&mut days[at]);
    }

    /// What is to be written.
    fn take_new(&self) -> Vec<Day> {
        let mut days = self.days.lock();
        let new = days.iter().filter(|day| day.is_new).cloned().collect();
        days.iter_mut().for_each(|day| day.is_new = false);
        new
    }

    /// It was written, or is to be written again.
    fn put_back(&self, written: bool, number: i64) {
        let mut days = self.days.lock();
        let last = days.last().map(|day| day.number);
        days.retain(|day| !written || day.number != number || Some(number) == last);
        let known = days.iter_mut().find(|day| day.number == number);
        if let Some(day) = known {
            day.is_new |= !written;
        }
    }

    fn put(&self, day: &Day) -> Write {
        let value = Value::object([
            ("messages", Value::from(day.messages)),
            ("groups", day.groups.into()),
            ("seen", day.seen.to_text().into()),
        ]);
        let end = u64::try_from(day.number).unwrap_or_default() * DAY_MS + KEEP_MS;
        let key = format!("{}\n{:016x}", day_key(day.number), self.start);
        Write::Put(Put {
            key: FactKey::new(FactTable::Count, "", key),
            to: Some((value.to_json(), Some(Timestamp(0).plus_ms(end)))),
            was: Was::Any,
        })
    }
}

/// Writes the counts until the node ends.
pub(crate) async fn flush(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(FLUSH).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.flush_counts().await;
    }
}

impl Inner {
    /// Writes what was counted since the last time.
    pub(crate) async fn flush_counts(&self) {
        let counts = &self.moderation.counts;
        for day in counts.take_new() {
            let commit = Commit {
                conv: everyone(),
                expect_version: None,
                actor: None,
                writes: vec![counts.put(&day)],
            };
            let written = self.appender.commit(commit).await;
            if let Err(error) = &written {
                tracing::debug!(%error, "counts wait for the store");
            }
            counts.put_back(written.is_ok(), day.number);
        }
    }
}

/// The key of a day's first row, and below those of all later days.
pub(crate) fn day_key(number: i64) -> String {
    format!("{number:08}")
}

/// Days since 1970, by UTC.
pub(crate) const fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS as i64)
}

/// A row: its day, and what it counts.
pub(crate) fn read_count(fact: &Fact) -> Option<(i64, Day)> {
    let (number, _) = fact.key.key.split_once('\n')?;
    let number = number.parse().ok()?;
    let value = Value::from_json(&fact.value).ok()?;
    let count = |field| value.get(field).and_then(Value::as_int);
    let day = Day {
        number,
        messages: u64::try_from(count("messages")?).ok()?,
        groups: u64::try_from(count("groups")?).ok()?,
        seen: Sketch::from_text(value.get("seen")?.as_text()?)?,
        is_new: false,
    };
    Some((number, day))
}

/// `2026-11-28`, of days since 1970 (Hinnant's `civil_from_days`).
pub(crate) fn date(number: i64) -> String {
    let shifted = number + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + years + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (at, expected) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_795_823_999_999, "2026-11-27"),
            (1_795_824_000_000, "2026-11-28"),
        ] {
            assert_eq!(date(day_of(Timestamp(at))), expected);
        }
    }

    #[test]
    fn a_clock_that_was_read_before_midnight_makes_no_second_row_of_a_day() {
        let counts = Counts::new(3);
        let (one, two) = (Timestamp(DAY_MS as i64 - 1), Timestamp(DAY_MS as i64));
        for (at, messages) in [(one, 2), (two, 5), (one, 3), (two, 1)] {
            counts.stored(at, messages, 0);
        }
        let rows = |counts: &Counts| -> Vec<_> {
            let new = counts.take_new();
            new.iter().map(|day| (day.number, day.messages)).collect()
        };
        assert_eq!(rows(&counts), [(0, 5), (1, 6)]);
        // The day is written, and its row must not be written over: it counts as the next one's.
        counts.put_back(true, 0);
        counts.stored(one, 4, 0);
        assert_eq!(rows(&counts), [(1, 10)]);
    }

    #[test]
    fn a_day_is_kept_until_it_is_written() {
        let counts = Counts::new(3);
        let (one, two) = (Timestamp(0), Timestamp(DAY_MS as i64));
        counts.stored(one, 2, 1);
        counts.seen(one, &UserId::new("a").unwrap());
        counts.stored(two, 5, 0);
        let new = counts.take_new();
        assert_eq!(
            new.iter().map(|day| day.messages).collect::<Vec<_>>(),
            [2, 5]
        );
        assert!(counts.take_new().is_empty());
        counts.put_back(false, 0);
        counts.put_back(true, 1);
        assert_eq!(counts.take_new().len(), 1);
        counts.put_back(true, 0);
        counts.seen(two, &UserId::new("b").unwrap());
        let new = counts.take_new();
        assert_eq!((new.len(), new[0].number, new[0].messages), (1, 1, 5));
        let Write::Put(put) = counts.put(&new[0]) else {
            panic!("a fact");
        };
        let (value, at) = put.to.unwrap();
        let read = read_count(&Fact {
            key: put.key,
            value,
            at,
        })
        .unwrap();
        assert_eq!((read.0, read.1.messages, read.1.seen.count()), (1, 5, 1));
    }
}
