//! Comparing what was to come with what came.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::AddAssign;

use imkit::core::frame::{Codec, ServerFrame, encode};
use imkit::core::model::Entry;

use crate::lines::Line;

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) disordered: u64,
    /// What nobody sent, or what came changed (then the original is lost, too).
    pub(crate) foreign: u64,
}

impl Tally {
    /// Compares marks, each of which was to come once and in this order.
    pub(crate) fn of(expected: &[u64], got: &[u64]) -> Self {
        if expected == got {
            return Self::default();
        }
        let places: HashMap<u64, usize> = expected.iter().copied().zip(0..).collect();
        let mut came = vec![false; expected.len()];
        let (mut tally, mut furthest) = (Self::default(), 0);
        for mark in got {
            match places.get(mark) {
                None => tally.foreign += 1,
                Some(&place) if came[place] => tally.doubled += 1,
                Some(&place) => {
                    came[place] = true;
                    tally.disordered += u64::from(place < furthest);
                    furthest = furthest.max(place);
                }
            }
        }
        tally.lost = came.iter().filter(|came| !**came).count() as u64;
        tally
    }

    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.foreign += other.foreign;
    }
}

/// The `cm_id` of a log's line: no other log's, since a refusal names nothing else.
pub(crate) fn cm_id(log: usize, number: usize) -> String {
    format!("log-{log}-line-{number}")
}

/// What stands for a line: its number, who said it, and what.
pub(crate) fn line_mark(log: usize, number: usize, line: &Line) -> u64 {
    hash(&(
        cm_id(log, number).as_str(),
        line.author.as_str(),
        line.text.as_str(),
    ))
}

/// The same of an entry; `None` when it is no line but tells of the group's making.
pub(crate) fn entry_line_mark(entry: &Entry) -> Option<u64> {
    let cm_id = entry.cm_id.as_ref()?;
    let text = entry.body.as_text().unwrap_or_default();
    Some(hash(&(cm_id.as_str(), entry.from.as_str(), text.as_str())))
}

/// What stands for an entry as it is pushed: the same bytes for everybody.
pub(crate) fn entry_mark(entry: &std::sync::Arc<Entry>) -> u64 {
    let frame = encode(
        Codec::Json,
        &ServerFrame::Entry(std::sync::Arc::clone(entry)),
    );
    bytes_mark(&frame)
}

/// The same of the bytes themselves.
pub(crate) fn bytes_mark(bytes: &[u8]) -> u64 {
    hash(bytes)
}

fn hash(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_swapped_or_foreign_is_told_apart() {
        let tally = |got: &[u64]| {
            let Tally {
                lost,
                doubled,
                disordered,
                foreign,
            } = Tally::of(&[1, 2, 3, 4], got);
            [lost, doubled, disordered, foreign]
        };
        assert_eq!(tally(&[1, 2, 3, 4]), [0, 0, 0, 0]);
        assert_eq!(tally(&[1, 2, 4]), [1, 0, 0, 0]);
        assert_eq!(tally(&[1, 2, 2, 3, 4]), [0, 1, 0, 0]);
        assert_eq!(tally(&[1, 3, 2, 4]), [0, 0, 1, 0]);
        assert_eq!(tally(&[1, 2, 9, 4]), [1, 0, 0, 1]);
    }
}
