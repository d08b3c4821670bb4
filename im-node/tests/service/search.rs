//! Full-text search, as users see it.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Seq, Target, Value};

use super::kit::World;

/// The hits of a search, as `conversation/place`.
async fn hits(world: &World, who: &str, params: &str) -> Vec<String> {
    let found = world.call(who, "messages.search", params).await.unwrap();
    assert_eq!(found.get("partial"), None);
    names(&found)
}

fn names(found: &Value) -> Vec<String> {
    let Some(Value::Array(hits)) = found.get("hits") else {
        panic!("{found:?}")
    };
    let field = |hit: &Value, field| hit.get(field).cloned().unwrap();
    let name = |hit: &Value| {
        let (conv, seq) = (field(hit, "conv"), field(hit, "seq"));
        format!("{}/{}", conv.as_text().unwrap(), seq.as_int().unwrap())
    };
    hits.iter().map(name).collect()
}

fn spots(conv: &ConversationId, seqs: &[Seq]) -> Vec<String> {
    let name = |seq: &Seq| format!("{}/{}", conv.as_str(), seq.0);
    seqs.iter().map(name).collect()
}

/// Another time: what is said at the same one is in no order of its own.
async fn later() {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}

fn text(words: &str) -> String {
    Value::object([("text", Value::from(words))]).to_json()
}

#[tokio::test]
async fn one_searches_what_one_may_read() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    let h = world.group("al", &["bo"]).await;
    let one = world.say("al", &g, "Apple one").await;
    later().await;
    let two = world.say("bo", &h, "apple two").await;
    later().await;
    let remove = format!(r#"{{"conv":"{}","users":["cy"]}}"#, g.as_str());
    world.gives("al", "groups.remove", &remove, "{}").await;
    let three = world.say("al", &g, "apple three").await;
    let all = [spots(&g, &[three]), spots(&h, &[two]), spots(&g, &[one])].concat();
    assert_eq!(hits(&world, "bo", &text("apple")).await, all);
    assert_eq!(hits(&world, "cy", &text("apple")).await, spots(&g, &[one]));
    assert!(hits(&world, "di", &text("apple")).await.is_empty());
    let within =
        |conv: &ConversationId| format!(r#"{{"text":"APPLE","conv":"{}"}}"#, conv.as_str());
    assert_eq!(hits(&world, "al", &within(&h)).await, spots(&h, &[two]));
    assert_eq!(hits(&world, "cy", &within(&g)).await, spots(&g, &[one]));
    let strange = world.call("cy", "messages.search", &within(&h)).await;
    assert_eq!(strange, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn who_sees_no_history_finds_none() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let set = format!(r#"{{"conv":"{}","hide_history":true}}"#, g.as_str());
    world.gives("al", "groups.set", &set, "{}").await;
    let before = world.say("al", &g, "apple before").await;
    let add = format!(r#"{{"conv":"{}","users":["bo"]}}"#, g.as_str());
    world.gives("al", "groups.add", &add, "{}").await;
    let after = world.say("al", &g, "apple after").await;
    assert_eq!(
        hits(&world, "bo", &text("apple")).await,
        spots(&g, &[after])
    );
    // What was said before is not shown by an edit either.
    let edit = format!(
        r#"{{"kind":"edit","target":{},"text":"apple pie"}}"#,
        before.0
    );
    world.body("al", &g, &edit).await.unwrap();
    assert!(hits(&world, "bo", &text("pie")).await.is_empty());
    assert_eq!(hits(&world, "al", &text("pie")).await, spots(&g, &[before]));
}

#[tokio::test]
async fn an_edited_message_is_found_by_what_it_says_now() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let first = world.say("al", &g, "apple").await;
    let edit = |to: &str| format!(r#"{{"kind":"edit","target":{},"text":"{to}"}}"#, first.0);
    let edited = spots(&g, &[first]);
    for (to, was) in [("pear", "apple"), ("plum", "pear"), ("plum plum", "pear")] {
        world.body("al", &g, &edit(to)).await.unwrap();
        assert_eq!(hits(&world, "bo", &text(to)).await, edited);
        assert!(hits(&world, "bo", &text(was)).await.is_empty());
    }
    let found = world.call("bo", "messages.search", &text("plum")).await;
    let found = found.unwrap();
    let Some(Value::Array(all)) = found.get("hits") else {
        panic!("{found:?}")
    };
    assert_eq!(all.len(), 1);
    let said = all[0].get("edited").and_then(|it| it.get("text")).cloned();
    assert_eq!(said, Some(Value::from("plum plum")));
    let by = |who: &str, kind: &str| format!(r#"{{"text":"plum","from":"{who}","kind":"{kind}"}}"#);
    assert_eq!(hits(&world, "bo", &by("al", "text")).await, edited);
    assert!(hits(&world, "bo", &by("bo", "text")).await.is_empty());
    assert!(hits(&world, "bo", &by("al", "file")).await.is_empty());
    assert!(hits(&world, "bo", &by("nobody", "text")).await.is_empty());
}

#[tokio::test]
async fn what_is_gone_or_hidden_is_not_found() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let recalled = world.say("al", &g, "apple 1").await;
    let edited = world.say("al", &g, "pear 2").await;
    let hidden = world.say("al", &g, "apple 3").await;
    let stays = world.say("al", &g, "apple 4").await;
    let mut ends = world.draft(
        Target::Conversation(g.clone()),
        r#"{"kind":"text","text":"apple"}"#,
    );
    ends.expires_ms = Some(1);
    world.send("al", &ends).await.unwrap();
    let edit = format!(
        r#"{{"kind":"edit","target":{},"text":"apple 2"}}"#,
        edited.0
    );
    world.body("al", &g, &edit).await.unwrap();
    for seq in [recalled, edited] {
        let recall = format!(r#"{{"kind":"recall","target":{}}}"#, seq.0);
        world.body("al", &g, &recall).await.unwrap();
    }
    let hide = format!(r#"{{"conv":"{}","seqs":[{}]}}"#, g.as_str(), hidden.0);
    world.gives("bo", "messages.hide", &hide, "{}").await;
    later().await;
    assert_eq!(
        hits(&world, "bo", &text("apple")).await,
        spots(&g, &[stays])
    );
    let all = spots(&g, &[stays, hidden]);
    assert_eq!(hits(&world, "al", &text("apple")).await, all);
}

#[tokio::test]
async fn pages_go_on_and_cursors_are_of_one_search() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let mut said = Vec::new();
    for n in 0..30 {
        said.push(world.say("al", &g, &format!("apple {n}")).await);
    }
    // Most of what the store gives first is nothing that is shown.
    let hide = said[5..].iter().map(|seq| seq.0.to_string());
    let hide = hide.collect::<Vec<_>>().join(",");
    let hide = format!(r#"{{"conv":"{}","seqs":[{hide}]}}"#, g.as_str());
    world.gives("bo", "messages.hide", &hide, "{}").await;
    for (who, count) in [("al", 30), ("bo", 5)] {
        let (mut all, mut next) = (Vec::new(), String::new());
        for _ in 0..100 {
            let params = format!(r#"{{"text":"apple","limit":3{next}}}"#);
            let found = world.call(who, "messages.search", &params).await.unwrap();
            all.extend(names(&found));
            match found.get("next").and_then(Value::as_text) {
                Some(cursor) => next = format!(r#","after":"{cursor}""#),
                None => break,
            }
        }
        let mut expected: Vec<Seq> = said[..count].to_vec();
        expected.reverse();
        assert_eq!(all, spots(&g, &expected), "{who}");
    }
    let page = r#"{"text":"apple","limit":3}"#;
    let found = world.call("al", "messages.search", page).await.unwrap();
    let cursor = found
        .get("next")
        .and_then(Value::as_text)
        .unwrap()
        .to_owned();
    let longer = format!("{cursor}x");
    for (who, words, after) in [
        ("bo", "apple", cursor.as_str()),
        ("al", "apples", &cursor),
        ("al", "apple", "x"),
        ("al", "apple", "1.2.3"),
        ("al", "apple", cursor.trim_start_matches("1.")),
        ("al", "apple", ""),
    ] {
        let params = format!(r#"{{"text":"{words}","after":"{after}"}}"#);
        let refused = world.call(who, "messages.search", &params).await;
        assert_eq!(refused, Err(ErrorCode::BadFrame), "{who} {after}");
    }
    // A place that is none is only another place.
    let params = format!(r#"{{"text":"apple","after":"{longer}"}}"#);
    world.call("al", "messages.search", &params).await.unwrap();
}

#[tokio::test]
async fn odd_searches_are_refused_or_find_nothing() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "to be or not to be").await;
    for words in ["to be", "or", "NOT", "not-to\u{7}be"] {
        assert_eq!(
            hits(&world, "al", &text(words)).await,
            spots(&g, &[said]),
            "{words}"
        );
    }
    for words in ["%", "\" OR 1=1 --", "be* & x", "(to", "be:*'"] {
        let found = world.call("al", "messages.search", &text(words)).await;
        assert!(matches!(found, Ok(_) | Err(ErrorCode::BadFrame)), "{words}");
    }
    let long = |n: usize| text(&"a".repeat(n));
    for (params, code) in [
        (text(""), ErrorCode::BadFrame),
        (text("!?"), ErrorCode::BadFrame),
        (text("\u{7}"), ErrorCode::BadFrame),
        (long(257), ErrorCode::TooLarge),
        (long(10 << 20), ErrorCode::TooLarge),
        ("{}".to_owned(), ErrorCode::BadFrame),
        (r#"{"text":"a","limit":0}"#.to_owned(), ErrorCode::BadFrame),
        (r#"{"text":"a","limit":51}"#.to_owned(), ErrorCode::BadFrame),
        (
            r#"{"text":"a","kind":"edit"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            r#"{"text":"a","kind":"erased"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (r#"{"text":"a","kind":"x"}"#.to_owned(), ErrorCode::BadFrame),
        (r#"{"text":"a","from":""}"#.to_owned(), ErrorCode::BadFrame),
        (r#"{"text":"a","conv":""}"#.to_owned(), ErrorCode::BadFrame),
        (
            r#"{"text":"a","conv":"none"}"#.to_owned(),
            ErrorCode::NotFound,
        ),
        (r#"{"text":"a","since":-1}"#.to_owned(), ErrorCode::BadFrame),
        (r#"{"text":["a"]}"#.to_owned(), ErrorCode::BadFrame),
    ] {
        let refused = world.call("al", "messages.search", &params).await;
        assert_eq!(refused, Err(code), "{:.60}", params);
    }
    world
        .call("al", "messages.search", &long(256))
        .await
        .unwrap();
}

#[tokio::test]
async fn times_narrow_a_search() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let seq = world.say("al", &g, "apple").await;
    let at = world.log(&g).await.last().unwrap().at.0;
    let with = |rest: &str| format!(r#"{{"text":"apple",{rest}}}"#);
    let found = spots(&g, &[seq]);
    for (params, expected) in [
        (with(&format!(r#""since":{at}"#)), &found[..]),
        (with(&format!(r#""since":"{at}""#)), &found),
        (with(&format!(r#""since":{}"#, at + 1)), &[]),
        (with(&format!(r#""until":{at}"#)), &[]),
        (with(&format!(r#""until":{}"#, at + 1)), &found),
    ] {
        assert_eq!(hits(&world, "al", &params).await, expected, "{params}");
    }
}

#[tokio::test]
async fn a_node_without_search_says_so() {
    let world = World::new().await;
    let node = world.beside(std::time::Duration::from_secs(1)).await;
    let params = Value::object([("text", Value::from("a"))]);
    let al = super::kit::user("al");
    let refused = node
        .service()
        .call(&al, "messages.search", params, None)
        .await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Unsupported);
}
