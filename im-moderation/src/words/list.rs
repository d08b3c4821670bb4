//! From an operator's list to a filter, with a report of what was left out and why.

use std::collections::{HashMap, HashSet};

use super::filter::{Filter, FilterError};
use super::word::{Level, Spelling, Word};

/// A word has at least so many letters. One letter is in every second sentence.
pub const LETTERS_MIN: usize = 2;
/// A word has at most so many letters; longer ones are sentences, for which this is no tool.
pub const LETTERS_MAX: usize = 128;
/// So many words a list keeps: some hundred megabytes, and seconds to build.
pub const WORDS_MAX: usize = 1_000_000;

/// Why a word was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// Another one is the same when case, width, forms and so on are taken away, at the same
    /// level and with the same boundaries; its id.
    Duplicate(u64),
    /// There is nothing in the line.
    Empty,
    /// The list has [`WORDS_MAX`] words.
    Full,
    /// There is no letter or digit in it.
    OnlySymbols,
    /// More than [`LETTERS_MAX`] letters.
    TooLong,
    /// Fewer than [`LETTERS_MIN`] letters.
    TooShort,
}

/// A word that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// [`Word::id`]: the line's number, if the words were read by [`WordList::add_lines`].
    pub id: u64,
    /// Why.
    pub why: DropReason,
}

/// What became of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Words kept.
    pub kept: usize,
    /// Words left out, in the order they were added.
    pub dropped: Vec<Dropped>,
}

/// Words to build a [`Filter`] of. A word that is no good is reported and left out; it never spoils
/// the others.
#[derive(Clone, Debug, Default)]
pub struct WordList {
    kept: Vec<(Word, Spelling)>,
    known: HashMap<(Spelling, Level, bool), u64>,
    dropped: Vec<Dropped>,
}

impl WordList {
    /// A list without words.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a word. False when it was left out.
    pub fn add(&mut self, word: Word) -> bool {
        let id = word.id;
        let added = self.try_add(word);
        if let Err(why) = added {
            self.dropped.push(Dropped { id, why });
        }
        added.is_ok()
    }

    /// Adds the words of a file that has one a line, with the line's number as their id, from 1 on.
    pub fn add_lines(&mut self, lines: &str, level: Level) {
        for (line, id) in lines.lines().zip(1..) {
            self.add(Word::new(id, line.trim(), level));
        }
    }

    fn try_add(&mut self, word: Word) -> Result<(), DropReason> {
        if word.text.trim().is_empty() {
            return Err(DropReason::Empty);
        }
        let spelling = Spelling::of(&word.text);
        match spelling.letters.len() {
            0 => return Err(DropReason::OnlySymbols),
            1..LETTERS_MIN => return Err(DropReason::TooShort),
            LETTERS_MIN..=LETTERS_MAX => {}
            _ => return Err(DropReason::TooLong),
        }
        let key = (spelling, word.level, word.boundaries);
        if let Some(same) = self.known.get(&key) {
            return Err(DropReason::Duplicate(*same));
        }
        if self.kept.len() >= WORDS_MAX {
            return Err(DropReason::Full);
        }
        let spelling = key.0.clone();
        self.known.insert(key, word.id);
        self.kept.push((word, spelling));
        Ok(())
    }

    /// What would be built of it.
    pub fn report(&self) -> Report {
        Report {
            kept: self.kept.len(),
            dropped: self.dropped.clone(),
        }
    }

    /// Builds the filter.
    ///
    /// # Errors
    /// When the words together are more than the automaton can hold; a list within [`WORDS_MAX`]
    /// of any living language is not.
    pub fn build(self) -> Result<(Filter, Report), FilterError> {
        let report = self.report();
        drop(self.known);
        Ok((Filter::new(self.kept)?, report))
    }
}

/// The classes of all letters of `words`.
pub(super) fn classes(words: &[(Word, Spelling)]) -> HashSet<char> {
    let letters = words.iter().flat_map(|(_, spelling)| &*spelling.letters);
    letters.map(|letter| super::fold::class(*letter)).collect()
}
