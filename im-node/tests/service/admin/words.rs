//! Sensitive words, wherever people write.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::{Target, Value};
use im_core::port::{Store, Verdict};
use im_node::{Node, Settings};
use im_testkit::memory::{FnHooks, TokenTable};

use crate::service::kit::{World, eventually, items, text, user};

/// A list with a word of each level.
async fn world() -> World {
    let world = World::with(|settings| settings.due = Duration::from_millis(20)).await;
    for (word, level) in [
        ("darn", "mask"),
        ("casino", "review"),
        ("heroin", "refuse"),
        ("heroine", "allow"),
    ] {
        let params = format!(r#"{{"word":"{word}","level":"{level}"}}"#);
        world.does("adm", "admin.words.add", &params).await;
    }
    eventually(async || {
        let tried = world
            .does("adm", "admin.words.try", r#"{"text":"x"}"#)
            .await;
        tried.get("listed") == Some(&Value::Int(4))
    })
    .await;
    world
}

#[tokio::test]
async fn a_message_is_refused_masked_or_queued_as_its_words_ask() {
    let world = world().await;
    let g = world.group("al", &["bo"]).await;
    let before = world.log(&g).await.len();
    let refused = world
        .body("al", &g, r#"{"kind":"text","text":"her*oin here"}"#)
        .await;
    assert_eq!(refused, Err(ErrorCode::Rejected));
    assert_eq!(world.log(&g).await.len(), before);
    let heroine = world.say("al", &g, "a heroine").await;
    let masked = world.say("al", &g, "Ｄarn it").await;
    let queued = world.say("al", &g, "darn casino").await;
    let log = world.log(&g).await;
    let said = |seq: im_core::model::Seq| {
        let entry = log.iter().find(|entry| entry.seq == seq).unwrap();
        entry.body.as_text().unwrap()
    };
    assert_eq!(said(heroine), "a heroine");
    assert_eq!(said(masked), "**** it");
    assert_eq!(said(queued), "**** casino");
    let waiting = world.does("mod", "admin.review.list", "{}").await;
    let waiting = items(&waiting, "waiting");
    assert_eq!(waiting.len(), 1);
    assert_eq!(text(&waiting[0], "conv"), g.as_str());
    assert_eq!(items(&waiting[0], "words"), [Value::from("casino")]);
}

#[tokio::test]
async fn the_first_words_of_two_are_judged_too() {
    let world = world().await;
    let to = || Target::User(user("bo"));
    let bad = world.draft(to(), r#"{"kind":"text","text":"heroin"}"#);
    assert_eq!(world.send("al", &bad).await, Err(ErrorCode::Rejected));
    let queued = world.draft(to(), r#"{"kind":"text","text":"casino"}"#);
    assert!(world.send("al", &queued).await.is_ok());
    let waiting = world.does("mod", "admin.review.list", "{}").await;
    assert_eq!(items(&waiting, "waiting").len(), 1);
}

#[tokio::test]
async fn what_was_refused_may_be_sent_under_its_id_and_what_was_masked_is_found_again() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    let to = || Target::Conversation(g.clone());
    let mut draft = world.draft(to(), r#"{"kind":"text","text":"heroin"}"#);
    assert_eq!(world.send("al", &draft).await, Err(ErrorCode::Rejected));
    draft.body = im_core::model::Body::text("darn");
    let seq = world.send("al", &draft).await.unwrap();
    assert_eq!(world.send("al", &draft).await, Ok(seq));
    assert_eq!(world.log(&g).await.last().unwrap().seq, seq);
}

#[tokio::test]
async fn what_a_message_is_changed_to_is_judged() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    let seq = world.say("al", &g, "fine").await;
    let edit = |text: &str| {
        let seq = seq.0;
        format!(r#"{{"kind":"edit","target":{seq},"text":"{text}"}}"#)
    };
    let refused = world.body("al", &g, &edit("heroin")).await;
    assert_eq!(refused, Err(ErrorCode::Rejected));
    world.body("al", &g, &edit("darn")).await.unwrap();
    let shown = world.timeline(&g).await;
    assert_eq!(shown.get(seq).unwrap().body.as_text().unwrap(), "****");
    let params = format!(r#"{{"conv":"{}","from":1,"to":9}}"#, g.as_str());
    let states = world.does("al", "conv.states", &params).await.to_json();
    assert!(
        states.contains("****") && !states.contains("darn"),
        "{states}"
    );
    let react = format!(r#"{{"kind":"react","target":{},"emoji":"casino"}}"#, seq.0);
    let refused = world.body("al", &g, &react).await;
    assert_eq!(refused, Err(ErrorCode::Rejected));
}

#[tokio::test]
async fn names_titles_profiles_and_notes_are_judged() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    let set = format!(r#"{{"conv":"{}","title":"heroin"}}"#, g.as_str());
    for (method, params) in [
        ("groups.create", r#"{"title":"heroin","members":[]}"#),
        ("channels.create", r#"{"title":"heroin"}"#),
        ("groups.set", &set),
        ("profile.set", r#"{"name":"heroin"}"#),
        ("profile.set", r#"{"bio":"her oin, heroin"}"#),
        ("profile.set", r#"{"custom":{"a":["heroin"]}}"#),
        ("profile.set", r#"{"custom":{"darn":1}}"#),
        ("friends.ask", r#"{"user":"bo","note":"heroin"}"#),
    ] {
        let refused = world.call("al", method, params).await;
        assert_eq!(refused, Err(ErrorCode::Rejected), "{method} {params}");
    }
    let profile = r#"{"name":"darn al","custom":{"a":"darn"}}"#;
    world.does("al", "profile.set", profile).await;
    let shown = r#"{"profiles":[{"user":"al","name":"**** al","custom":{"a":"****"}}]}"#;
    world
        .gives("bo", "profile.get", r#"{"users":["al"]}"#, shown)
        .await;
    let set = format!(r#"{{"conv":"{}","title":"casino night"}}"#, g.as_str());
    world.does("al", "groups.set", &set).await;
    let params = format!(r#"{{"conv":"{}"}}"#, g.as_str());
    let shown = world.does("al", "conv.get", &params).await;
    assert_eq!(text(&shown, "title"), "****** night");
}

#[tokio::test]
async fn what_waits_for_its_time_is_judged_by_the_words_of_then() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = now.as_millis() + 3_000;
    for (cm_id, words) in [("one", "opium"), ("two", "darn")] {
        let params = format!(
            r#"{{"at":{at},"cm_id":"{cm_id}","to":{{"conv":"{}"}},
                "body":{{"kind":"text","text":"{words}"}}}}"#,
            g.as_str()
        );
        world.does("al", "messages.schedule", &params).await;
    }
    world.word("opium", "refuse").await;
    eventually(async || {
        let waiting = world.does("al", "messages.scheduled", "{}").await;
        items(&waiting, "scheduled").is_empty()
    })
    .await;
    let log = world.log(&g).await;
    let said: Vec<_> = log
        .iter()
        .filter_map(|entry| entry.body.as_text())
        .collect();
    assert_eq!(said, ["****"]);
}

#[tokio::test]
async fn words_are_looked_for_in_what_the_hooks_made_of_it() {
    let world = world().await;
    let hooks = FnHooks::new(
        |_, _, draft: &im_core::model::Draft| match draft.body.as_text() {
            Some(text) if text == "code" => Verdict::Rewrite(im_core::model::Body::text("heroin")),
            Some(text) if text == "heroin" => Verdict::Rewrite(im_core::model::Body::text("****")),
            _ => Verdict::Accept,
        },
    );
    let store = Arc::clone(&world.store) as Arc<dyn Store>;
    let node = Node::builder(store, Arc::new(TokenTable::new()))
        .settings(Settings {
            node: im_core::model::NodeId::new("hooked").unwrap(),
            ..Settings::default()
        })
        .hooks(Arc::new(hooks))
        .start()
        .await
        .unwrap();
    let g = world.group("al", &[]).await;
    for (words, expected) in [
        ("code", Err(ErrorCode::Rejected)),
        ("heroin", Ok("****")),
        ("darn", Ok("****")),
    ] {
        let body = im_core::model::Body::text(words);
        let draft = world.draft(Target::Conversation(g.clone()), body.json());
        let sent = node.service().send(&user("al"), &draft).await;
        let sent = sent.map_err(|failure| failure.code);
        assert_eq!(sent.as_ref().err(), expected.as_ref().err(), "{words}");
        if let Ok(shown) = expected {
            let log = world.log(&g).await;
            assert_eq!(log.last().unwrap().body.as_text().unwrap(), shown);
        }
    }
    node.kill();
}

#[tokio::test]
async fn a_message_that_waits_is_approved_or_recalled_once() {
    let world = world().await;
    let g = world.group("al", &["bo"]).await;
    let first = world.say("al", &g, "casino one").await;
    let second = world.say("al", &g, "casino two").await;
    let listed = world.does("mod", "admin.review.list", "{}").await;
    let ids: Vec<_> = items(&listed, "waiting");
    let ids: Vec<_> = ids.iter().map(|line| text(line, "id")).collect();
    assert_eq!(ids.len(), 2);
    let params =
        |id: &str, rest: &str| format!(r#"{{"conv":"{}","id":"{id}",{rest}}}"#, g.as_str());
    let without = params(&ids[1], r#""verdict":"recall""#);
    let refused = world.call("mod", "admin.review.decide", &without).await;
    assert_eq!(refused, Err(ErrorCode::BadFrame));
    let approve = params(&ids[0], r#""verdict":"approve""#);
    let recall = params(&ids[1], r#""verdict":"recall","why":"gambling""#);
    for decision in [&approve, &recall] {
        world.does("mod", "admin.review.decide", decision).await;
        let again = world.call("mod", "admin.review.decide", decision).await;
        assert_eq!(again, Err(ErrorCode::NotFound));
    }
    let shown = world.timeline(&g).await;
    let first = shown.get(first).unwrap();
    assert_eq!(first.body.as_text().unwrap(), "casino one");
    let recalled = shown.get(second).unwrap().recalled.as_ref().unwrap();
    assert_eq!(recalled.by, user("mod"));
    let log = world.log(&g).await;
    assert!(log.iter().all(|entry| !entry.body.json().contains("two")));
    let waiting = world.does("mod", "admin.review.list", "{}").await;
    assert!(items(&waiting, "waiting").is_empty());
}

#[tokio::test]
async fn what_its_author_took_back_waits_no_more() {
    let world = world().await;
    let g = world.group("al", &["bo"]).await;
    let seq = world.say("al", &g, "casino one").await;
    world.say("al", &g, "casino two").await;
    let recall = format!(r#"{{"kind":"recall","target":{}}}"#, seq.0);
    world.body("al", &g, &recall).await.unwrap();
    let waiting = world.does("mod", "admin.review.list", "{}").await;
    assert_eq!(items(&waiting, "waiting").len(), 1);
    // It keeps nobody else's place either.
    let first = world
        .does("mod", "admin.review.list", r#"{"limit":1}"#)
        .await;
    assert!(first.to_json().contains("two"));
}

#[tokio::test]
async fn bad_lines_are_reported_and_the_others_are_added() {
    let world = World::new().await;
    let long = "长".repeat(400);
    let lines = [
        "法轮功",
        "法輪功",
        "",
        "x",
        "★★",
        &long,
        "damn\\tmask",
        "cunt\\tallow\\tinside",
        "hell\\tloud",
        "a\\u0007bc",
        "b\\u202ecd",
        "ass\\tmask\\tinside\\tmore",
    ];
    let params = format!(r#"{{"lines":"{}","level":"review"}}"#, lines.join("\\n"));
    let report = world.does("adm", "admin.words.import", &params).await;
    let dropped = items(&report, "dropped");
    let dropped: Vec<_> = dropped.iter().map(|one| one.get("line").cloned()).collect();
    let bad = [2, 3, 4, 5, 6, 9, 10, 11, 12].map(|line| Some(Value::Int(line)));
    assert_eq!(dropped, bad, "{report:?}");
    assert_eq!(report.get("kept"), Some(&Value::Int(3)));
    let exported = world.does("adm", "admin.words.export", "{}").await;
    let lines = "cunt\tallow\tinside\ndamn\tmask\n法轮功\treview\n";
    assert_eq!(text(&exported, "lines"), lines);
}

#[tokio::test]
async fn a_list_without_bounds_is_refused() {
    let world = World::new().await;
    let huge = format!(r#"{{"lines":"{}"}}"#, "x".repeat(10 << 20));
    let many = format!(r#"{{"lines":"{}"}}"#, "ab\\n".repeat(2_001));
    for params in [huge, many] {
        let refused = world.call("adm", "admin.words.import", &params).await;
        assert_eq!(refused, Err(ErrorCode::TooLarge));
    }
    for params in [
        format!(r#"{{"word":"{}"}}"#, "x".repeat(1_000)),
        r#"{"word":""}"#.to_owned(),
        r#"{"word":"a\nb"}"#.to_owned(),
        r#"{"word":"a\u0007b"}"#.to_owned(),
        r#"{"word":"bad","level":"loud"}"#.to_owned(),
        "{}".to_owned(),
    ] {
        let refused = world.call("adm", "admin.words.add", &params).await;
        assert_eq!(refused, Err(ErrorCode::BadFrame), "{params:.40}");
    }
    world
        .gives(
            "adm",
            "admin.words.list",
            "{}",
            r#"{"words":[],"more":false}"#,
        )
        .await;
}

#[tokio::test]
async fn a_word_that_is_taken_out_is_found_no_more() {
    let world = world().await;
    let g = world.group("al", &[]).await;
    let why = r#"{"word":"heroin"}"#;
    let refused = world.call("adm", "admin.words.remove", why).await;
    assert_eq!(refused, Err(ErrorCode::BadFrame), "no reason");
    let params = r#"{"word":"heroin","why":"a film"}"#;
    world.does("adm", "admin.words.remove", params).await;
    let again = world.call("adm", "admin.words.remove", params).await;
    assert_eq!(again, Err(ErrorCode::NotFound));
    eventually(async || {
        let body = r#"{"kind":"text","text":"heroin"}"#;
        world.body("al", &g, body).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn words_come_by_pages() {
    let world = World::new().await;
    let lines: Vec<_> = (0..1_500).map(|n| format!("word{n:04}x")).collect();
    let params = format!(r#"{{"lines":"{}"}}"#, lines.join("\\n"));
    world.does("adm", "admin.words.import", &params).await;
    let mut exported = String::new();
    let mut params = "{}".to_owned();
    for more in [true, false] {
        let page = world.does("adm", "admin.words.export", &params).await;
        exported += &text(&page, "lines");
        assert_eq!(page.get("more"), Some(&Value::Bool(more)));
        params = format!(r#"{{"after":"{}"}}"#, text(&page, "next"));
    }
    assert_eq!(exported.lines().count(), 1_500);
    let page = world
        .does(
            "adm",
            "admin.words.list",
            r#"{"after":"word0009x","limit":2}"#,
        )
        .await;
    let words = items(&page, "words");
    let words: Vec<_> = words.iter().map(|line| text(line, "word")).collect();
    assert_eq!(words, ["word0010x", "word0011x"]);
}

#[tokio::test]
async fn a_retry_under_a_key_gets_the_first_report() {
    let world = World::new().await;
    let who = crate::service::kit::identity("adm");
    let mut reports = Vec::new();
    for lines in ["heroin\nx", "casino"] {
        let params = Value::object([("lines", Value::from(lines))]);
        let (service, key) = (world.node.service(), Some("k".to_owned()));
        let done = service.call_as(&who, "admin.words.import", params, key);
        reports.push(done.await.unwrap());
    }
    assert_eq!(reports[0], reports[1]);
    assert_eq!(reports[0].get("kept"), Some(&Value::Int(1)));
    let exported = world.does("adm", "admin.words.export", "{}").await;
    assert_eq!(text(&exported, "lines"), "heroin\trefuse\n");
}
