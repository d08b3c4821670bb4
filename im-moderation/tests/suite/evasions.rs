//! Each way to hide a word, and beside it the harmless text that looks almost the same.

use im_moderation::words::{Filter, Level, Word, WordList};

/// Words that are refused, with boundaries.
pub(crate) fn filter(words: &[&str]) -> Filter {
    let mut list = WordList::new();
    for (word, id) in words.iter().zip(1..) {
        list.add(Word::new(id, *word, Level::Refuse));
    }
    let (filter, report) = list.build().unwrap();
    assert_eq!(report.dropped, []);
    filter
}

fn pieces<'t>(filter: &Filter, text: &'t str) -> Vec<&'t str> {
    let scan = filter.scan(text);
    scan.hits().iter().map(|hit| hit.piece).collect()
}

/// In each text the piece stands between `[` and `]`; without them, nothing may be found.
fn check(words: &[&str], texts: &[&str]) {
    let filter = filter(words);
    for marked in texts {
        let text = marked.replace(['⟦', '⟧'], "");
        let expected: Vec<&str> = marked
            .split('⟦')
            .skip(1)
            .map(|part| part.split('⟧').next().unwrap())
            .collect();
        assert_eq!(pieces(&filter, &text), expected, "{words:?} in {marked:?}");
    }
}

#[test]
fn plain_words_are_found() {
    check(
        &["fuck"],
        &[
            "⟦fuck⟧",
            "what the ⟦fuck⟧?",
            "⟦fuck⟧ ⟦fuck⟧",
            "fu",
            "",
            "fluck",
        ],
    );
    check(&["法轮功"], &["练⟦法轮功⟧的人", "法轮", "⟦法轮功⟧⟦法轮功⟧"]);
    check(&["法轮", "轮功"], &["练⟦法轮⟧", "⟦轮功⟧"]);
}

#[test]
fn case_width_and_form_hide_nothing() {
    check(
        &["fuck"],
        &[
            "⟦FUCK⟧",
            "⟦FuCk⟧",
            "⟦ｆｕｃｋ⟧",
            "⟦𝐟𝐮𝐜𝐤⟧",
            "⟦ⓕⓤⓒⓚ⟧",
            "⟦🅵🆄🅲🅺⟧",
            "⟦ᶠᵘᶜᵏ⟧",
        ],
    );
    check(&["法轮功"], &["⟦法輪功⟧"]);
    check(&["法輪功"], &["⟦法轮功⟧"]);
    check(&["臺灣獨立"], &["⟦台湾独立⟧", "⟦台灣獨立⟧"]);
    check(&["straße"], &["⟦STRASSE⟧", "⟦Straße⟧"]);
    check(&["kg弹"], &["⟦㎏弹⟧", "⟦KG彈⟧"]);
    check(&["ポルノ"], &["⟦ﾎﾟﾙﾉ⟧", "ホルノ"]);
    check(&["100元假钞"], &["⟦①００元假鈔⟧"]);
}

#[test]
fn what_is_not_seen_hides_nothing() {
    check(
        &["fuck", "法轮功"],
        &[
            "⟦f\u{200b}u\u{200d}c\u{2060}k⟧",
            "⟦\u{66}\u{ad}uc\u{feff}k⟧",
            "\u{202e}⟦fu\u{202d}ck⟧\u{202c}",
            "⟦f\u{336}u\u{336}c\u{336}k⟧\u{336}",
            "⟦fúçķ⟧",
            "⟦法\u{200b}轮\u{fe0f}功⟧",
            "⟦法\u{e0100}轮\u{3164}功⟧",
        ],
    );
    let far = format!("f{}uck", "\u{200b}".repeat(65));
    assert_eq!(pieces(&filter(&["fuck"]), &far), [] as [&str; 0]);
}

#[test]
fn lookalikes_are_read_as_what_they_look_like() {
    check(
        &["fuck", "shit", "ass", "slut", "sex"],
        &[
            "⟦fuсk⟧",
            "⟦fυck⟧",
            "⟦sh1t⟧",
            "⟦$hit⟧",
            "⟦sh!t⟧",
            "⟦@ss⟧",
            "⟦a$$⟧",
            "⟦5lut⟧",
            "⟦ѕех⟧",
            "⟦ꜱhit⟧",
            // Not words at all: too little of them is genuine.
            "room 455",
            "the A55 road",
            "siut",
        ],
    );
    check(&["cop", "hop"], &["сор из избы", "нор"]);
    check(
        &["clit", "kill"],
        &["⟦cl1t⟧", "⟦c1it⟧", "⟦k1ll⟧", "kiil", "cit"],
    );
    check(&["сука"], &["⟦сука⟧", "⟦cука⟧", "⟦СУКА⟧"]);
}

#[test]
fn symbols_between_letters_are_passed_over() {
    check(
        &["fuck", "asshole"],
        &[
            "⟦f.u.c.k⟧",
            "⟦f*u*c*k⟧ you",
            "⟦f-uck⟧",
            "⟦f___u___c___k⟧",
            "⟦f u c k⟧",
            "⟦f  u  ck⟧",
            "⟦f 😀 u 😀 c 😀 k⟧",
            "⟦f\nu\nc\nk⟧",
            "⟦as-shole⟧",
            "f.......u.......c.......k",
        ],
    );
    check(
        &["法轮功"],
        &[
            "⟦法*轮*功⟧",
            "⟦法 轮 功⟧",
            "⟦法轮 功⟧",
            "⟦法-轮/功⟧",
            "⟦法@轮$功⟧",
            "⟦法。轮。功⟧",
            "【⟦法】【轮】【功⟧】",
            "⟦法😀轮😀功⟧",
            "⟦法\u{3000}轮\u{3000}功⟧",
        ],
    );
}

#[test]
fn symbols_do_not_glue_two_words_into_one() {
    check(
        &["asshole", "shit", "anal", "fuck"],
        &[
            "as shole",
            "he was. Hit me",
            "it's hit the wall",
            "pass hole",
            "this hit",
            "U.S. hit",
            "an al dente pasta",
            "i s hit",
            "a fu ckoo",
            "is.hit",
        ],
    );
    check(
        &["法轮", "法轮功"],
        &[
            "没办法，轮到你了",
            "没办法。轮到你了",
            "没办法 轮到你了",
            "用这个方法（轮流）",
            "用这个方法\n轮流",
            "⟦法 轮⟧",
            "他说：⟦法 轮⟧",
            "⟦法*轮⟧",
        ],
    );
}

#[test]
fn a_word_with_boundaries_is_not_found_inside_a_longer_one() {
    check(
        &["cunt", "ass", "av", "A片"],
        &[
            "Scunthorpe",
            "class",
            "assassin",
            "a glass, a pass",
            "have a nice avenue",
            "av1 and x264",
            "⟦ass⟧!",
            "(⟦ass⟧)",
            "_⟦ass⟧_",
            "你这个⟦ass⟧啊",
            "⟦cunt⟧123",
            "看⟦A片⟧吧",
            "USA片",
            "grasś",
        ],
    );
    let mut list = WordList::new();
    list.add(Word::new(1, "cunt", Level::Refuse).inside());
    let (filter, _) = list.build().unwrap();
    assert_eq!(pieces(&filter, "Scunthorpe"), ["cunt"]);
}

#[test]
fn a_word_may_end_within_a_character_of_several_letters() {
    let mut list = WordList::new();
    list.add(Word::new(1, "弹k", Level::Refuse).inside());
    list.add(Word::new(2, "xaff", Level::Refuse).inside());
    let (filter, _) = list.build().unwrap();
    assert_eq!(pieces(&filter, "弹㎏"), ["弹㎏"]);
    assert_eq!(pieces(&filter, "xaﬃx"), ["xaﬃ"]);
}

#[test]
fn repeated_letters_are_one() {
    check(
        &["fuck", "ass", "as", "www.bad.com", "1000"],
        &[
            "⟦fuuuuck⟧",
            "⟦FFFFUUUUCCCCKKKK⟧",
            "⟦f u u u u c k⟧",
            "⟦ass⟧",
            "⟦asssss⟧",
            "⟦aaaassss⟧",
            "fuuck",
            "⟦as⟧ well",
            "⟦www.bad.com⟧",
            "⟦1000⟧",
            "10000",
            "1",
        ],
    );
    check(&["sucks"], &["this ⟦sucks⟧", "⟦suckssss⟧", "sss ⟦sucks⟧"]);
    check(&["xxx"], &["⟦xxx⟧", "⟦xxxxx⟧", "xx", "x", "⟦x x x⟧"]);
    check(
        &["xxx", "abcdefgx"],
        &[
            "linux ⟦xxx⟧",
            "how ⟦xxx⟧",
            "abcdefghx ⟦xxx⟧",
            "⟦abcdefgx⟧ ⟦xxx⟧",
        ],
    );
    check(&["sx"], &["as ⟦sssx⟧", "s ⟦sx⟧"]);
    check(&["爸爸"], &["⟦爸爸⟧", "爸"]);
    check(&["coon"], &["⟦coon⟧", "con", "⟦coooon⟧"]);
}

#[test]
fn symbols_of_the_list_mean_what_lists_mean_by_them() {
    check(
        &["*法*轮*功*"],
        &["⟦法轮功⟧", "⟦法，轮，功⟧", "⟦法 轮功⟧", "⟦法轮。功⟧"],
    );
    check(&["办{10}证"], &["⟦办证⟧", "⟦办，证⟧"]);
    check(
        &["two girls"],
        &["⟦two girls⟧", "⟦twogirls⟧", "⟦two-girls⟧", "⟦two, girls⟧"],
    );
    check(
        &["98.126.179.68"],
        &["⟦98.126.179.68⟧", "981.26.179.68", "9812617968"],
    );
    check(&["U-R"], &["⟦U-R⟧", "ur", "u r"]);
    check(
        &["qq.cn"],
        &[
            "⟦qq.cn⟧",
            "www.⟦qq.cn⟧/x",
            "qq cn",
            "I use qq. Cn is",
            "⟦qq．cn⟧",
        ],
    );
    check(&[".cn"], &["x.⟦cn⟧", "cn"]);
    check(
        &["13544378151"],
        &[
            "⟦13544378151⟧",
            "⟦135-4437-8151⟧",
            "⟦135 4437 8151⟧",
            "135443781512",
        ],
    );
}
