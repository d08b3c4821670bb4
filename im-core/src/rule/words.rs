//! What is searched for, and in what: the words of a text. Every store indexes these and no others,
//! so the same is found on all of them.
//!
//! A text is folded first: compatibility forms, case, and the marks over and under letters of the
//! alphabets are as if they weren't there. Where a script puts spaces between words, its words are
//! taken. Where it does not (Han, Kana, Hangul, Thai, emoji …) each character is, and each pair of
//! neighbours, so that any run of them is found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::model::{Body, ConversationId, Kind, Value};

/// Different words of one text that an index has: 4,000 characters of any script have no more. What
/// is beyond them in a longer text is not found.
pub const TEXT_WORDS_MAX: usize = 8_192;
/// Words of one query that an index is asked for; what it gives is compared with all.
pub const QUERY_WORDS_MAX: usize = 32;
/// The letters that the last word of a query must have to stand for longer ones as well.
const PREFIX_CHARS_MIN: usize = 3;
/// The characters of a token. InnoDB passes over words of more than 84.
const TOKEN_CHARS_MAX: usize = 72;
/// The digits of a token's numbers.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The kinds of entries that have something to find.
pub const SEARCHED: [Kind; 9] = [
    Kind::Text,
    Kind::Image,
    Kind::Video,
    Kind::Voice,
    Kind::File,
    Kind::Location,
    Kind::Card,
    Kind::Form,
    Kind::Edit,
];

/// What people read of a body, its parts on lines of their own; "" when there is nothing to find.
#[must_use]
pub fn said(body: &Body) -> String {
    let fields: &[&str] = match body.kind() {
        Kind::Text | Kind::Edit => &["text"],
        Kind::Image | Kind::Video | Kind::Voice | Kind::File => &["name", "transcript"],
        Kind::Location => &["name"],
        Kind::Card => &["title", "text"],
        Kind::Form => &["title"],
        _ => return String::new(),
    };
    let value = body.value();
    let texts = fields
        .iter()
        .filter_map(|field| value.get(field).and_then(Value::as_text));
    texts.collect::<Vec<_>>().join("\n")
}

/// A part of a folded text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    /// Letters and digits of a script with spaces.
    Word(String),
    /// Characters of a script without.
    Chain(String),
}

/// The words that a query looks for: a text must have all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    runs: Vec<Run>,
    /// The last run is a word that may be the beginning of a longer one.
    is_open: bool,
}

/// What an index is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// A word, a character or a pair of them.
    pub word: String,
    /// Longer words that begin so count as well.
    pub is_prefix: bool,
}

impl Words {
    /// The words of a query; `None` when it has none. A last word of three letters or more, with
    /// nothing behind it, may be the beginning of a longer one: people search while they type.
    #[must_use]
    pub fn of(query: &str) -> Option<Self> {
        let folded = fold(query);
        let runs = runs(&folded);
        let is_open = match runs.last()? {
            Run::Word(word) => {
                folded.ends_with(word.as_str()) && word.chars().count() >= PREFIX_CHARS_MIN
            }
            Run::Chain(_) => false,
        };
        Some(Self { runs, is_open })
    }

    /// What an index is asked for, each once, at most [`QUERY_WORDS_MAX`].
    #[must_use]
    pub fn terms(&self) -> Vec<Term> {
        let mut terms: Vec<Term> = Vec::new();
        let last = self.runs.len().saturating_sub(1);
        for (at, run) in self.runs.iter().enumerate() {
            let words = match run {
                Run::Word(word) => vec![word.clone()],
                Run::Chain(chain) => match pairs(chain) {
                    pairs if pairs.is_empty() => vec![chain.clone()],
                    pairs => pairs,
                },
            };
            for word in words {
                let is_prefix = self.is_open && at == last;
                let term = Term { word, is_prefix };
                if !terms.contains(&term) {
                    terms.push(term);
                }
            }
            if terms.len() >= QUERY_WORDS_MAX {
                terms.truncate(QUERY_WORDS_MAX);
                break;
            }
        }
        terms
    }

    /// Whether a text has them all.
    #[must_use]
    pub fn are_in(&self, text: &str) -> bool {
        let runs = runs(&fold(text));
        let words: BTreeSet<&str> = runs
            .iter()
            .filter_map(|run| match run {
                Run::Word(word) => Some(word.as_str()),
                Run::Chain(_) => None,
            })
            .collect();
        let last = self.runs.len().saturating_sub(1);
        self.runs.iter().enumerate().all(|(at, run)| match run {
            Run::Word(word) if self.is_open && at == last => {
                let mut above = words.range(word.as_str()..);
                above.next().is_some_and(|it| it.starts_with(word.as_str()))
            }
            Run::Word(word) => words.contains(word.as_str()),
            Run::Chain(part) => runs.iter().any(|run| match run {
                Run::Chain(chain) => chain.contains(part.as_str()),
                Run::Word(_) => false,
            }),
        })
    }
}

/// The words of a text as an index takes them, each once, at most [`TEXT_WORDS_MAX`].
#[must_use]
pub fn words_of(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for run in runs(&fold(text)) {
        match run {
            Run::Word(word) => {
                words.insert(word);
            }
            Run::Chain(chain) => {
                words.extend(chain.chars().map(String::from));
                words.extend(pairs(&chain));
            }
        }
        if words.len() >= TEXT_WORDS_MAX {
            break;
        }
    }
    while words.len() > TEXT_WORDS_MAX {
        words.pop_last();
    }
    words
}

/// A conversation's part of an index, which holds the words of all. Its tokens are letters `a`–`z`
/// and digits alone, whatever the words are: no index splits them or takes them for its syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// That of a conversation. Two may share one, by a chance of 1 in 2^35.
    #[must_use]
    pub fn of(conv: &ConversationId) -> Self {
        let hash = Sha256::digest(conv.as_str().as_bytes());
        let mut scope = String::from("c");
        scope.extend(hash.iter().take(7).map(|byte| digit(u32::from(*byte))));
        Self(scope)
    }

    /// The token of a word, and whether it stands for all of it: of a very long word it is that of
    /// its beginning.
    #[must_use]
    pub fn token(&self, word: &str) -> (String, bool) {
        let mut token = self.0.clone();
        for c in word.chars() {
            let before = token.len();
            match c {
                'a'..='w' | 'y' | 'z' | '0'..='9' => token.push(c),
                _ => {
                    token.push('x');
                    let code = u32::from(c);
                    token.extend([15, 10, 5, 0].map(|shift| digit(code >> shift)));
                }
            }
            if token.len() > TOKEN_CHARS_MAX {
                token.truncate(before);
                return (token, false);
            }
        }
        (token, true)
    }

    /// The tokens of what a body says, with a space between; "" when it says nothing.
    #[must_use]
    pub fn tokens(&self, body: &Body) -> String {
        let mut tokens = String::new();
        for word in words_of(&said(body)) {
            let between = if tokens.is_empty() { "" } else { " " };
            let _ = write!(tokens, "{between}{}", self.token(&word).0);
        }
        tokens
    }

    /// The tokens of a query's terms, each with whether longer ones count as well.
    #[must_use]
    pub fn asked(&self, terms: &[Term]) -> Vec<(String, bool)> {
        let asked = terms.iter().map(|term| {
            let (token, is_whole) = self.token(&term.word);
            (token, term.is_prefix && is_whole)
        });
        asked.collect()
    }
}

fn digit(of: u32) -> char {
    char::from(DIGITS[(of & 31) as usize])
}

/// Pairs of neighbours.
fn pairs(chain: &str) -> Vec<String> {
    let chars: Vec<char> = chain.chars().collect();
    chars.windows(2).map(|pair| pair.iter().collect()).collect()
}

/// The text as words are compared.
fn fold(text: &str) -> String {
    let plain = text.nfkd().flat_map(char::to_lowercase);
    let plain = plain.filter(|c| !is_passed_over(*c));
    let mut folded = String::with_capacity(text.len());
    for c in plain {
        match c {
            'ß' => folded.push_str("ss"),
            'ς' => folded.push('σ'),
            'ı' => folded.push('i'),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            c => folded.push(c),
        }
    }
    folded.nfc().collect()
}

/// Marks of the alphabets, and what is not seen.
const fn is_passed_over(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
    )
}

fn runs(folded: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut open: Option<Run> = None;
    for c in folded.chars() {
        open = match (open, is_chained(c)) {
            (Some(Run::Chain(mut chain)), true) => {
                chain.push(c);
                Some(Run::Chain(chain))
            }
            (last, true) => {
                runs.extend(last);
                Some(Run::Chain(c.into()))
            }
            (Some(Run::Word(mut word)), false) if c.is_alphanumeric() || is_combining_mark(c) => {
                word.push(c);
                Some(Run::Word(word))
            }
            (last, false) => {
                runs.extend(last);
                c.is_alphanumeric().then(|| Run::Word(c.into()))
            }
        };
    }
    runs.extend(open);
    runs
}

/// Characters of scripts without spaces between words, and pictures.
const fn is_chained(c: char) -> bool {
    matches!(
        c,
        // Thai, Lao, Myanmar, Khmer
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
            // Hangul
            | '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}'
            // Pictures
            | '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}'
            // Han and its iteration marks, Kana, Bopomofo, Yi
            | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30fa}'
            | '\u{30fc}'..='\u{312f}' | '\u{31a0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{a4cf}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests;
