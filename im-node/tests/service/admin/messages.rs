//! Logs as the staff reads them.

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Value};

use crate::service::kit::{World, items, text, user};

const CALL: &str = "call me, 13812345678";

fn of(conv: &ConversationId, rest: &str) -> String {
    format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str())
}

/// The texts of entries.
fn said(page: &Value) -> Vec<String> {
    let body = |entry: &Value| text(entry.get("body").unwrap(), "text");
    let all = items(page, "entries");
    all.iter()
        .map(body)
        .filter(|text| !text.is_empty())
        .collect()
}

#[tokio::test]
async fn what_is_personal_is_masked_for_every_role() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    world.say("al", &g, CALL).await;
    for who in ["adm", "mod", "aud"] {
        let page = world.does(who, "admin.messages.list", &of(&g, "")).await;
        assert_eq!(said(&page), ["call me, 138****5678"], "{who}");
        assert!(!page.to_json().contains("13812345678"));
        // What is masked is not found out piece by piece.
        for (part, found) in [("1234", 0), ("138*", 1), ("ME", 1), ("text", 1)] {
            let params = of(&g, &format!(r#","text":"{part}""#));
            let page = world.does(who, "admin.messages.list", &params).await;
            assert_eq!(said(&page).len(), found, "{part}");
        }
    }
    let refused = world.call("al", "admin.messages.list", &of(&g, "")).await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
}

#[tokio::test]
async fn what_is_personal_is_masked_as_a_number_and_as_a_key_too() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let body = r#"{"kind":"custom","type":"t","data":{"13812345678":13912345678,"n":7},
        "13712345678":1}"#;
    world.body("al", &g, body).await.unwrap();
    let page = world.does("adm", "admin.messages.list", &of(&g, "")).await;
    let shown = items(&page, "entries");
    let masked = r#"{"kind":"custom","type":"t","data":{"138****5678":"139****5678","n":7},
        "137****5678":1}"#;
    let masked = Value::from_json(masked).unwrap();
    assert!(
        shown.iter().any(|entry| entry.get("body") == Some(&masked)),
        "{shown:?}"
    );
    let part = of(&g, r#","text":"12345678""#);
    let page = world.does("adm", "admin.messages.list", &part).await;
    assert_eq!(items(&page, "entries").len(), 0);
}

#[tokio::test]
async fn messages_are_found_by_user_and_time_and_come_by_pages() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for n in 0..250 {
        world.say("al", &g, &format!("n{n}")).await;
    }
    let last = world.say("bo", &g, "mine").await;
    let params = of(&g, r#","user":"bo""#);
    let page = world.does("aud", "admin.messages.list", &params).await;
    assert_eq!(said(&page), ["mine"]);
    let mut all = Vec::new();
    let mut rest = r#","user":"al","limit":100"#.to_owned();
    loop {
        let page = world
            .does("aud", "admin.messages.list", &of(&g, &rest))
            .await;
        all.extend(said(&page));
        let Some(next) = page.get("next").and_then(Value::as_int) else {
            break;
        };
        rest = format!(r#","user":"al","limit":100,"before":{next}"#);
    }
    let expected: Vec<_> = (0..250).rev().map(|n| format!("n{n}")).collect();
    assert_eq!(all, expected);
    let log = world.log(&g).await;
    let at = log.iter().find(|entry| entry.seq == last).unwrap().at.0;
    for (rest, found) in [
        (format!(r#","since":{}"#, at + 1), 0),
        (format!(r#","since":{at},"limit":1"#), 1),
        (r#","until":1"#.to_owned(), 0),
        (r#","before":1"#.to_owned(), 0),
        (format!(r#","before":{}"#, i64::MAX >> 11), 50),
    ] {
        let page = world
            .does("aud", "admin.messages.list", &of(&g, &rest))
            .await;
        assert_eq!(said(&page).len(), found, "{rest}");
    }
}

#[tokio::test]
async fn the_original_is_shown_for_a_reason_that_is_kept() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    let seq = world.say("al", &g, CALL).await;
    let rest = format!(r#","seqs":[{}]"#, seq.0);
    let why = format!(r#"{rest},"why":"a court order""#);
    for (who, rest, code) in [
        ("mod", &why, ErrorCode::Forbidden),
        ("aud", &why, ErrorCode::Forbidden),
        ("adm", &rest, ErrorCode::BadFrame),
    ] {
        let refused = world
            .call(who, "admin.messages.unmask", &of(&g, rest))
            .await;
        assert_eq!(refused, Err(code), "{who} {rest}");
    }
    let acts = r#"{"op":"messages.unmask"}"#;
    let none = world.does("aud", "audit.list", acts).await;
    assert!(items(&none, "acts").is_empty());
    let shown = world
        .does("adm", "admin.messages.unmask", &of(&g, &why))
        .await;
    assert_eq!(said(&shown), [CALL]);
    let kept = world.does("aud", "audit.list", acts).await;
    let kept = items(&kept, "acts");
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (text(&kept[0], "by"), text(&kept[0], "why")),
        ("adm".into(), "a court order".into())
    );
    assert_eq!(kept[0].get("seqs"), Some(&Value::Array(vec![seq.0.into()])));
}

#[tokio::test]
async fn a_log_is_taken_out_by_pages_masked() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    for _ in 0..299 {
        world.say("al", &g, CALL).await;
    }
    let refused = world
        .call("mod", "admin.messages.export", &of(&g, r#","why":"x""#))
        .await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    let refused = world
        .call("aud", "admin.messages.export", &of(&g, ""))
        .await;
    assert_eq!(refused, Err(ErrorCode::BadFrame), "no reason");
    let mut lines = Vec::new();
    let mut after = 0;
    for _ in 0..2 {
        let params = of(&g, &format!(r#","after":{after},"why":"a request""#));
        let page = world.does("aud", "admin.messages.export", &params).await;
        lines.extend(text(&page, "ndjson").lines().map(str::to_owned));
        after = page.get("next").and_then(Value::as_int).unwrap_or(0);
    }
    assert_eq!((lines.len(), after), (300, 0));
    for (line, seq) in lines.iter().zip(1..) {
        let entry = Value::from_json(line).unwrap();
        assert_eq!(entry.get("seq"), Some(&Value::Int(seq)));
        assert!(!line.contains("12345678"));
    }
}

#[tokio::test]
async fn the_staff_takes_back_whatever_was_said() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let seq = world.say("al", &g, "an insult").await;
    let edit = format!(
        r#"{{"kind":"edit","target":{},"text":"a worse insult"}}"#,
        seq.0
    );
    world.body("al", &g, &edit).await.unwrap();
    let recall = of(&g, &format!(r#","seq":{},"why":"insults""#, seq.0));
    for (who, code) in [("aud", ErrorCode::Forbidden), ("al", ErrorCode::Forbidden)] {
        let refused = world.call(who, "admin.messages.recall", &recall).await;
        assert_eq!(refused, Err(code));
    }
    world
        .gives("mod", "admin.messages.recall", &recall, "{}")
        .await;
    let log = world.log(&g).await;
    assert!(
        log.iter()
            .all(|entry| !entry.body.json().contains("insult"))
    );
    let shown = world.timeline(&g).await;
    let recalled = shown.get(seq).unwrap().recalled.as_ref().unwrap();
    assert_eq!(recalled.by, user("mod"));
    for rest in [
        format!(r#","seq":{},"why":"x""#, seq.0),
        r#","seq":1,"why":"x""#.to_owned(),
        r#","seq":999,"why":"x""#.to_owned(),
    ] {
        let refused = world
            .call("mod", "admin.messages.recall", &of(&g, &rest))
            .await;
        assert_eq!(refused, Err(ErrorCode::NotFound), "{rest}");
    }
}
