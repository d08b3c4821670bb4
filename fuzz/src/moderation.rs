//! Words and masks over any text: nothing but what was found changes, and it by one mark a
//! character.

use std::sync::LazyLock;

use im_moderation::mask::{Builtin, Masker};
use im_moderation::words::{Filter, Level, Verdict, Word, WordList};

static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let mut list = WordList::new();
    for (level, words) in LEVELS.into_iter().zip(FIXED) {
        list.add_lines(words, level);
    }
    for word in ["cab", "aab", "lil"] {
        list.add(Word::new(99, word, Level::Mask).inside());
    }
    let built = list.build();
    built
        .unwrap_or_else(|error| panic!("a short list: {error}"))
        .0
});
/// Words of each level.
const FIXED: [&str; 4] = [
    "ass\nas\nlabel\n法轮功\nσας\nlll\nффо",
    "法轮\nsoil\n*功*法*\n1.0\na-b\nкос\nﬃss",
    "ball\nsales\n000\n轮轮\nホ\u{309a}ホ\n가가\nباا\n99.10",
    "class\nlabels\n法轮功法\nball is",
];
const LEVELS: [Level; 4] = [Level::Refuse, Level::Review, Level::Mask, Level::Allow];
/// What the folding, the gaps and the judge have rules for.
const LETTERS: [char; 64] = [
    'a',
    's',
    'b',
    'c',
    'i',
    'l',
    '1',
    '0',
    'o',
    '5',
    'A',
    'S',
    'I',
    '@',
    '$',
    '!',
    '|',
    '.',
    ',',
    '*',
    '-',
    ' ',
    '\n',
    '{',
    '}',
    '9',
    '+',
    '/',
    '法',
    '轮',
    '輪',
    '功',
    '。',
    '（',
    '　',
    'Ａ',
    'ß',
    'ﬃ',
    '㎏',
    'ﾎ',
    'ﾟ',
    'ホ',
    'σ',
    'ς',
    'с',
    'о',
    'ѕ',
    '𝐚',
    '🅰',
    'é',
    '\u{301}',
    '\u{200b}',
    '\u{e0100}',
    '\u{3099}',
    '가',
    'ا',
    '\u{640}',
    '２',
    '＠',
    '😀',
    '号',
    '路',
    '市',
    '\u{10ffff}',
];

/// `data` is a text. The words are fixed, as building a filter takes long.
pub fn words(data: &[u8]) {
    let text = written(data);
    let scan = FILTER.scan(&text);
    let mut start = 0;
    for hit in scan.hits() {
        assert_eq!(text.get(hit.range.clone()), Some(hit.piece));
        assert!(!hit.piece.is_empty() && hit.level != Level::Allow);
        assert!(hit.range.start >= start, "hits are in order");
        start = hit.range.start;
    }
    assert_eq!(scan.hits().is_empty(), scan.verdict() == Verdict::Clean);
    let masked = scan.masked('█');
    let is_found = |at| scan.hits().iter().any(|hit| hit.range.contains(&at));
    assert_changed_only(&text, &masked, '█', is_found);
}

/// `data` is a text, in the letters above if its first byte is odd.
pub fn mask(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let text = match first % 2 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => written(rest),
    };
    let masker = Masker::none().with(Builtin::ALL);
    let masked = masker.mask(&text);
    let mut end = 0;
    for found in &masked.found {
        assert!(found.range.start >= end && found.range.end > found.range.start);
        end = found.range.end;
    }
    let is_found = |at| masked.found.iter().any(|found| found.range.contains(&at));
    assert_changed_only(&text, &masked.text, '*', is_found);
}

fn written(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| LETTERS[usize::from(byte % 64)])
        .collect()
}

fn assert_changed_only(before: &str, after: &str, mark: char, is_found: impl Fn(usize) -> bool) {
    assert_eq!(before.chars().count(), after.chars().count());
    for ((at, old), new) in before.char_indices().zip(after.chars()) {
        assert!(
            old == new || (new == mark && is_found(at)),
            "{before:?} became {after:?}"
        );
    }
}
