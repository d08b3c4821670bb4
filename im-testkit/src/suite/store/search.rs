//! Searching what a store holds: [`search_suite!`](crate::search_suite) on an adapter.

use im_core::model::{Body, Kind, NewEntry, Seq, Timestamp, Value};
use im_core::port::{Find, FirstSeq, Found, Search, Spot, Write};
use im_core::rule::Words;

use super::kit::*;

/// A store and its search.
pub type Searched = (Shared, std::sync::Arc<dyn Search>);

/// Steps of the index that are enough for anything that a case writes.
const STEPS_MAX: usize = 1_000;
/// More conversations than a store asks its index for at once.
const MANY: usize = 600;

fn find(who: &str, query: &str) -> Find {
    Find {
        user: user(who),
        words: Words::of(query).expect("a query with a word"),
        conv: None,
        from: None,
        kind: None,
        since: None,
        until: None,
        before: None,
        limit: 1_000,
    }
}

/// Everything that was said is in the index.
async fn indexed((_, search): &Searched) {
    for _ in 0..STEPS_MAX {
        if !search.index().await.expect("a step of the index") {
            return;
        }
    }
    panic!("the index has no end");
}

async fn ask((_, search): &Searched, find: &Find) -> Found {
    let found = search.find(find).await.expect("a search");
    assert!(found.entries.len() <= find.limit);
    let spots: Vec<Spot> = found.entries.iter().map(Spot::of).collect();
    assert!(
        spots.is_sorted_by(|a, b| a > b),
        "the newest first, none twice"
    );
    found
}

/// All that is found, as `conversation/place`, in pages of that size.
async fn pages(on: &Searched, find: &Find, limit: usize) -> Vec<String> {
    let mut find = Find {
        limit,
        ..find.clone()
    };
    let mut all = Vec::new();
    for _ in 0..STEPS_MAX {
        let found = ask(on, &find).await;
        assert!(found.is_whole);
        all.extend(found.entries.iter().map(Spot::of));
        match found.next {
            Some(next) => find.before = Some(next),
            None => {
                assert!(all.is_sorted_by(|a, b| a > b), "pages join without a seam");
                return all.iter().map(name).collect();
            }
        }
    }
    panic!("the search has no end");
}

fn name(spot: &Spot) -> String {
    format!("{}/{}", spot.conv, spot.seq.0)
}

async fn finds(on: &Searched, find: &Find) -> Vec<String> {
    pages(on, find, 1_000).await
}

/// The same before the index has it and after.
async fn is_found(on: &Searched, find: &Find, expected: &[&str]) {
    assert_eq!(finds(on, find).await, expected, "{find:?}");
    indexed(on).await;
    assert_eq!(finds(on, find).await, expected, "{find:?}, indexed");
}

/// What is said is found at once, in any case and form, and by all of the words.
pub async fn what_was_said_is_found_at_once(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al", "bo"]).await;
    for text in ["Hello there, Café!", "hello again", "something else"] {
        say(store, "g", "al", text).await;
    }
    for (query, expected) in [
        ("hello", &["g/2", "g/1"][..]),
        ("HELLO there", &["g/1"]),
        ("cafe", &["g/1"]),
        ("someth", &["g/3"]),
        ("other", &[]),
        ("ello", &[]),
    ] {
        is_found(&on, &find("bo", query), expected).await;
    }
    say(store, "g", "bo", "hello from bo").await;
    is_found(&on, &find("al", "hello"), &["g/4", "g/2", "g/1"]).await;
}

/// Scripts without spaces are found by any run of their characters, also one alone.
pub async fn runs_of_any_script_are_found(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al"]).await;
    for text in [
        "我们明天在东京见面",
        "明日は東京へ行きます",
        "天明了",
        "ｶﾞﾗｽ の コップ",
        "한국어를 배웁니다",
        "天见了明天",
    ] {
        say(store, "g", "al", text).await;
    }
    for (query, expected) in [
        ("明天", &["g/6", "g/1"][..]),
        ("明天在", &["g/1"]),
        // Its pairs are there, and it is not.
        ("明天见", &[]),
        ("東京", &["g/2"]),
        ("京", &["g/2", "g/1"]),
        ("行", &["g/2"]),
        ("ガラス", &["g/4"]),
        ("한국", &["g/5"]),
        ("東京 明日", &["g/2"]),
    ] {
        is_found(&on, &find("al", query), expected).await;
    }
}

/// One finds what is in one's own conversations, from where one may see to where one left.
pub async fn one_finds_what_one_may_see(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al", "bo"]).await;
    group(store, "h", &["al"]).await;
    say(store, "g", "al", "apple one").await;
    say(store, "h", "al", "apple two").await;
    add(store, "g", "cy", FirstSeq::Here).await;
    say(store, "g", "al", "apple three").await;
    remove(store, "g", "cy").await;
    say(store, "g", "al", "apple four").await;
    is_found(&on, &find("al", "apple"), &["g/5", "g/3", "h/1", "g/1"]).await;
    for (who, expected) in [
        ("bo", &["g/5", "g/3", "g/1"][..]),
        ("cy", &["g/3"]),
        ("di", &[]),
    ] {
        is_found(&on, &find(who, "apple"), expected).await;
    }
    add(store, "g", "cy", FirstSeq::All).await;
    is_found(&on, &find("cy", "apple"), &["g/5", "g/3", "g/1"]).await;
}

/// A conversation, an author, a kind and a time narrow it; an edit is a text of anybody's.
pub async fn filters_narrow_it(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al", "bo"]).await;
    group(store, "h", &["al", "bo"]).await;
    let at = |entry: NewEntry, at: i64| NewEntry {
        at: Timestamp(at),
        ..entry
    };
    let file = Body::of(
        Kind::File,
        [("blob", Value::from("b")), ("name", "apple.txt".into())],
    );
    let edit = Body::of(
        Kind::Edit,
        [("target", Value::from(1_u64)), ("text", "apple pie".into())],
    );
    let entries = [
        ("g", at(said("al", "apple"), 100)),
        ("g", at(said("bo", "apple"), 200)),
        ("h", at(told("al", file), 300)),
        ("h", at(told("bo", edit), 400)),
        ("h", at(said("bo", "apple"), 500)),
    ];
    for (id, entry) in entries {
        Change::to(id).append(entry).done(store).await;
    }
    let all = find("al", "apple");
    is_found(&on, &all, &["h/3", "h/2", "h/1", "g/2", "g/1"]).await;
    let narrowed = |narrow: &dyn Fn(&mut Find)| {
        let mut find = all.clone();
        narrow(&mut find);
        find
    };
    let of = |id: &str| conv(id);
    for (find, expected) in [
        (narrowed(&|it| it.conv = Some(of("g"))), &["g/2", "g/1"][..]),
        (narrowed(&|it| it.conv = Some(of("x"))), &[]),
        (
            narrowed(&|it| it.from = Some(user("al"))),
            &["h/2", "h/1", "g/1"],
        ),
        (narrowed(&|it| it.from = Some(user("zz"))), &["h/2"]),
        (narrowed(&|it| it.kind = Some(Kind::File)), &["h/1"]),
        (
            narrowed(&|it| it.kind = Some(Kind::Text)),
            &["h/3", "h/2", "g/2", "g/1"],
        ),
        (
            narrowed(&|it| it.since = Some(Timestamp(300))),
            &["h/3", "h/2", "h/1"],
        ),
        (
            narrowed(&|it| it.until = Some(Timestamp(300))),
            &["g/2", "g/1"],
        ),
    ] {
        is_found(&on, &find, expected).await;
    }
}

/// Pages join without a seam over conversations, also where times are the same, and while what they
/// show goes into the index.
pub async fn pages_of_hits_join_without_a_seam(on: Searched) {
    let store = &on.0;
    for id in ["g", "h", "i"] {
        group(store, id, &["al"]).await;
    }
    for n in 0..60_i64 {
        let id = ["g", "h", "i"][n as usize % 3];
        let word = if n % 5 == 0 { "plum" } else { "apple" };
        let entry = NewEntry {
            at: Timestamp(1_000 + n / 7),
            ..said("al", word)
        };
        Change::to(id).append(entry).done(store).await;
        if n == 30 {
            indexed(&on).await;
        }
    }
    let apples = find("al", "apple");
    let all = finds(&on, &apples).await;
    assert_eq!(all.len(), 48);
    for limit in [1, 2, 7, 48] {
        assert_eq!(pages(&on, &apples, limit).await, all);
    }
    indexed(&on).await;
    for limit in [1, 7, 47, 100] {
        assert_eq!(pages(&on, &apples, limit).await, all);
    }
}

/// What is erased is found no more, at once, whether the index has it, gets it later, or never.
pub async fn what_is_erased_is_found_no_more(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al"]).await;
    let erase = async |seqs: &[u64]| {
        let seqs = seqs.iter().copied().map(Seq).collect();
        Change::to("g").write(Write::Erase(seqs)).done(store).await;
    };
    for n in 1..=4 {
        say(store, "g", "al", &format!("apple {n}")).await;
        if n == 2 {
            indexed(&on).await;
        }
    }
    let apples = find("al", "apple");
    assert_eq!(finds(&on, &apples).await, ["g/4", "g/3", "g/2", "g/1"]);
    erase(&[1, 3, 99]).await;
    is_found(&on, &apples, &["g/4", "g/2"]).await;
    erase(&[2, 4]).await;
    is_found(&on, &apples, &[]).await;
}

/// No query is taken for an index's syntax, and no text breaks one.
pub async fn no_query_is_syntax(on: Searched) {
    let store = &on.0;
    group(store, "g", &["al"]).await;
    let odd = [
        "a\u{b}b",
        "x OR y",
        "NOT near(it)",
        "col:umn^2",
        "it's \"so\"",
        "-minus +plus *star",
        "(open",
        "100%_",
        "back\\slash",
        "a|b&!c:*",
        "; DROP TABLE im_entry --",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    ];
    for text in odd {
        say(store, "g", "al", text).await;
    }
    for _ in 0..2 {
        for (at, text) in odd.iter().enumerate() {
            let found = finds(&on, &find("al", text)).await;
            assert!(
                found.contains(&format!("g/{}", at + 1)),
                "{text}: {found:?}"
            );
        }
        indexed(&on).await;
    }
    for query in ["o\u{0}r", "not", "and", "near", "null", "true", "c", "x"] {
        let found = finds(&on, &find("al", query)).await;
        assert!(found.len() <= 2, "{query}: {found:?}");
    }
}

/// A user in very many conversations finds what is in any of them; many words are as good as one,
/// and a long text is taken.
pub async fn many_conversations_and_words_are_searched(on: Searched) {
    let store = &on.0;
    let ids: Vec<String> = (0..MANY).map(|n| format!("g{n}")).collect();
    for some in ids.chunks(100) {
        let made = some.iter().map(|id| {
            let text = format!("needle {id} {}", "all the words of it ".repeat(3));
            Change::to(id).create(&["al"]).say("al", &text).commit()
        });
        let made: Vec<_> = made.collect();
        assert!(store.commit(&made).await.iter().all(Result::is_ok));
    }
    indexed(&on).await;
    assert_eq!(pages(&on, &find("al", "needle"), 100).await.len(), MANY);
    assert_eq!(finds(&on, &find("al", "needle g7 ")).await, ["g7/1"]);
    let long: String = (0..3_000).map(|n| format!("w{n} 字{n} ")).collect();
    say(store, "g7", "al", &long).await;
    let words: String = (0..40).map(|n| format!("w{n} ")).collect();
    is_found(&on, &find("al", &words), &["g7/2"]).await;
    let off = format!("{words} nowhere");
    is_found(&on, &find("al", &off), &[]).await;
}

/// What others index at the same time is indexed once, and what is erased meanwhile is not there.
pub async fn many_index_at_once(on: Searched) {
    let store = &on.0;
    for id in ["g", "h", "i", "j"] {
        group(store, id, &["al"]).await;
        for n in 0..50 {
            say(store, id, "al", &format!("apple {n}")).await;
        }
    }
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let on = on.clone();
        running.spawn(async move { indexed(&on).await });
    }
    let (store, _) = on.clone();
    running.spawn(async move {
        for n in 1..=50 {
            let erase = Change::to("h").write(Write::Erase(vec![Seq(n)]));
            erase.done(&store).await;
        }
    });
    while let Some(done) = running.join_next().await {
        done.expect("a task");
    }
    indexed(&on).await;
    assert_eq!(finds(&on, &find("al", "apple")).await.len(), 150);
}
