//! Telephone numbers.

use std::ops::Range;

use super::shadow::Shadow;
use super::{Keep, Span};

/// A telephone number is written in at most so many groups.
const GROUPS_MAX: usize = 6;
/// ITU-T E.164: at most fifteen digits; with fewer than eight it is no subscriber's.
const E164_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Groups in which European numbers with a leading 0 are written: French, British, German.
const EUROPEAN: [&[usize]; 12] = [
    &[2, 2, 2, 2, 2],
    &[3, 4, 4],
    &[3, 7],
    &[3, 8],
    &[4, 3, 3],
    &[4, 3, 4],
    &[4, 6],
    &[4, 7],
    &[4, 8],
    &[5, 3, 3],
    &[5, 6],
    &[5, 7],
];

pub(super) fn phones(shadow: &Shadow, found: &mut Vec<Span>) {
    let groups = shadow.groups();
    let mut at = 0;
    while at < groups.len() {
        let joined = groups[at + 1..].iter().take(GROUPS_MAX - 1);
        let most = 1 + joined.take_while(|group| group.is_joined).count();
        let taken = (1..=most).rev().find_map(|count| {
            let run = Run::new(shadow, at..at + count);
            run.phone().map(|span| (count, span))
        });
        if let Some((count, span)) = taken {
            found.push(span);
            at += count;
        } else {
            at += 1;
        }
    }
}

/// Neighbouring groups that may be one number.
struct Run<'s> {
    shadow: &'s Shadow,
    groups: Range<usize>,
    cells: Range<usize>,
    digits: Vec<u8>,
    lengths: Vec<usize>,
    has_plus: bool,
}

impl<'s> Run<'s> {
    fn new(shadow: &'s Shadow, groups: Range<usize>) -> Self {
        let all = &shadow.groups()[groups.clone()];
        let start = all.first().map_or(0, |group| group.range.start);
        let end = all.last().map_or(0, |group| group.range.end);
        Self {
            shadow,
            digits: shadow.digits(start..end),
            lengths: all.iter().map(|group| group.range.len()).collect(),
            has_plus: shadow.before(start) == Some('+'),
            cells: start..end,
            groups,
        }
    }

    fn phone(&self) -> Option<Span> {
        if !self.shadow.is_whole(self.cells.clone()) || !self.is_apart() {
            return None;
        }
        self.chinese_mobile()
            .or_else(|| self.international())
            .or_else(|| self.chinese_landline())
            .or_else(|| self.american())
            .or_else(|| self.european())
    }

    /// No dash joins it to other digits: those of a date or of a product.
    fn is_apart(&self) -> bool {
        let start = self.shadow.gap(self.groups.start);
        let is_joined = |at: usize| {
            let group = self.shadow.groups().get(at);
            let gap = self.shadow.gap(at);
            group.is_some_and(|group| group.is_joined)
                && gap.iter().all(|cell| "-./".contains(cell.c))
        };
        (start.is_empty() || !is_joined(self.groups.start)) && !is_joined(self.groups.end)
    }

    /// Nothing joins it to other digits: of a row of numbers, some have groups of any kind.
    fn is_alone(&self) -> bool {
        let groups = self.shadow.groups();
        let is_joined = |at: usize| groups.get(at).is_some_and(|group| group.is_joined);
        !is_joined(self.groups.start) && !is_joined(self.groups.end)
    }

    /// Eleven digits from 13 to 19, in one piece or as 3-4-4, perhaps behind 86.
    fn chinese_mobile(&self) -> Option<Span> {
        let (prefix, lengths) = match (&*self.digits, &*self.lengths) {
            ([8, 6, ..], [2, rest @ ..]) => (2, rest),
            ([0, 0, 8, 6, ..], [4, rest @ ..]) => (4, rest),
            ([8, 6, ..], [13]) => (2, &[11][..]),
            ([0, 0, 8, 6, ..], [15]) => (4, &[11][..]),
            (_, all) => (0, all),
        };
        let is_mobile = matches!(self.digits[prefix..], [1, 3..=9, ..]);
        let is_foreign = self.has_plus && prefix == 0;
        let is_grouped = matches!(lengths, [11] | [3, 4, 4] | [3, 8] | [7, 4]);
        (is_mobile && is_grouped && !is_foreign && self.gaps_are(" -"))
            .then(|| self.span(prefix, 3, 4))
    }

    /// A plus and eight to fifteen digits, however they are grouped; not the plus of a version.
    fn international(&self) -> Option<Span> {
        let before = self.cells.start.checked_sub(1);
        let before = before.and_then(|plus| self.shadow.before(plus));
        let is_e164 = self.has_plus
            && !before.is_some_and(|c| c.is_ascii_alphanumeric())
            && self.gaps_are(" -()/")
            && E164_DIGITS.contains(&self.digits.len())
            && self.digits.first() != Some(&0);
        is_e164.then(|| self.span(0, 2, 2))
    }

    /// An area code from 010 to 0999 and seven or eight digits.
    fn chinese_landline(&self) -> Option<Span> {
        let area = match &*self.digits {
            [0, 1, 0, ..] | [0, 2, ..] => 3,
            [0, 3..=9, ..] => 4,
            _ => return None,
        };
        let local = self.digits.get(area..)?;
        let lengths = if area == 3 { 8..=8 } else { 7..=8 };
        let is_local = lengths.contains(&local.len()) && matches!(local, [2..=8, ..]);
        let is_grouped = match &*self.lengths {
            [_] => true,
            [first, _] => *first == area,
            [first, 4, 4] | [first, 3, 4] => *first == area,
            _ => false,
        };
        (is_local && is_grouped && self.gaps_are(" -()")).then(|| self.span(0, area, 4))
    }

    /// `(977) 625-2661` and the like. Ten digits in one piece are more often something else.
    fn american(&self) -> Option<Span> {
        let (national, prefix) = match (&*self.lengths, &*self.digits) {
            ([3, 3, 4], digits) => (digits, 0),
            ([1, 3, 3, 4], [1, rest @ ..]) => (rest, 1),
            _ => return None,
        };
        let is_number = matches!(national, [2..=9, _, _, 2..=9, ..]);
        (is_number && self.gaps_are(" -.()")).then(|| self.span(prefix, 0, 4))
    }

    fn european(&self) -> Option<Span> {
        let is_grouped = EUROPEAN.contains(&&*self.lengths) && self.is_alone();
        let is_number = matches!(self.digits[..], [0, 1..=9, ..]);
        (is_grouped && is_number && self.gaps_are(" -./()")).then(|| self.span(0, 2, 2))
    }

    fn gaps_are(&self, allowed: &str) -> bool {
        let inner = self.groups.start + 1..self.groups.end;
        inner
            .flat_map(|group| self.shadow.gap(group))
            .all(|cell| allowed.contains(cell.c))
    }

    /// All but the first `prefix` digits, of which so many stay readable at the ends.
    fn span(&self, prefix: usize, first: usize, last: usize) -> Span {
        let mut cells = self.cells.clone();
        let mut digits = cells
            .clone()
            .filter(|at| self.shadow.at(*at).is_some_and(|c| c.is_ascii_digit()));
        if let Some(start) = digits.nth(prefix) {
            cells.start = start;
        }
        Span {
            range: self.shadow.bytes(cells),
            keep: Keep { first, last },
        }
    }
}
