//! Words of real scripts, and what must hold for any text.

use proptest::prelude::*;

use super::*;

fn finds(query: &str, text: &str) -> bool {
    let words = Words::of(query).unwrap();
    let found = words.are_in(text);
    // The index gives at least what the comparison lets through.
    if found {
        assert!(is_given(&words, text), "{query:?} in {text:?}");
    }
    found
}

/// Whether an index of that text gives it.
fn is_given(words: &Words, text: &str) -> bool {
    let scope = Scope::of(&ConversationId::new("g").unwrap());
    let tokens = scope.tokens(&Body::text(text));
    let tokens: BTreeSet<&str> = tokens.split(' ').collect();
    let asked = scope.asked(&words.terms());
    asked.iter().all(|(token, is_prefix)| match is_prefix {
        true => tokens.iter().any(|it| it.starts_with(token.as_str())),
        false => tokens.contains(token.as_str()),
    })
}

#[test]
fn words_are_found_in_any_case_form_and_order() {
    for (query, text) in [
        ("hello", "Well, HELLO there"),
        ("there hello", "Hello, there"),
        ("cafe", "at the Café"),
        ("CAFÉ", "cafe"),
        ("strasse", "Straße"),
        ("λογος", "ΛΌΓΟΣ"),
        ("ещё", "ЕЩЕ раз"),
        ("istanbul", "İSTANBUL"),
        ("ﬁne", "fine"),
        ("ｗｉｄｅ", "wide"),
        ("don't", "I don't know"),
        ("42", "route 42."),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("soft", "so\u{ad}ft"),
    ] {
        assert!(finds(query, text), "{query:?} in {text:?}");
    }
    for (query, text) in [
        ("hello", "help"),
        ("ell", "hello"),
        ("hello world", "hello"),
        ("hel ", "hello"),
        ("he", "hello"),
    ] {
        assert!(!finds(query, text), "{query:?} in {text:?}");
    }
}

#[test]
fn the_last_word_may_be_the_beginning_of_one() {
    assert!(finds("say hel", "hello, say I"));
    assert!(finds("hel", "hello"));
    assert!(!finds("hel say", "hello, say I"));
    assert!(!finds("hel.", "hello"));
}

#[test]
fn chinese_japanese_and_korean_are_found_in_any_run() {
    for (query, text) in [
        ("我", "我们明天见面"),
        ("明天", "我们明天见面"),
        ("们明天见", "我们明天见面"),
        ("東京", "明日東京へ行きます"),
        ("ます", "明日東京へ行きます"),
        ("ガ", "ｶﾞラス"),
        ("ラーメン", "美味しいラーメン屋"),
        ("한국", "한국어를 배웁니다"),
        ("กิน", "ฉันกินข้าว"),
        ("👍", "ok 👍🏽"),
        ("見面 ok", "OK, 明天見面"),
    ] {
        assert!(finds(query, text), "{query:?} in {text:?}");
    }
    for (query, text) in [
        ("明天", "天明"),
        // Both pairs are there, and the run is not.
        ("明天见", "天见了明天"),
        ("か", "が"),
        ("天", "day"),
    ] {
        assert!(!finds(query, text), "{query:?} in {text:?}");
    }
}

#[test]
fn a_query_without_a_word_is_none() {
    for query in [
        "",
        " ",
        "!!!",
        "\0",
        "\u{200b}",
        "'\"*()+-~<>@:&|",
        "\u{301}",
    ] {
        assert_eq!(Words::of(query), None, "{query:?}");
    }
}

#[test]
fn tokens_are_plain_and_short() {
    let scope = Scope::of(&ConversationId::new("g").unwrap());
    for word in ["or", "x", "\0", "'; DROP", "日", "𠀀", &"é".repeat(500)] {
        let (token, _) = scope.token(word);
        assert!((3..=TOKEN_CHARS_MAX).contains(&token.len()), "{token}");
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
    }
    let other = Scope::of(&ConversationId::new("h").unwrap());
    assert_ne!(scope.token("a"), other.token("a"));
}

#[test]
fn long_texts_and_queries_are_bounded() {
    let long: String = (0..50_000).map(|n| format!("w{n} ")).collect();
    assert_eq!(words_of(&long).len(), TEXT_WORDS_MAX);
    let han: String = (0..20_000)
        .filter_map(|n| char::from_u32(0x4e00 + n))
        .collect();
    assert_eq!(words_of(&han).len(), TEXT_WORDS_MAX);
    assert_eq!(Words::of(&long).unwrap().terms().len(), QUERY_WORDS_MAX);
    assert_eq!(Words::of(&han).unwrap().terms().len(), QUERY_WORDS_MAX);
}

#[test]
fn what_is_not_read_is_not_found() {
    let said = |json: &str| said(&Body::new(&Value::from_json(json).unwrap()).unwrap());
    let file = r#"{"kind":"file","blob":"b1","name":"plan.pdf","size":1,"mime":"x/y"}"#;
    assert_eq!(said(file), "plan.pdf");
    assert_eq!(said(r#"{"kind":"card","title":"T","text":"B"}"#), "T\nB");
    assert_eq!(said(r#"{"kind":"sticker","sticker":"hello"}"#), "");
    assert_eq!(said(r#"{"kind":"edit","target":1,"text":"new"}"#), "new");
    for kind in Kind::ALL {
        let body = Body::of(*kind, ["text", "name", "title"].map(|it| (it, "a".into())));
        assert_eq!(
            super::said(&body).is_empty(),
            !SEARCHED.contains(kind),
            "{kind:?}"
        );
    }
}

proptest! {
    #[test]
    fn every_run_of_a_text_is_found_in_it(
        text in "\\PC{0,40}",
        from in 0..40_usize,
        len in 1..12_usize,
    ) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let from = from % words.len().max(1);
        let some: Vec<&str> = words.iter().skip(from).take(len).copied().collect();
        if let Some(words) = Words::of(&some.join(" ")) {
            prop_assert!(words.are_in(&text));
            prop_assert!(is_given(&words, &text));
        }
    }

    #[test]
    fn what_is_found_the_index_gives(query in "[a-c日本語ガか ]{1,6}", text in "[a-cA-C日本語ｶﾞか ]{0,12}") {
        if let Some(words) = Words::of(&query)
            && words.are_in(&text)
        {
            prop_assert!(is_given(&words, &text));
        }
    }

    #[test]
    fn folding_twice_is_folding_once(text in "\\PC{0,40}") {
        let once = fold(&text);
        prop_assert_eq!(fold(&once), once);
    }
}
