//! One page of what several databases gave.

use im_core::model::{Stamp, Stamps};

/// What a database gave: so many lines, up to a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) lines: usize,
    pub(crate) stamp: Stamp,
    pub(crate) more: bool,
}

/// Which parts make the page, and how far it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Whether each database's lines are in it: all of them, or none, to be asked for again.
    pub(crate) takes: Vec<bool>,
    pub(crate) stamps: Stamps,
    pub(crate) more: bool,
}

/// How many lines to ask of each of so many databases, so that they make a page of `limit`.
pub(crate) fn share(limit: usize, databases: usize) -> usize {
    (limit / databases.max(1)).max(limit.min(1))
}

/// Puts parts together, at most `limit` lines. A database that gave nothing (`None`) stays where it
/// was, and so does one whose lines find no room. The first one with lines has room, so every page
/// goes on.
pub(crate) fn merge(since: &Stamps, parts: &[Option<Part>], limit: usize) -> Merged {
    let mut room = limit;
    let mut merged = Merged {
        takes: Vec::with_capacity(parts.len()),
        stamps: Stamps::START,
        more: false,
    };
    let mut stamps = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let part = part.as_ref();
        let fits = part.filter(|part| part.lines <= room);
        if let Some(part) = fits {
            room -= part.lines;
        }
        merged.takes.push(fits.is_some());
        merged.more |= part.is_some_and(|part| part.more || fits.is_none());
        stamps.push(fits.map_or_else(|| since.of(at), |part| part.stamp));
    }
    merged.stamps = stamps.into_iter().collect();
    merged
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    /// A database: the stamps of its lines, ascending, and whether it answers at each asking.
    fn page(lines: &[u64], since: Stamp, limit: usize) -> (Vec<u64>, Part) {
        let mut found: Vec<_> = lines.iter().copied().filter(|it| *it > since.0).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let newest = lines.last().copied().unwrap_or_default();
        let last = found.last().copied().unwrap_or(since.0);
        let part = Part {
            lines: found.len(),
            stamp: Stamp(if more { last } else { newest }),
            more,
        };
        (found, part)
    }

    proptest! {
        #[test]
        fn pages_of_several_databases_lose_and_double_nothing(
            databases in prop::collection::vec(btree_set(1..500_u64, 0..40), 1..6),
            limit in 1..50_usize,
            away in prop::collection::vec(any::<u8>(), 400),
        ) {
            let databases: Vec<Vec<u64>> =
                databases.into_iter().map(|it| it.into_iter().collect()).collect();
            let mut found = vec![Vec::new(); databases.len()];
            let mut since = Stamps::START;
            let total: usize = databases.iter().map(Vec::len).sum();
            let mut away = away.into_iter();
            // A page each line, and those on which a database was away.
            for _ in 0..=total + 400 {
                let share = share(limit, databases.len());
                let bits = away.next();
                let is_away = |at: usize| bits.is_some_and(|it| it & (1 << at) > 0);
                let answers: Vec<_> = databases.iter().enumerate().map(|(at, lines)| {
                    (!is_away(at)).then(|| page(lines, since.of(at), share))
                }).collect();
                let parts: Vec<_> = answers.iter().map(|it| it.as_ref().map(|it| it.1)).collect();
                let merged = merge(&since, &parts, limit);
                prop_assert!(!since.is_ahead_of(&merged.stamps), "stamps don't go back");
                let mut count = 0;
                for (at, answer) in answers.iter().enumerate() {
                    if let (true, Some((lines, _))) = (merged.takes[at], answer) {
                        count += lines.len();
                        found[at].extend(lines.iter().copied());
                    }
                }
                prop_assert!(count <= limit);
                if bits.is_none() {
                    prop_assert!(!merged.more || merged.stamps.is_ahead_of(&since));
                    since = merged.stamps;
                    if !merged.more {
                        break;
                    }
                } else {
                    since = merged.stamps;
                }
            }
            prop_assert_eq!(found, databases);
        }
    }
}
