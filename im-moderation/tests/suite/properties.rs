//! What holds for any text and any word.

use std::sync::LazyLock;

use im_moderation::words::{Filter, Level, Verdict, Word, WordList};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::evasions::filter;

const WORDS: [&str; 6] = ["fucking", "法轮功", "鸡巴毛", "asshole", "сука", "a片下载"];

static FILTER: LazyLock<Filter> = LazyLock::new(|| filter(&WORDS));

/// What may be put between two letters of any word: without a space, and no symbol that ends a
/// sentence.
const INSERTS: [&str; 12] = [
    "", "", "", "*", ".", "-", "_", "~", "\u{200b}", "\u{301}", "😀", "**.-",
];

/// Other forms of a letter.
fn forms(letter: char) -> Vec<char> {
    let more: &[char] = match letter {
        'a' => &['A', 'ａ', 'а', '𝐚', 'á'],
        'c' => &['C', 'с', 'ç', 'ⓒ'],
        'f' => &['F', 'ｆ', '𝒇'],
        'g' => &['G', 'ｇ', '𝐠'],
        'i' => &['I', 'ï', 'Ｉ'],
        'k' => &['K', 'ｋ', 'ķ'],
        'u' => &['U', 'ü', 'Ｕ'],
        'с' => &['С', 'c'],
        '轮' => &['輪'],
        '鸡' => &['雞', '鷄'],
        '载' => &['載'],
        _ => &[],
    };
    more.iter().copied().chain([letter]).collect()
}

/// A word, written by somebody who hides it.
fn hidden(word: &'static str) -> impl Strategy<Value = String> {
    let letters: Vec<_> = word
        .chars()
        .map(|letter| (select(forms(letter)), select(&INSERTS[..])))
        .collect();
    letters.prop_map(|letters| {
        let mut text = String::new();
        for (at, (letter, insert)) in letters.into_iter().enumerate() {
            if at > 0 {
                text.push_str(insert);
            }
            text.push(letter);
        }
        text
    })
}

fn any_hidden() -> impl Strategy<Value = String> {
    select(&WORDS[..]).prop_flat_map(hidden)
}

/// Anything that people and machines write.
fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any_hidden(),
        "[a-z ]{0,12}",
        "[法轮功鸡巴毛，。 ]{0,8}",
        "[0-9@$!|.]{0,6}",
        "\\PC{0,8}",
        ".{0,4}",
    ];
    vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_planted_word_is_found_whatever_hides_it(
        before in "[xyz ]{0,9} ", word in any_hidden(), behind in " [xyz ]{0,9}",
    ) {
        let text = format!("{before}{word}{behind}");
        let scan = FILTER.scan(&text);
        prop_assert_eq!(scan.verdict(), Verdict::Refuse, "{:?}", text);
        let planted = before.len()..before.len() + word.len();
        let found = scan.hits().iter().any(|hit| hit.range == planted);
        prop_assert!(found, "{:?} in {:?}", scan.hits(), text);
    }

    #[test]
    fn hits_are_pieces_of_the_text_and_in_order(text in any_text()) {
        let scan = FILTER.scan(&text);
        for hit in scan.hits() {
            prop_assert_eq!(text.get(hit.range.clone()), Some(hit.piece));
            prop_assert!(!hit.piece.is_empty());
        }
        let starts: Vec<_> = scan.hits().iter().map(|hit| hit.range.start).collect();
        prop_assert!(starts.is_sorted());
    }

    #[test]
    fn a_mask_changes_hits_alone_and_each_character_by_one(text in any_text()) {
        let scan = FILTER.scan(&text);
        let masked = scan.masked('\u{2588}');
        prop_assert_eq!(masked.chars().count(), text.chars().count());
        for ((at, before), after) in text.char_indices().zip(masked.chars()) {
            let is_hit = scan.hits().iter().any(|hit| hit.range.contains(&at));
            prop_assert_eq!(after, if is_hit { '\u{2588}' } else { before });
        }
    }

    #[test]
    fn text_of_other_letters_is_clean(text in "[bdehjmnpqrtvwxyz我你他的是 ,.!?0-9\n]{0,200}") {
        let scan = FILTER.scan(&text);
        prop_assert_eq!(scan.hits(), []);
    }
}

proptest! {
    // Each case builds several filters.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The automaton and what spares it work find the same in a list as in a list of one word.
    #[test]
    fn a_word_is_found_in_a_list_as_it_is_alone(
        words in vec(("(ab|ba|abc|cab|a法|法|轮|b|c){1,4}", any::<bool>()), 1..6),
        texts in vec("(a|b|c|法|轮| |-|x|ab|abc){0,40}", 8),
    ) {
        let mut words: Vec<_> = words.into_iter().filter(|w| w.0.chars().count() > 1).collect();
        let collapsed = |word: &str| {
            let mut letters: Vec<char> = word.chars().collect();
            letters.dedup();
            letters
        };
        words.sort_by_key(|word| collapsed(&word.0));
        words.dedup_by_key(|word| collapsed(&word.0));
        let list = |words: &[(String, bool)]| {
            let mut list = WordList::new();
            for (text, boundaries) in words {
                let word = Word::new(0, text, Level::Refuse);
                list.add(Word { boundaries: *boundaries, ..word });
            }
            list.build().unwrap().0
        };
        let together = list(&words);
        let alone: Vec<_> = words.iter().map(|word| list(std::slice::from_ref(word))).collect();
        for text in &texts {
            let scan = together.scan(text);
            let found: Vec<_> = scan.hits().iter().map(|hit| hit.range.clone()).collect();
            let mut expected = Vec::new();
            for filter in &alone {
                expected.extend(filter.scan(text).hits().iter().map(|hit| hit.range.clone()));
            }
            expected.sort_by_key(|range| (range.start, range.end));
            expected.dedup();
            prop_assert_eq!(found, expected, "{:?} in {:?}", words, text);
        }
    }
}
