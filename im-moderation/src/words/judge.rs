//! What the automaton finds is a suspicion: here the original text is looked at, backwards from
//! where the word may end, and decides.

use super::filter::Entry;
use super::fold::{self, Kind, is_unspaced};
use super::list::LETTERS_MAX;
use super::scan::Hit;
use super::word::{Join, Level};

/// At most so many visible characters stand between two letters of a word.
pub(super) const GAP_MAX: u32 = 6;
/// At most so many invisible ones: a bound on the work for text that is full of them.
pub(super) const INVISIBLE_MAX: u32 = 64;
/// At most so many letters of a text are looked at for one word; what is longer has one letter
/// repeated hundreds of times.
const EVIDENCE_MAX: usize = 4 * LETTERS_MAX;
/// At most so many ways to lay a word over repeated letters are tried.
const TRIES_MAX: u32 = 64;
/// So often in a row a letter is never written by who means nothing by it.
const REPEATS_MIN: usize = 3;
/// A word of so many letters is a word also with a number behind it: `word123`, but not `av1`.
const NUMBERED_MIN: usize = 4;
/// A number of so many digits is the same number with spaces in it.
const LONG_NUMBER: usize = 7;

/// A letter of the text.
#[derive(Clone, Copy, Debug)]
struct Letter {
    letter: char,
    class: char,
    start: usize,
    end: usize,
    /// What stands before it, behind the letter before.
    gap: Gap,
}

/// What stands between two letters.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    visible: u32,
    invisible: u32,
    space: bool,
    stop: bool,
    line: bool,
}

/// The part of a text that ends where the automaton found something.
pub(super) struct Evidence<'t> {
    text: &'t str,
    end: usize,
    /// Letters of the character before `end` that come after what was found.
    tail: usize,
    /// Empty until somebody needs it.
    letters: Vec<Letter>,
    /// The letters up to what was found; those behind it repeat the last one.
    found: usize,
    /// Which of `letters` is the word's letter, for each of a word that is being laid over them.
    places: [usize; LETTERS_MAX],
    tries: u32,
}

/// Whether all the words that end here must have a boundary behind them.
pub(super) fn wants_end(entry: &Entry) -> bool {
    let last = entry.spelling.letters.last();
    entry.boundaries && last.is_some_and(|c| !is_unspaced(*c))
}

fn wants_start(entry: &Entry) -> bool {
    let first = entry.spelling.letters.first();
    entry.boundaries && first.is_some_and(|c| !is_unspaced(*c))
}

/// Whether the word begins with a letter that may follow another one at once.
pub(super) fn is_open(entry: &Entry) -> bool {
    let first = entry.spelling.letters.first();
    !entry.boundaries && first.is_some_and(|c| !is_unspaced(*c))
}

/// The same for its end.
pub(super) fn ends_open(entry: &Entry) -> bool {
    let last = entry.spelling.letters.last();
    !entry.boundaries && last.is_some_and(|c| !is_unspaced(*c))
}

impl<'t> Evidence<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            end: 0,
            tail: 0,
            letters: Vec::new(),
            found: 0,
            places: [0; LETTERS_MAX],
            tries: 0,
        }
    }

    /// So many letters of the character before the end come after what will be found.
    pub(super) fn set_tail(&mut self, letters: usize) {
        self.tail = letters;
    }

    /// Something was found that ends with the character before `end`.
    pub(super) fn at(&mut self, end: usize) {
        self.end = end;
        self.letters.clear();
    }

    /// The word of `entries`, which are all found by the same `codes` codes, that stands here.
    /// Asked for one end from the longest pattern to the shortest. `closed`: all want a boundary
    /// at the end.
    pub(super) fn judge(
        &mut self,
        codes: usize,
        closed: bool,
        entries: &[Entry],
    ) -> Option<Hit<'t>> {
        if closed && self.goes_on() {
            return None;
        }
        if self.letters.is_empty() {
            self.collect(codes);
        }
        let first = self.first_run(codes)?;
        entries
            .iter()
            .find_map(|entry| self.find(entry, first.clone()))
    }

    /// A quick look for the plain case: another letter follows at once, and not the last one again.
    fn goes_on(&self) -> bool {
        let bytes = self.text.as_bytes();
        let last = self.end.checked_sub(1).and_then(|at| bytes.get(at));
        let (Some(last), Some(next)) = (last, bytes.get(self.end)) else {
            return false;
        };
        last.is_ascii_alphabetic()
            && next.is_ascii_alphabetic()
            && fold::class(char::from(last.to_ascii_lowercase()))
                != fold::class(char::from(next.to_ascii_lowercase()))
    }

    /// Reads backwards until `codes` runs of letters are complete, and forwards while the last is
    /// repeated.
    fn collect(&mut self, codes: usize) {
        let (mut runs, mut gap, mut class) = (0, Gap::default(), None);
        'text: for (at, c) in self.text[..self.end].char_indices().rev() {
            if gap.add(self.text, at, c) {
                if gap.is_too_long() {
                    break;
                }
                continue;
            }
            let end = at + c.len_utf8();
            for letter in fold::letters(c).as_slice().iter().rev() {
                let letter = Letter::new(*letter, at, end);
                if let Some(later) = self.letters.last_mut() {
                    later.gap = std::mem::take(&mut gap);
                }
                if self.letters.len() >= self.tail {
                    let goes_on = class == Some(letter.class) && fold::repeats(letter.class);
                    runs += usize::from(!goes_on);
                    class = Some(letter.class);
                }
                if runs > codes || self.letters.len() >= EVIDENCE_MAX {
                    break 'text;
                }
                self.letters.push(letter);
            }
        }
        self.letters.reverse();
        self.found = self.letters.len().saturating_sub(self.tail);
        self.extend();
    }

    fn extend(&mut self) {
        let Some(last) = self
            .found
            .checked_sub(1)
            .and_then(|at| self.letters.get(at))
        else {
            return;
        };
        let class = last.class;
        let others = self.letters[self.found..]
            .iter()
            .position(|l| l.class != class);
        if let Some(other) = others {
            self.letters.truncate(self.found + other);
            return;
        }
        if !fold::repeats(class) {
            return;
        }
        let mut gap = Gap::default();
        for (at, c) in self.text[self.end..].char_indices() {
            let at = self.end + at;
            if gap.add(self.text, at, c) {
                if gap.is_too_long() {
                    return;
                }
                continue;
            }
            for letter in fold::letters(c).as_slice() {
                let letter = Letter::new(*letter, at, at + c.len_utf8());
                if letter.class != class || self.letters.len() >= EVIDENCE_MAX {
                    return;
                }
                let gap = std::mem::take(&mut gap);
                self.letters.push(Letter { gap, ..letter });
            }
        }
    }

    /// The first of the last `codes` runs of what was found.
    fn first_run(&self, codes: usize) -> Option<std::ops::Range<usize>> {
        let (mut runs, mut start, mut end) = (0, self.found, self.found);
        let mut class = None;
        for (at, letter) in self.letters[..self.found].iter().enumerate().rev() {
            if class != Some(letter.class) || !fold::repeats(letter.class) {
                runs += 1;
                if runs > codes {
                    break;
                }
                end = at + 1;
            }
            class = Some(letter.class);
            start = at;
        }
        (runs >= codes).then_some(start..end)
    }

    fn find(&mut self, entry: &Entry, first: std::ops::Range<usize>) -> Option<Hit<'t>> {
        // In `this sucks`, the word has the second of the two: the nearest that are enough, then
        // all.
        let same = leading(&entry.spelling.letters);
        let nearest = first.end.checked_sub(same).filter(|at| *at >= first.start);
        // A word of one letter only has its repeats behind what was found.
        let nearest = nearest.or_else(|| (first.end == self.found).then_some(first.start));
        let all = Some(first.start).filter(|at| Some(*at) != nearest);
        // Of `linux xxx`, the run goes on over a boundary.
        let behind_gap = first
            .clone()
            .skip(1)
            .find(|at| self.letters[*at].gap.visible > 0);
        [nearest, all, behind_gap]
            .into_iter()
            .flatten()
            .find_map(|start| {
                if wants_start(entry) && self.touches_before(entry, start) {
                    return None;
                }
                self.tries = 0;
                let end = self.lay(entry, 0, start)?;
                let range = self.letters.get(start)?.start..self.letters.get(end - 1)?.end;
                Some(Hit {
                    word: entry.id,
                    level: entry.level,
                    piece: self.text.get(range.clone())?,
                    range,
                })
            })
    }

    /// Lays the letters of `entry` from `from` on over the text's from `at` on. The end, if they
    /// fit.
    fn lay(&mut self, entry: &Entry, from: usize, at: usize) -> Option<usize> {
        let word = &entry.spelling.letters;
        let Some(letter) = word.get(from) else {
            return self.accepts(entry, at).then_some(at);
        };
        self.tries += 1;
        if self.tries > TRIES_MAX + u32::try_from(word.len()).unwrap_or(u32::MAX) {
            return None;
        }
        let wanted = leading(&word[from..]);
        let there = self.letters.get(at..)?.iter();
        let there = there.take_while(|l| stands_for(l.letter, *letter)).count();
        if there < wanted {
            return None;
        }
        for offset in 0..wanted {
            *self.places.get_mut(from + offset)? = at + offset;
        }
        let exact = self.lay(entry, from + wanted, at + wanted);
        let is_repeated = there > wanted && there >= REPEATS_MIN && fold::repeats(*letter);
        if exact.is_some() || !is_repeated {
            return exact;
        }
        for offset in 0..wanted {
            *self.places.get_mut(from + offset)? = at + offset;
        }
        self.lay(entry, from + wanted, at + there)
    }

    fn accepts(&self, entry: &Entry, end: usize) -> bool {
        let places = &self.places[..entry.spelling.letters.len()];
        let Some(&start) = places.first() else {
            return false;
        };
        is_genuine(
            places.iter().map(|at| self.letters[*at].letter),
            &entry.spelling.letters,
        ) && !(wants_end(entry) && self.touches_behind(entry, end))
            && self.edges_fit(entry, start, end)
            && self.gaps_fit(entry, start, end)
    }

    /// The symbols that a word wants before and behind it.
    fn edges_fit(&self, entry: &Entry, start: usize, end: usize) -> bool {
        let is_symbol = |c: Option<char>| {
            c.is_some_and(|c| matches!(fold::fold(c), Kind::Symbol | Kind::Stop | Kind::Wild))
        };
        let before = &self.text[..self.letters[start].start];
        let behind = &self.text[self.letters[end - 1].end..];
        let spelling = &entry.spelling;
        (spelling.join(0) != Join::Symbol || is_symbol(before.chars().next_back()))
            && (spelling.join(spelling.letters.len()) != Join::Symbol
                || is_symbol(behind.chars().next()))
    }

    fn gaps_fit(&self, entry: &Entry, start: usize, end: usize) -> bool {
        let letters = &self.letters[start..end];
        if letters.iter().skip(1).all(|letter| letter.gap.visible == 0) {
            let inner = 1..entry.spelling.letters.len();
            return inner
                .into_iter()
                .all(|at| entry.spelling.join(at) != Join::Symbol);
        }
        let is_spaced_out = is_spaced_out(letters);
        let is_alone =
            self.neighbour_before(start).is_none() && self.neighbour_behind(end).is_none();
        let mut places = self.places[..entry.spelling.letters.len()]
            .iter()
            .enumerate()
            .peekable();
        (start..end).all(|at| {
            let wanted = places.next_if(|(_, place)| **place == at);
            if at == start {
                return true;
            }
            let join = wanted.map_or(Join::Plain, |(of, _)| entry.spelling.join(of));
            let gap = &self.letters[at].gap;
            let sides = [&self.letters[at - 1], &self.letters[at]].map(|l| is_unspaced(l.letter));
            match join {
                Join::Free => true,
                Join::Symbol => gap.visible > 0 && !gap.space && !gap.line,
                Join::Plain if gap.visible == 0 || is_spaced_out => true,
                Join::Plain => match sides {
                    [true, true] => gap.fits_unspaced(letters.len() > 2 || is_alone),
                    [false, false] => gap.fits_spaced(is_long_number(letters)),
                    _ => gap.fits_unspaced(true),
                },
            }
        })
    }

    fn touches_before(&self, entry: &Entry, start: usize) -> bool {
        let first = entry.spelling.letters.first();
        touches(entry, first, self.neighbour_before(start))
    }

    fn touches_behind(&self, entry: &Entry, end: usize) -> bool {
        let last = entry.spelling.letters.last();
        touches(entry, last, self.neighbour_behind(end))
    }

    /// The letter that stands right before the one at `start`.
    fn neighbour_before(&self, start: usize) -> Option<char> {
        let before = &self.text[..self.letters.get(start)?.start];
        neighbour(before.chars().rev()).and_then(|letters| letters.as_slice().last().copied())
    }

    fn neighbour_behind(&self, end: usize) -> Option<char> {
        let behind = &self.text[self.letters.get(end.checked_sub(1)?)?.end..];
        neighbour(behind.chars()).and_then(|letters| letters.as_slice().first().copied())
    }
}

impl Letter {
    fn new(letter: char, start: usize, end: usize) -> Self {
        Self {
            letter,
            class: fold::class(letter),
            start,
            end,
            gap: Gap::default(),
        }
    }
}

impl Gap {
    /// Takes in a character; false when it is a letter.
    fn add(&mut self, text: &str, at: usize, c: char) -> bool {
        match fold::fold(c) {
            Kind::Letters(_) => return false,
            Kind::Wild if fold::is_letter_here(text, at, c) => return false,
            Kind::Invisible => {
                self.invisible += 1;
                return true;
            }
            Kind::Symbol | Kind::Wild => {}
            Kind::Stop => self.stop = true,
            Kind::Space => self.space = true,
            Kind::Line => self.line = true,
        }
        self.visible += 1;
        true
    }

    fn is_too_long(&self) -> bool {
        self.visible > GAP_MAX || self.invisible > INVISIBLE_MAX
    }

    /// Chinese has no spaces, and its sentences end in symbols that it alone uses. A space hides
    /// a word; if it has two letters only, the space may as well part two sentences: then the
    /// word must be `long_or_alone`.
    fn fits_unspaced(&self, long_or_alone: bool) -> bool {
        !self.stop && !self.line && (!self.space || long_or_alone)
    }

    /// A space parts words.
    fn fits_spaced(&self, is_number: bool) -> bool {
        !self.line && (!self.space || is_number)
    }
}

/// The letter next to a word, if one stands there without a gap.
fn neighbour(chars: impl Iterator<Item = char>) -> Option<fold::Letters> {
    let mut seen = chars.take(INVISIBLE_MAX as usize).map(fold::fold);
    match seen.find(|kind| *kind != Kind::Invisible) {
        Some(Kind::Letters(letters)) => Some(letters),
        _ => None,
    }
}

/// Whether `other` makes the word a part of a longer one, whose edge is `edge`.
fn touches(entry: &Entry, edge: Option<&char>, other: Option<char>) -> bool {
    let (Some(edge), Some(other)) = (edge, other) else {
        return false;
    };
    let is_number =
        other.is_numeric() && edge.is_alphabetic() && entry.spelling.letters.len() >= NUMBERED_MIN;
    !is_unspaced(other) && !is_number
}

/// How many of the first letters are the same.
fn leading(letters: &[char]) -> usize {
    let first = letters.first();
    letters
        .iter()
        .take_while(|letter| Some(*letter) == first)
        .count()
}

/// Whether somebody writes `text` to mean `word`, of the same class. An `l` passes for an `i`, as
/// their capitals do; an `i` never for an `l`.
fn stands_for(text: char, word: char) -> bool {
    text == word || (fold::class(text) == fold::class(word) && !(text == 'i' && word == 'l'))
}

/// Whether enough letters are what they look like. Else `455` would be a word, and so would be
/// some in every Russian sentence.
fn is_genuine(text: impl Iterator<Item = char>, word: &[char]) -> bool {
    let (mut genuine, mut guessed) = (0, 0);
    for (text, word) in text.zip(word) {
        // Letters that no everyday text of another language is made of.
        let is_rare = matches!(text,
            '\u{180}'..='\u{2af}' | '\u{450}'..='\u{52f}' | '\u{1d00}'..);
        genuine += usize::from(text == *word || is_rare);
        guessed += usize::from(text != *word && text.is_ascii_alphanumeric());
    }
    // Not one in two letters: `ls` is not `is`.
    let may_guess = if word.len() > 2 { word.len() / 2 } else { 0 };
    genuine * 3 >= word.len() && guessed <= may_guess
}

/// `a b c`, `法。轮。功`: nobody writes so by chance. One piece may be longer: `f u ck`.
fn is_spaced_out(letters: &[Letter]) -> bool {
    let (mut pieces, mut long, mut length) = (1, 0, 1);
    for letter in letters.iter().skip(1) {
        if letter.gap.visible == 0 {
            length += 1;
            long += usize::from(length == 2);
        } else {
            pieces += 1;
            length = 1;
        }
    }
    pieces > 2 && long < 2
}

fn is_long_number(letters: &[Letter]) -> bool {
    letters.len() >= LONG_NUMBER && letters.iter().all(|l| l.letter.is_numeric())
}

/// The order in which words of one pattern are tried: an allowed one covers the others.
pub(super) fn order(entry: &Entry) -> (bool, std::cmp::Reverse<Level>) {
    (entry.level != Level::Allow, std::cmp::Reverse(entry.level))
}
