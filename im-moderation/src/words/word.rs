//! A word as an operator gives it, and as it is compared.

use super::fold::{self, Kind, is_unspaced};

/// What happens to a text with a word in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Nothing, and what is found inside this word is no hit: `Scunthorpe`.
    Allow,
    /// The word is masked for those who read.
    Mask,
    /// The text waits for, or is shown to, somebody who decides.
    Review,
    /// The text is refused.
    Refuse,
}

/// A word of a list.
///
/// Its symbols count as follows. `*`, `+`, a space and `{5}` between letters mean that anything
/// short may stand there, or nothing: `*法*轮*功*`. Another symbol must be there when it stands
/// between or beside letters of a script with spaces (`98.126.179.68`, `U-R`, `.com`), though not
/// the very same one. Between Chinese characters it counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The caller's name for it; two words may share one.
    pub id: u64,
    /// The word as written, in any case, width and form.
    pub text: String,
    /// What happens to a text that has it.
    pub level: Level,
    /// Whether it must not be a part of a longer word. It is asked of letters of scripts that put
    /// spaces between words, and of digits: never of Chinese, Japanese, Korean or Thai.
    pub boundaries: bool,
}

impl Word {
    /// A word with boundaries.
    pub fn new(id: u64, text: impl Into<String>, level: Level) -> Self {
        Self {
            id,
            text: text.into(),
            level,
            boundaries: true,
        }
    }

    /// The same word, found also inside a longer one.
    #[must_use]
    pub fn inside(self) -> Self {
        Self {
            boundaries: false,
            ..self
        }
    }
}

/// What a word wants between two of its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Join {
    /// What the general rule of gaps lets pass.
    Plain,
    /// Anything within the limit.
    Free,
    /// A symbol.
    Symbol,
}

/// A word's folded letters, and what it wants before each and at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spelling {
    pub(super) letters: Box<[char]>,
    /// One more than letters; none when all are [`Join::Plain`].
    joins: Box<[Join]>,
}

impl Spelling {
    pub(super) fn of(text: &str) -> Self {
        let (mut letters, mut joins) = (Vec::new(), Vec::new());
        let mut join = Join::Plain;
        let mut rest = text.char_indices();
        while let Some((at, c)) = rest.next() {
            if let Some(length) = span(&text[at..]) {
                for _ in 1..length {
                    rest.next();
                }
                join = Join::Free;
                continue;
            }
            let folded = match fold::fold(c) {
                Kind::Letters(folded) => folded,
                // A letter in a word is what it is in a text.
                Kind::Wild if fold::is_letter_here(text, at, c) => {
                    letters.push(c);
                    joins.push(std::mem::replace(&mut join, Join::Plain));
                    continue;
                }
                Kind::Invisible => continue,
                Kind::Space | Kind::Line => {
                    join = Join::Free;
                    continue;
                }
                _ if matches!(c, '*' | '+') => {
                    join = Join::Free;
                    continue;
                }
                _ if join == Join::Plain => {
                    join = Join::Symbol;
                    continue;
                }
                _ => continue,
            };
            for &letter in folded.as_slice() {
                letters.push(letter);
                joins.push(std::mem::replace(&mut join, Join::Plain));
            }
        }
        joins.push(join);
        Self::settled(letters, joins)
    }

    /// Joins that mean nothing where they stand become plain.
    fn settled(letters: Vec<char>, mut joins: Vec<Join>) -> Self {
        let spaced = |at: usize| letters.get(at).is_none_or(|c| !is_unspaced(*c));
        for (at, join) in joins.iter_mut().enumerate() {
            let is_inner = at > 0 && at < letters.len();
            let keeps = match join {
                Join::Plain => true,
                Join::Free => is_inner,
                Join::Symbol => spaced(at) && at.checked_sub(1).is_none_or(spaced),
            };
            if !keeps {
                *join = Join::Plain;
            }
        }
        if joins.iter().all(|join| *join == Join::Plain) {
            joins.clear();
        }
        Self {
            letters: letters.into(),
            joins: joins.into(),
        }
    }

    /// What is wanted before the letter at `at`, or at the end.
    pub(super) fn join(&self, at: usize) -> Join {
        self.joins.get(at).copied().unwrap_or(Join::Plain)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.letters) + size_of_val(&*self.joins)
    }
}

/// The characters of a `{5}` at the start of `text`, as lists have it for "up to five of anything".
fn span(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('{')?.split_once('}')?.0;
    let is_number = !inner.is_empty() && inner.len() <= 3;
    (is_number && inner.bytes().all(|b| b.is_ascii_digit())).then(|| inner.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> (String, Vec<Join>) {
        let spelling = Spelling::of(text);
        let letters: String = spelling.letters.iter().collect();
        let joins = (0..=spelling.letters.len()).map(|at| spelling.join(at));
        (letters, joins.collect())
    }

    #[test]
    fn symbols_of_a_word_are_read() {
        use Join::{Free, Plain, Symbol};
        assert_eq!(spelled("AbＣ"), ("abc".into(), vec![Plain; 4]));
        assert_eq!(
            spelled("*法*轮*功*"),
            ("法轮功".into(), vec![Plain, Free, Free, Plain])
        );
        assert_eq!(
            spelled("刷{10}信"),
            ("刷信".into(), vec![Plain, Free, Plain])
        );
        assert_eq!(spelled("专/业"), ("专业".into(), vec![Plain; 3]));
        assert_eq!(spelled("U-R"), ("ur".into(), vec![Plain, Symbol, Plain]));
        assert_eq!(spelled(".cn"), ("cn".into(), vec![Symbol, Plain, Plain]));
        assert_eq!(
            spelled("xi+jin"),
            (
                "xijin".into(),
                vec![Plain, Plain, Free, Plain, Plain, Plain]
            )
        );
        assert_eq!(spelled("★"), (String::new(), vec![Symbol]));
        assert_eq!(spelled("{x}a").0, "xa");
    }
}
