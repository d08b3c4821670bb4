//! The filter: one automaton over what is left of a text when everything that hides a word is
//! taken away, and a judge who looks at the original wherever it finds something.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use daachorse::charwise::iter::FindOverlappingStepper;
use daachorse::{CharwiseDoubleArrayAhoCorasick, CharwiseDoubleArrayAhoCorasickBuilder};
use thiserror::Error;

use super::alphabet::{Alphabet, BETWEEN, FIRST, History, INVISIBLE, OTHER, SEVERAL, Starts, WILD};
use super::fold;
use super::judge::{self, Evidence, GAP_MAX, INVISIBLE_MAX};
use super::list::{WordList, classes};
use super::scan::{Hit, Scan};
use super::word::{Spelling, Word};

/// A list doesn't fit into a filter.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterError {
    /// More different letters than the automaton can tell apart, about 55,000.
    #[error("the words have too many different letters")]
    Alphabet,
    /// More states than the automaton can number.
    #[error("the words are too many for one automaton")]
    TooLarge,
}

/// A list of words, ready to look into texts.
///
/// It never changes: who has a new list builds a new filter and swaps it for the old one, with
/// which scans that have begun go on. To clone it is to count a reference.
#[derive(Clone)]
pub struct Filter {
    inner: Arc<Inner>,
}

struct Inner {
    alphabet: Alphabet,
    starts: Starts,
    /// None when there are no words.
    automaton: Option<CharwiseDoubleArrayAhoCorasick<u32>>,
    patterns: Vec<Pattern>,
    entries: Vec<Entry>,
}

/// What the automaton finds: a sequence of codes, repeats as one. Several words may share it.
struct Pattern {
    /// In `entries`, an allowed one first, then the strictest.
    entries: std::ops::Range<usize>,
    /// Codes.
    len: usize,
    /// All of its words want a boundary at the end.
    closed: bool,
}

/// A word of the list.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) level: super::Level,
    pub(super) boundaries: bool,
    pub(super) spelling: Spelling,
}

impl Filter {
    /// A filter that finds nothing.
    ///
    /// # Errors
    /// As [`WordList::build`], so never.
    pub fn empty() -> Result<Self, FilterError> {
        WordList::new().build().map(|built| built.0)
    }

    pub(super) fn new(words: Vec<(Word, Spelling)>) -> Result<Self, FilterError> {
        let alphabet = Alphabet::new(&classes(&words)).ok_or(FilterError::Alphabet)?;
        let mut by_codes: BTreeMap<Vec<u16>, Vec<Entry>> = BTreeMap::new();
        for (word, spelling) in words {
            let codes = codes(&alphabet, &spelling);
            let Word {
                id,
                level,
                boundaries,
                ..
            } = word;
            let entry = Entry {
                id,
                level,
                boundaries,
                spelling,
            };
            by_codes.entry(codes).or_default().push(entry);
        }
        let mut starts = Starts::new();
        let (mut patterns, mut entries) = (Vec::new(), Vec::new());
        let mut strings = Vec::new();
        for (codes, mut same) in by_codes {
            let starts_open = same.iter().any(judge::is_open);
            starts.insert(&codes, starts_open, same.iter().any(judge::ends_open));
            strings.push(
                codes
                    .iter()
                    .filter_map(|code| character(*code))
                    .collect::<String>(),
            );
            same.sort_by_key(judge::order);
            patterns.push(Pattern {
                entries: entries.len()..entries.len() + same.len(),
                len: codes.len(),
                closed: same.iter().all(judge::wants_end),
            });
            entries.extend(same);
        }
        let inner = Inner {
            alphabet,
            starts,
            automaton: automaton(&strings)?,
            patterns,
            entries,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Looks into `text` for every word of the list. The time is linear in the text's length;
    /// nothing is allocated unless something like a word is found.
    pub fn scan<'t>(&self, text: &'t str) -> Scan<'t> {
        let Some(automaton) = &self.inner.automaton else {
            return Scan::new(text, Vec::new());
        };
        let mut walk = Walk {
            inner: &self.inner,
            automaton,
            stepper: automaton.find_overlapping_stepper(),
            text,
            evidence: Evidence::new(text),
            hits: Vec::new(),
        };
        walk.all();
        Scan::new(text, walk.hits)
    }

    /// The words in it.
    pub fn len(&self) -> usize {
        self.inner.entries.len()
    }

    /// Whether there is no word in it.
    pub fn is_empty(&self) -> bool {
        self.inner.entries.is_empty()
    }

    /// About how much memory it holds, in bytes, without what the allocator adds.
    pub fn heap_bytes(&self) -> usize {
        let inner = &*self.inner;
        let spellings: usize = inner.entries.iter().map(|e| e.spelling.heap_bytes()).sum();
        let automaton = inner.automaton.as_ref().map_or(0, |a| a.heap_bytes());
        let tables = inner.alphabet.heap_bytes() + inner.starts.heap_bytes();
        let lists = size_of_val(&*inner.entries) + size_of_val(&*inner.patterns);
        automaton + tables + lists + spellings
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("words", &self.len())
            .finish_non_exhaustive()
    }
}

/// A word's codes, repeats as one.
fn codes(alphabet: &Alphabet, spelling: &Spelling) -> Vec<u16> {
    let mut codes: Vec<u16> = Vec::with_capacity(spelling.letters.len());
    for letter in &spelling.letters {
        let code = alphabet.of_letter(*letter);
        if codes.last() != Some(&code) || !alphabet.traits(code).repeats {
            codes.push(code);
        }
    }
    codes
}

fn automaton(
    patterns: &[String],
) -> Result<Option<CharwiseDoubleArrayAhoCorasick<u32>>, FilterError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    // Its own prefilter is for whole texts; ours walks them by itself.
    let builder = CharwiseDoubleArrayAhoCorasickBuilder::new().use_prefilter(false);
    let too_large = |_| FilterError::TooLarge;
    let mut automaton: CharwiseDoubleArrayAhoCorasick<u32> =
        builder.build(patterns).map_err(too_large)?;
    automaton.cache_depths().map_err(too_large)?;
    Ok(Some(automaton))
}

/// Codes end where no character is, so each is one.
#[inline]
fn character(code: u16) -> Option<char> {
    char::from_u32(u32::from(code))
}

/// One way through a text.
struct Walk<'f, 't> {
    inner: &'f Inner,
    automaton: &'f CharwiseDoubleArrayAhoCorasick<u32>,
    stepper: FindOverlappingStepper<'f, u32>,
    text: &'t str,
    evidence: Evidence<'t>,
    hits: Vec<Hit<'t>>,
}

/// What changes with every character: by value, so that it stays in registers.
#[derive(Clone, Copy, Default)]
struct State {
    /// Whether the automaton is within a word. If not, it is asked only where a word may start.
    is_live: bool,
    /// The last codes; none when what comes can't belong to what was.
    history: History,
    /// Bit n: a word may begin with the last code but n, as far as is known.
    begun: u8,
    /// The last character was a letter of ASCII, to which another one may be stuck.
    is_latin: bool,
    /// Visible characters since the last letter.
    gap: u32,
    /// Invisible characters since the last letter.
    invisible: u32,
}

impl State {
    /// No word is here, nor may one have begun with the last letters.
    #[inline]
    fn is_hopeless(&self) -> bool {
        !self.is_live && self.begun & Starts::PENDING == 0
    }

    #[inline]
    fn between(&mut self) {
        self.gap += 1;
        if self.gap > GAP_MAX {
            self.cut();
        }
    }

    #[inline]
    fn unseen(&mut self) {
        self.invisible += 1;
        if self.invisible > INVISIBLE_MAX {
            self.cut();
        }
    }

    /// No word goes on over this place.
    #[inline]
    fn cut(&mut self) {
        *self = Self {
            is_latin: self.is_latin,
            ..Self::default()
        };
    }
}

impl<'t> Walk<'_, 't> {
    fn all(&mut self) {
        let mut state = State::default();
        let is_closed = !self.inner.starts.are_open();
        let mut chars = self.text.chars();
        loop {
            let at = self.text.len() - chars.as_str().len();
            let Some(c) = chars.next() else { break };
            match self.inner.alphabet.of(c) {
                INVISIBLE => {
                    state.unseen();
                    continue;
                }
                OTHER => state.cut(),
                BETWEEN => state.between(),
                WILD if !fold::is_letter_here(self.text, at, c) => state.between(),
                WILD | SEVERAL => state = self.several(state, at, c),
                code => self.letter(&mut state, code, at + c.len_utf8()),
            }
            state.is_latin = c.is_ascii_alphabetic();
            if state.is_latin && is_closed && state.is_hopeless() {
                // Nothing begins before the next boundary.
                let rest = chars.as_str();
                chars = rest
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .chars();
            }
        }
    }

    #[cold]
    fn several(&mut self, mut state: State, at: usize, c: char) -> State {
        let letters = fold::letters(c);
        let letters = letters.as_slice();
        let end = at + c.len_utf8();
        for (number, letter) in letters.iter().enumerate() {
            match self.inner.alphabet.of_letter(*letter) {
                code @ FIRST.. => {
                    self.evidence.set_tail(letters.len() - 1 - number);
                    self.letter(&mut state, code, end);
                }
                _ => state.cut(),
            }
        }
        self.evidence.set_tail(0);
        state
    }

    #[inline(always)]
    fn letter(&mut self, state: &mut State, code: u16, end: usize) {
        let inner = self.inner;
        let traits = inner.alphabet.traits(code);
        let begins = traits.is_unspaced || !state.is_latin || inner.starts.are_open();
        state.gap = 0;
        state.invisible = 0;
        if traits.repeats && state.history.last() == code {
            // Of `this sucks` both letters are one code, and the boundary is between them.
            if begins && state.begun & 1 == 0 {
                state.begun |= 1;
                self.single(code, end);
            }
            return;
        }
        state.begun = state.begun << 1 | u8::from(begins);
        state.history.push(code);
        if state.is_live {
            state.is_live = self.step(code, end);
            return;
        }
        let next = self.text.as_bytes().get(end);
        let goes_on = traits.repeats
            && next.is_some_and(u8::is_ascii_alphabetic)
            && next.is_some_and(|byte| inner.alphabet.of(char::from(*byte)) != code);
        let begun = &mut state.begun;
        let length = if goes_on && !inner.starts.are_open_at_the_end() {
            inner.starts.longest_within(state.history, begun)
        } else {
            inner.starts.longest(state.history, begun)
        };
        if length > 0 {
            state.is_live = self.start(state.history, length, end);
        }
    }

    /// Looks for words of this code alone (`xxx`), which the automaton passed when it was none
    /// that a word could begin with: of `linux xxx`.
    fn single(&mut self, code: u16, end: usize) {
        let mut stepper = self.automaton.find_overlapping_stepper();
        if let Some(c) = character(code) {
            stepper.consume(c);
        }
        self.found(&stepper, end);
    }

    /// Takes the automaton back to where a word may have begun.
    fn start(&mut self, history: History, length: usize, end: usize) -> bool {
        self.stepper = self.automaton.find_overlapping_stepper();
        for places in (1..length).rev() {
            if let Some(c) = character(history.back(places)) {
                self.stepper.consume(c);
            }
        }
        self.step(history.last(), end)
    }

    /// Goes on in the automaton. False when it is not within a word any more.
    fn step(&mut self, code: u16, end: usize) -> bool {
        let Some(c) = character(code) else {
            return false;
        };
        self.stepper.consume(c);
        let stepper = self.stepper.clone();
        self.found(&stepper, end);
        // Shallower than a beginning is long, the history says as much as the state.
        let is_deep = |depth| depth as usize >= Starts::LONGEST;
        self.stepper.depth().is_some_and(is_deep)
    }

    /// Has the judge look at what the automaton finds here.
    fn found(&mut self, stepper: &FindOverlappingStepper<'_, u32>, end: usize) {
        let mut found = stepper.matches().peekable();
        if found.peek().is_some() {
            self.evidence.at(end);
            for found in found {
                let pattern = &self.inner.patterns[found.value() as usize];
                let entries = &self.inner.entries[pattern.entries.clone()];
                let hit = self.evidence.judge(pattern.len, pattern.closed, entries);
                self.hits.extend(hit);
            }
        }
    }
}
