//! Messages said again elsewhere, one by one and merged.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Kind, Seq, Target, Value, direct_id};

use super::kit::{World, user};

fn forward(conv: &ConversationId, seqs: &str, rest: &str) -> String {
    format!(r#"{{"conv":"{}","seqs":{seqs}{rest}}}"#, conv.as_str())
}

fn to(conv: &ConversationId, cm_id: &str) -> String {
    format!(r#","to_conv":"{}","cm_id":"{cm_id}""#, conv.as_str())
}

async fn last(world: &World, conv: &ConversationId) -> Value {
    let log = world.log(conv).await;
    log.last().unwrap().body.value()
}

#[tokio::test]
async fn a_message_is_said_again_with_who_said_it_first() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "befor").await;
    let edit = format!(r#"{{"kind":"edit","target":{},"text":"before"}}"#, said.0);
    world.body("al", &g, &edit).await.unwrap();
    let params = forward(
        &g,
        &format!("[{}]", said.0),
        r#","to_user":"cy","cm_id":"f""#,
    );
    world.call("bo", "messages.forward", &params).await.unwrap();
    let with_cy = direct_id(&user("bo"), &user("cy"));
    let entry = world.log(&with_cy).await.remove(0);
    assert_eq!(entry.from, user("bo"));
    assert_eq!(entry.body.as_text().as_deref(), Some("before"));
    let first = world.log(&g).await.remove(said.0 as usize - 1);
    let forwarded = entry.body.value().get("forwarded").unwrap().to_json();
    assert_eq!(forwarded, format!(r#"{{"at":{},"from":"al"}}"#, first.at.0));
    // Who said it first stays when it goes on.
    let other = world.group("cy", &["di"]).await;
    let params = forward(&with_cy, "[1]", &to(&other, "f"));
    world.call("cy", "messages.forward", &params).await.unwrap();
    let again = last(&world, &other).await;
    assert_eq!(again.get("forwarded").unwrap().to_json(), forwarded);
}

#[tokio::test]
async fn a_retry_is_one_message_whatever_became_of_the_first() {
    let world = World::new().await;
    let (g, h) = (world.group("al", &[]).await, world.group("al", &[]).await);
    let (a, b) = (
        world.say("al", &g, "a").await,
        world.say("al", &g, "b").await,
    );
    let seqs = format!("[{},{}]", a.0, b.0);
    let (one, merged) = (to(&h, "x"), format!(r#"{},"merge":true"#, to(&h, "y")));
    let both = [forward(&g, &seqs, &one), forward(&g, &seqs, &merged)];
    for params in &both {
        world.call("al", "messages.forward", params).await.unwrap();
    }
    let log = world.log(&h).await;
    assert_eq!(log.len(), 4, "created, two, and the merged one");
    let recall = format!(r#"{{"kind":"recall","target":{}}}"#, a.0);
    world.body("al", &g, &recall).await.unwrap();
    for params in &both {
        let again = world.call("al", "messages.forward", params).await.unwrap();
        let Some(Value::Array(sent)) = again.get("sent") else {
            panic!("{again:?}")
        };
        assert!(
            sent.iter()
                .all(|sent| sent.get("dup") == Some(&Value::Bool(true)))
        );
    }
    assert_eq!(world.log(&h).await, log);
}

#[tokio::test]
async fn a_retry_with_other_messages_is_another_one() {
    let world = World::new().await;
    let (g, h) = (world.group("al", &[]).await, world.group("al", &[]).await);
    world.say("al", &g, "a").await;
    // Another time, by which it is known.
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    world.say("al", &g, "b").await;
    for rest in [to(&h, "x"), format!(r#"{},"merge":true"#, to(&h, "y"))] {
        let first = forward(&g, "[2]", &rest);
        world.call("al", "messages.forward", &first).await.unwrap();
        let other = forward(&g, "[3]", &rest);
        let refused = world.call("al", "messages.forward", &other).await;
        assert_eq!(refused, Err(ErrorCode::CmIdReused), "{rest}");
        world.call("al", "messages.forward", &first).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_forwarded_is_not_edited() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let h = world.group("bo", &[]).await;
    world.say("al", &g, "hi").await;
    let params = forward(&g, "[2]", &to(&h, "f"));
    world.call("bo", "messages.forward", &params).await.unwrap();
    let edit = r#"{"kind":"edit","target":2,"text":"I stole it"}"#;
    assert_eq!(world.body("bo", &h, edit).await, Err(ErrorCode::Conflict));
    let own = world.say("bo", &h, "own").await;
    let edit = format!(r#"{{"kind":"edit","target":{},"text":"x"}}"#, own.0);
    world.body("bo", &h, &edit).await.unwrap();
}

#[tokio::test]
async fn merged_ones_hold_who_said_what_in_order() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let a = world.say("al", &g, "a").await;
    let b = world.say("bo", &g, "b").await;
    let h = world.group("bo", &[]).await;
    let rest = format!(r#"{},"merge":true,"title":"Yesterday""#, to(&h, "m"));
    let params = forward(&g, &format!("[{},{}]", b.0, a.0), &rest);
    world.call("bo", "messages.forward", &params).await.unwrap();
    let merged = last(&world, &h).await;
    assert_eq!(merged.get("title"), Some(&Value::from("Yesterday")));
    let Some(Value::Array(items)) = merged.get("items") else {
        panic!("{merged:?}")
    };
    let words = |item: &Value| {
        let body = item.get("body").unwrap();
        let text = body.get("text").and_then(Value::as_text).unwrap();
        (
            item.get("from")
                .and_then(Value::as_text)
                .unwrap()
                .to_owned(),
            text.to_owned(),
        )
    };
    let said: Vec<_> = items.iter().map(words).collect();
    let pair = |from: &str, text: &str| (from.to_owned(), text.to_owned());
    assert_eq!(said, [pair("al", "a"), pair("bo", "b")]);
}

#[tokio::test]
async fn merged_ones_are_merged_again_only_so_often() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let mut seq = world.say("al", &g, "a").await;
    for depth in 1..=4 {
        let rest = format!(r#"{},"merge":true"#, to(&g, &format!("f{depth}")));
        let params = forward(&g, &format!("[{}]", seq.0), &rest);
        let made = world.call("al", "messages.forward", &params).await;
        assert_eq!(made.is_ok(), depth <= 3, "{depth} {seq} {made:?}");
        seq = Seq(seq.0 + 1);
    }
    // The first thing said has the id m1, and is no forward.
    let rest = format!(r#"{},"merge":true"#, to(&g, "m1"));
    let params = forward(&g, "[2]", &rest);
    let made = world.call("al", "messages.forward", &params).await;
    assert_eq!(made, Err(ErrorCode::CmIdReused));
}

#[tokio::test]
async fn what_one_may_not_read_or_is_to_be_gone_is_not_forwarded() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let said = world.say("al", &g, "a").await;
    let gone = world.say("al", &g, "b").await;
    let recall = format!(r#"{{"kind":"recall","target":{}}}"#, gone.0);
    let change = world.body("al", &g, &recall).await.unwrap();
    let mut ends = world.draft(
        Target::Conversation(g.clone()),
        r#"{"kind":"text","text":"c"}"#,
    );
    ends.expires_ms = Some(60_000);
    let ends = world.send("al", &ends).await.unwrap();
    let h = world.group("cy", &["bo"]).await;
    let tries = [
        ("cy", said, ErrorCode::NotFound),
        ("bo", gone, ErrorCode::NotFound),
        ("bo", Seq(99), ErrorCode::NotFound),
        ("bo", change, ErrorCode::Conflict),
        ("bo", Seq(1), ErrorCode::Conflict),
        ("bo", ends, ErrorCode::Conflict),
    ];
    for merge in ["", r#","merge":true"#] {
        for (who, seq, code) in tries {
            let rest = format!("{}{merge}", to(&h, "f"));
            let params = forward(&g, &format!("[{}]", seq.0), &rest);
            let refused = world.call(who, "messages.forward", &params).await;
            assert_eq!(refused, Err(code), "{who} {seq}");
        }
    }
    // Nor is it written where one may not write.
    let params = forward(&g, &format!("[{}]", said.0), &to(&h, "f"));
    let refused = world.call("al", "messages.forward", &params).await;
    assert_eq!(refused, Err(ErrorCode::NotFound));
    assert_eq!(world.log(&h).await.len(), 1);
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_named() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let many: Vec<u64> = (1..=31).collect();
    let long = "x".repeat(63);
    for (seqs, rest, code) in [
        ("[]", to(&g, "f"), ErrorCode::BadFrame),
        ("[0]", to(&g, "f"), ErrorCode::BadFrame),
        ("[1]", r#","cm_id":"f""#.to_owned(), ErrorCode::BadFrame),
        (
            "[1]",
            format!(r#"{},"to_user":"bo""#, to(&g, "f")),
            ErrorCode::BadFrame,
        ),
        ("[1]", to(&g, &long), ErrorCode::BadFrame),
        (&format!("{many:?}"), to(&g, "f"), ErrorCode::TooLarge),
    ] {
        let params = forward(&g, seqs, &rest);
        let refused = world.call("al", "messages.forward", &params).await;
        assert_eq!(refused, Err(code), "{params}");
    }
}

#[tokio::test]
async fn nobody_says_of_their_own_words_that_another_said_them() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let send = |body: &str| {
        let conv = g.as_str();
        format!(r#"{{"cm_id":"c","to":{{"conv":"{conv}"}},"body":{body}}}"#)
    };
    let forged = r#"{"kind":"text","text":"x","forwarded":{"from":"bo","at":1}}"#;
    let merged =
        r#"{"kind":"merged","items":[{"from":"bo","at":1,"body":{"kind":"text","text":"x"}}]}"#;
    for (body, code) in [
        (forged, ErrorCode::BadFrame),
        (merged, ErrorCode::Forbidden),
    ] {
        let refused = world.call("al", "messages.send", &send(body)).await;
        assert_eq!(refused, Err(code), "{body}");
        let later = send(body).replacen('{', r#"{"at":99999999999999,"#, 1);
        let refused = world.call("al", "messages.schedule", &later).await;
        assert!(refused.is_err(), "{body}");
    }
    let kinds: Vec<Kind> = world
        .log(&g)
        .await
        .iter()
        .map(|entry| entry.body.kind())
        .collect();
    assert_eq!(kinds, [Kind::Group]);
}
