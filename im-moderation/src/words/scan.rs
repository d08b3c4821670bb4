//! What was found in a text.

use std::borrow::Cow;
use std::ops::Range;

use super::word::Level;

/// A word in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'t> {
    /// [`Word::id`](super::Word::id).
    pub word: u64,
    /// What the word asks for; never [`Level::Allow`].
    pub level: Level,
    /// Its bytes in the original text, with what was inserted between its letters.
    pub range: Range<usize>,
    /// The same, as text.
    pub piece: &'t str,
}

/// What a text's words ask for: the strictest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing was found.
    Clean,
    /// Show it masked.
    Mask,
    /// Let somebody look at it.
    Review,
    /// Refuse it.
    Refuse,
}

/// The answer of [`Filter::scan`](super::Filter::scan).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan<'t> {
    text: &'t str,
    hits: Vec<Hit<'t>>,
}

impl<'t> Scan<'t> {
    /// Sorts what was found, and drops what an allowed word covers.
    pub(super) fn new(text: &'t str, mut hits: Vec<Hit<'t>>) -> Self {
        hits.sort_unstable_by_key(|hit| (hit.range.start, hit.range.end, hit.word));
        hits.dedup();
        if hits.iter().any(|hit| hit.level == Level::Allow) {
            drop_allowed(&mut hits);
        }
        Self { text, hits }
    }

    /// Every word that was found, by its start; they may overlap.
    pub fn hits(&self) -> &[Hit<'t>] {
        &self.hits
    }

    /// The strictest of what the hits ask for.
    pub fn verdict(&self) -> Verdict {
        let strictest = self.hits.iter().map(|hit| hit.level).max();
        match strictest {
            None | Some(Level::Allow) => Verdict::Clean,
            Some(Level::Mask) => Verdict::Mask,
            Some(Level::Review) => Verdict::Review,
            Some(Level::Refuse) => Verdict::Refuse,
        }
    }

    /// The text with one `mark` for each character of a hit, of whatever level. The rest of the
    /// text is untouched, and borrowed when there is no hit.
    pub fn masked(&self, mark: char) -> Cow<'t, str> {
        self.masked_where(mark, |_| true)
    }

    /// The same of the hits whose level is chosen.
    pub fn masked_where(&self, mark: char, is_chosen: impl Fn(Level) -> bool) -> Cow<'t, str> {
        let chosen = |hit: &&Hit<'t>| is_chosen(hit.level);
        if !self.hits.iter().any(|hit| chosen(&hit)) {
            return Cow::Borrowed(self.text);
        }
        let mut masked = String::with_capacity(self.text.len());
        let mut done = 0;
        for hit in self.hits.iter().filter(chosen) {
            let start = hit.range.start.max(done);
            if start >= hit.range.end {
                continue;
            }
            masked.push_str(&self.text[done..start]);
            masked.extend(self.text[start..hit.range.end].chars().map(|_| mark));
            done = hit.range.end;
        }
        masked.push_str(&self.text[done..]);
        Cow::Owned(masked)
    }
}

/// `hits` is sorted by start.
fn drop_allowed(hits: &mut Vec<Hit<'_>>) {
    // For each place the farthest end of an allowed word that starts there or before.
    let mut allowed: Vec<(usize, usize)> = Vec::new();
    for hit in hits.iter().filter(|hit| hit.level == Level::Allow) {
        let farthest = allowed.last().map_or(0, |last| last.1);
        allowed.push((hit.range.start, hit.range.end.max(farthest)));
    }
    hits.retain(|hit| {
        let before = allowed.partition_point(|(start, _)| *start <= hit.range.start);
        let farthest = before.checked_sub(1).map_or(0, |at| allowed[at].1);
        hit.level != Level::Allow && hit.range.end > farthest
    });
}
