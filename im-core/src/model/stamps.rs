//! How far the changes of a store have been seen, whatever the number of its databases.

use std::fmt;
use std::str::FromStr;

use super::id::Stamp;

/// A [`Stamp`] of each database of a store, in their fixed order. Most stores have one database;
/// a database that is not named has not been seen at all, so a list stays good when one is added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Stamps {
    first: Stamp,
    /// Those of the other databases; the last one is not 0, so that equal lists are equal.
    others: Vec<Stamp>,
}

/// A text that is no list of stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no list of stamps")]
pub struct StampsError;

impl Stamps {
    /// Nothing has been seen.
    pub const START: Self = Self::one(Stamp(0));

    /// Those of a store of one database.
    #[must_use]
    pub const fn one(stamp: Stamp) -> Self {
        Self {
            first: stamp,
            others: Vec::new(),
        }
    }

    /// The stamp of a database, counted from 0.
    #[must_use]
    pub fn of(&self, database: usize) -> Stamp {
        match database.checked_sub(1) {
            None => self.first,
            Some(at) => self.others.get(at).copied().unwrap_or_default(),
        }
    }

    /// Whether it covers more of some database than `other` does. Of a list that a store gave,
    /// what the same store gives later is never behind.
    #[must_use]
    pub fn is_ahead_of(&self, other: &Self) -> bool {
        let others = self.others.iter().zip(1..);
        self.first > other.first || others.into_iter().any(|(own, at)| *own > other.of(at))
    }

    fn iter(&self) -> impl Iterator<Item = Stamp> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl FromIterator<Stamp> for Stamps {
    fn from_iter<I: IntoIterator<Item = Stamp>>(stamps: I) -> Self {
        let mut stamps = stamps.into_iter();
        let first = stamps.next().unwrap_or_default();
        let mut others: Vec<_> = stamps.collect();
        let named = others.iter().rposition(|stamp| *stamp > Stamp(0));
        others.truncate(named.map_or(0, |last| last + 1));
        Self { first, others }
    }
}

/// Hexadecimal numbers, joined by `-`.
impl fmt::Display for Stamps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, stamp) in self.iter().enumerate() {
            let join = if at == 0 { "" } else { "-" };
            write!(f, "{join}{:x}", stamp.0)?;
        }
        Ok(())
    }
}

impl FromStr for Stamps {
    type Err = StampsError;

    fn from_str(text: &str) -> Result<Self, StampsError> {
        let stamp = |text| u64::from_str_radix(text, 16).map(Stamp);
        let stamps: Result<Self, _> = text.split('-').map(stamp).collect();
        stamps.map_err(|_| StampsError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(of: &[u64]) -> Stamps {
        of.iter().copied().map(Stamp).collect()
    }

    #[test]
    fn a_database_that_is_not_named_has_not_been_seen() {
        assert_eq!(stamps(&[7, 0, 0]), Stamps::one(Stamp(7)));
        assert_eq!(stamps(&[]), Stamps::START);
        assert_eq!(stamps(&[1, 0, 3]).of(2), Stamp(3));
        assert_eq!(stamps(&[1, 0, 3]).of(9), Stamp(0));
    }

    #[test]
    fn one_is_ahead_by_any_database() {
        let table = [
            (vec![1], vec![1], false),
            (vec![2], vec![1], true),
            (vec![1, 5], vec![1], true),
            (vec![1], vec![1, 5], false),
            (vec![0, 5], vec![9, 4], true),
            (vec![0, 4], vec![9, 4], false),
        ];
        for (one, other, expected) in table {
            assert_eq!(stamps(&one).is_ahead_of(&stamps(&other)), expected);
        }
    }

    #[test]
    fn a_list_comes_back_from_its_text() {
        for list in [stamps(&[0]), stamps(&[u64::MAX]), stamps(&[10, 0, 255])] {
            assert_eq!(list.to_string().parse(), Ok(list));
        }
        assert_eq!(stamps(&[10, 0, 255]).to_string(), "a-0-ff");
        for bad in ["", "-", "x", "1-", "1_0", "11111111111111111"] {
            assert_eq!(bad.parse::<Stamps>(), Err(StampsError), "{bad}");
        }
    }
}
