//! What one character counts as, whatever list is asked: a letter in its plainest form, a symbol
//! that may stand between two letters, or nothing at all.

use std::sync::LazyLock;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// The most letters that one character may stand for (`㎏` is two); more make it a symbol.
pub(crate) const EXPANSION_MAX: usize = 4;

/// Pairs of a character and its simplified form; `data/README.md` says where they come from.
const HAN: &str = include_str!("../../data/han.txt");
/// A Latin letter or digit, and what looks like it.
const LOOKALIKES: &str = include_str!("../../data/lookalikes.txt");

/// What a character counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Letters and digits.
    Letters(Letters),
    /// Not seen, or drawn over the letter before: as if it weren't there.
    Invisible,
    /// A visible symbol.
    Symbol,
    /// A symbol that ends or opens a sentence or a part of one.
    Stop,
    /// A space within a line.
    Space,
    /// The end of a line.
    Line,
    /// `@ $ ! |`: a letter or a symbol, as its neighbours are ([`is_letter_here`]).
    Wild,
}

/// One to four letters: without marks, case, width, and in simplified form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letters {
    of: [char; EXPANSION_MAX],
    len: u8,
}

impl Letters {
    const fn one(c: char) -> Self {
        Self {
            of: [c; EXPANSION_MAX],
            len: 1,
        }
    }

    pub(crate) fn as_slice(&self) -> &[char] {
        &self.of[..usize::from(self.len)]
    }
}

/// What `c` counts as.
pub(crate) fn fold(c: char) -> Kind {
    match c {
        'a'..='z' | '0'..='9' => Kind::Letters(Letters::one(c)),
        'A'..='Z' => Kind::Letters(Letters::one(c.to_ascii_lowercase())),
        '@' | '$' | '!' | '|' => Kind::Wild,
        ' '..='~' => between(c),
        '\u{4e00}'..='\u{9fff}' => Kind::Letters(Letters::one(simplified(c))),
        // Taken apart, a syllable would begin as another one does.
        '\u{ac00}'..='\u{d7a3}' => Kind::Letters(Letters::one(c)),
        _ if is_invisible(c) => Kind::Invisible,
        _ => general(c),
    }
}

/// The letters of a character that stands for letters where it is.
pub(crate) fn letters(c: char) -> Letters {
    match fold(c) {
        Kind::Letters(letters) => letters,
        _ => Letters::one(c),
    }
}

fn general(c: char) -> Kind {
    let mut letters = Letters::one(c);
    let mut len = 0;
    decompose_compatible(squared(c), |part| {
        if is_invisible(part) {
            return;
        }
        for lower in part.to_lowercase() {
            let twice = if lower == 'ß' { 2 } else { 1 };
            if is_letter(lower) {
                for _ in 0..twice {
                    if let Some(place) = letters.of.get_mut(len) {
                        *place = plain(lower);
                    }
                    len += 1;
                }
            }
        }
    });
    match u8::try_from(len) {
        Ok(len @ 1..) if usize::from(len) <= EXPANSION_MAX => {
            letters.len = len;
            Kind::Letters(letters)
        }
        _ => between(c),
    }
}

/// What a character without a letter in it is.
fn between(c: char) -> Kind {
    match c {
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Kind::Line,
        _ if c.is_whitespace() => Kind::Space,
        ',' | ';' | ':' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '"' => Kind::Stop,
        '\u{2013}'..='\u{201f}' | '…' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{301b}' => {
            Kind::Stop
        }
        '！' | '（' | '）' | '，' | '：' | '；' | '？' | '［' | '］' | '｛' | '｝' | '｡'..='､' => {
            Kind::Stop
        }
        _ => Kind::Symbol,
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\u{3099}' | '\u{309a}')
}

/// Without width, or drawn over or under another letter.
fn is_invisible(c: char) -> bool {
    match c {
        '\u{ad}'
        | '\u{300}'..='\u{36f}'
        | '\u{61c}'
        | '\u{640}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        // The marks of kana make another letter; the vowels of Indic scripts are letters, too.
        '\u{3099}' | '\u{309a}' => false,
        // Points of Hebrew and Arabic: alphabetic, and left out by most who write.
        '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' => {
            is_combining_mark(c)
        }
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' => true,
        _ => is_combining_mark(c) && !c.is_alphanumeric(),
    }
}

/// Letters in filled circles and squares have no decomposition; the lunate sigma has one that it
/// doesn't look like.
fn squared(c: char) -> char {
    let at = match c {
        'ϲ' | 'Ϲ' => return 'c',
        '\u{1f150}'..='\u{1f169}' => u32::from(c) - 0x1f150,
        '\u{1f170}'..='\u{1f189}' => u32::from(c) - 0x1f170,
        _ => return c,
    };
    char::from_u32(u32::from('a') + at).unwrap_or(c)
}

fn plain(c: char) -> char {
    match c {
        'ß' => 's',
        'ς' => 'σ',
        _ => simplified(c),
    }
}

/// The simplified form of a Han character.
fn simplified(c: char) -> char {
    static PAIRS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
        let pair = |pair: &str| {
            let mut chars = pair.chars();
            chars.next().zip(chars.next())
        };
        let mut pairs: Vec<_> = HAN.split_whitespace().filter_map(pair).collect();
        pairs.sort_unstable();
        pairs
    });
    if u32::from(c) < 0x3400 {
        return c;
    }
    look_up(&PAIRS, c).unwrap_or(c)
}

/// The class of a folded letter: what looks alike, or is written for each other, is one.
///
/// `i`, `l` and `1` are one class, and so are `o` and `0`; who finds a word by its classes must
/// look at the letters themselves afterwards.
pub(crate) fn class(letter: char) -> char {
    static LIKE: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
        let mut like = Vec::new();
        for line in LOOKALIKES.lines() {
            let mut chars = line.chars();
            if let (Some(latin), Some(' ')) = (chars.next(), chars.next()) {
                like.extend(chars.map(|c| (c, latin)));
            }
        }
        like.sort_unstable();
        like
    });
    let latin = if letter.is_ascii() {
        letter
    } else {
        look_up(&LIKE, letter).unwrap_or(letter)
    };
    match latin {
        '0' => 'o',
        '1' | 'l' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

fn look_up(table: &[(char, char)], c: char) -> Option<char> {
    let at = table.binary_search_by_key(&c, |pair| pair.0).ok()?;
    table.get(at).map(|pair| pair.1)
}

/// Scripts that are written without spaces, where a word has no boundaries to ask for.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{fff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1100}'..='\u{11ff}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ffdc}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Whether repeats of this class are read as one: letters of spaced scripts, never digits.
pub(crate) fn repeats(class: char) -> bool {
    class.is_alphabetic() && !is_unspaced(class)
}

/// Whether the wild character `c` at `at` stands for a letter.
///
/// `@` and `$` do beside a Latin letter (`@ss`, `a$$`), `!` and `|` between two (`sh!t`). Elsewhere
/// they are symbols, as in `法@轮`.
pub(crate) fn is_letter_here(text: &str, at: usize, c: char) -> bool {
    let bytes = text.as_bytes();
    let latin = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'$' | b'@'))
    };
    let before = latin(at.checked_sub(1));
    let behind = latin(Some(at + 1));
    match c {
        '@' | '$' => before || behind,
        _ => before && behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(c: char) -> String {
        match fold(c) {
            Kind::Letters(letters) => letters.as_slice().iter().collect(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn one_letter_in_many_forms_folds_to_one() {
        for (forms, plain) in [
            ("FfＦｆ𝐅𝔽ⓕⒻ🅕🅵", "f"),
            ("éÉëẽÊ", "e"),
            ("輪轮", "轮"),
            ("後后", "后"),
            ("裏裡里", "里"),
            ("①１¹₁", "1"),
            ("ß", "ss"),
            ("cϲϹ", "c"),
            ("㎏", "kg"),
            ("㊣", "正"),
            ("ｶカ", "カ"),
            ("σςΣ", "σ"),
            ("가", "가"),
        ] {
            for form in forms.chars() {
                assert_eq!(letters(form), plain, "{form:?}");
            }
        }
        assert_eq!(letters('ガ'), "カ\u{3099}");
        assert_eq!(fold('\u{3099}'), Kind::Letters(Letters::one('\u{3099}')));
    }

    #[test]
    fn what_is_between_letters_has_its_kind() {
        for (all, kind) in [
            (
                "\u{200b}\u{200d}\u{202e}\u{feff}\u{301}\u{fe0f}\u{ad}\u{34f}",
                Kind::Invisible,
            ),
            ("*.-_·~^#/\\+=<>&%'😀★", Kind::Symbol),
            ("，。！？；：、…—“”（）《》,;:?()", Kind::Stop),
            (" \t\u{3000}\u{a0}", Kind::Space),
            ("\n\r\u{2028}", Kind::Line),
            ("@$!|", Kind::Wild),
        ] {
            for c in all.chars() {
                assert_eq!(fold(c), kind, "{c:?}");
            }
        }
    }

    #[test]
    fn lookalikes_are_of_one_class() {
        for (all, latin) in [("aаα4@", 'a'), ("oоο0", 'o'), ("il1іӏ", 'i'), ("cс", 'c')] {
            for c in all.chars() {
                assert_eq!(class(c), latin, "{c:?}");
            }
        }
        assert_eq!(class('我'), '我');
    }

    #[test]
    fn folding_what_is_folded_changes_nothing() {
        for c in (0..0x11_0000).filter_map(char::from_u32) {
            if let Kind::Letters(folded) = fold(c) {
                for &letter in folded.as_slice() {
                    assert_eq!(letters(letter), letter.to_string(), "of {c:?}");
                    assert_eq!(class(class(letter)), class(letter), "of {c:?}");
                }
            }
        }
    }
}
