//! The log of what the staff did.

use im_core::frame::ErrorCode;
use im_core::model::{Value, everyone};

use crate::service::kit::{World, items, text};

async fn acts(world: &World, params: &str) -> Vec<Value> {
    let listed = world.does("aud", "audit.list", params).await;
    items(&listed, "acts")
}

async fn some_acts(world: &World) {
    world
        .does("adm", "admin.words.add", r#"{"word":"darn"}"#)
        .await;
    let ban = r#"{"user":"bo","why":"spam"}"#;
    world.does("mod", "admin.users.ban", ban).await;
    let unban = r#"{"user":"bo","why":"a mistake"}"#;
    world.does("adm", "admin.users.unban", unban).await;
    let kick = r#"{"user":"bo","device":"phone","why":"lost"}"#;
    world.does("mod", "admin.users.kick", kick).await;
}

#[tokio::test]
async fn every_act_says_who_what_when_and_why() {
    let world = World::new().await;
    assert!(acts(&world, "{}").await.is_empty());
    some_acts(&world).await;
    let all = acts(&world, "{}").await;
    let short: Vec<_> = all
        .iter()
        .map(|act| (text(act, "op"), text(act, "by"), text(act, "why")))
        .collect();
    let expected = [
        ("users.kick", "mod", "lost"),
        ("users.unban", "adm", "a mistake"),
        ("users.ban", "mod", "spam"),
        ("words.add", "adm", ""),
    ];
    let expected = expected.map(|(op, by, why)| (op.to_owned(), by.to_owned(), why.to_owned()));
    assert_eq!(short, expected);
    assert_eq!(
        (text(&all[0], "user"), text(&all[0], "device")),
        ("bo".into(), "phone".into())
    );
    assert!(
        all.iter()
            .all(|act| act.get("at").and_then(Value::as_int) > Some(0))
    );
}

#[tokio::test]
async fn acts_are_found_by_who_what_and_when() {
    let world = World::new().await;
    some_acts(&world).await;
    for (params, count) in [
        (r#"{"by":"mod"}"#, 2),
        (r#"{"op":"users.ban"}"#, 1),
        (r#"{"op":"users.ban","by":"adm"}"#, 0),
        (r#"{"until":1}"#, 0),
        (r#"{"since":1}"#, 4),
        (r#"{"since":9007199254740991}"#, 0),
        (r#"{"limit":3}"#, 3),
        (r#"{"before":2}"#, 1),
    ] {
        assert_eq!(acts(&world, params).await.len(), count, "{params}");
    }
    let page = world.does("adm", "audit.list", r#"{"limit":3}"#).await;
    let next = page.get("next").and_then(Value::as_int).unwrap();
    let params = format!(r#"{{"before":{next}}}"#);
    assert_eq!(acts(&world, &params).await.len(), 1);
    for who in ["mod", "bo"] {
        let refused = world.call(who, "audit.list", "{}").await;
        assert_eq!(refused, Err(ErrorCode::Forbidden), "{who}");
    }
}

#[tokio::test]
async fn no_method_changes_what_stands_in_it() {
    let world = World::new().await;
    some_acts(&world).await;
    let log = everyone();
    let before = world.log(&log).await;
    assert_eq!(before.len(), 4);
    let params = |cm_id: usize| {
        format!(
            r#"{{"conv":"everyone","to":{{"conv":"everyone"}},"cm_id":"c{cm_id}","seq":1,
                "seqs":[1],"target":1,"id":"1","users":["adm","bo"],"user":"cy","role":"owner",
                "ms":1,"title":"T","join":"open","members":[],"why":"x","on":true,"text":"x",
                "verdict":"recall","word":"w","lines":"some","outcome":"other","reason":"spam",
                "state":"open","after":0,"from":1,"level":"mask","draft":1,
                "body":{{"kind":"recall","target":1}}}}"#
        )
    };
    for (n, method) in im_node::METHODS.iter().enumerate() {
        for who in ["bo", "adm", "mod", "aud"] {
            // Whatever comes of it.
            let _ = world.call(who, method.name, &params(n)).await;
        }
    }
    for (n, kind) in ["recall", "edit", "react", "pin", "text"]
        .iter()
        .enumerate()
    {
        let body = format!(r#"{{"kind":"{kind}","target":1,"text":"x","emoji":"x"}}"#);
        for who in ["bo", "adm"] {
            let refused = world.body(who, &log, &body).await;
            assert_eq!(refused, Err(ErrorCode::NotFound), "{who} {kind} {n}");
        }
    }
    let after = world.log(&log).await;
    assert_eq!(after[..4], before[..]);
    let is_act = |entry: &im_core::model::Entry| entry.body.kind().as_str() == "audit";
    assert!(after.iter().all(is_act));
    for who in ["bo", "adm"] {
        let refused = world
            .call(who, "conv.entries", r#"{"conv":"everyone","after":0}"#)
            .await;
        assert_eq!(refused, Err(ErrorCode::NotFound));
        let refused = world
            .call(who, "admin.messages.list", r#"{"conv":"everyone"}"#)
            .await;
        assert!(refused.is_err());
    }
}

#[tokio::test]
async fn what_happened_is_counted_by_days() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    for n in 0..3 {
        world.say("al", &g, &n.to_string()).await;
    }
    for user in ["bo", "bo", "cy"] {
        world.does(user, "conv.list", "{}").await;
    }
    let counted = world.does("aud", "admin.stats", r#"{"days":2}"#).await;
    let days = items(&counted, "days");
    let sum = |field: &str| {
        let of = |day: &Value| day.get(field).and_then(Value::as_int).unwrap();
        days.iter().map(of).sum::<i64>()
    };
    assert_eq!((sum("messages"), sum("groups")), (3, 1));
    // al, bo, cy, and who asks; over midnight they would count twice.
    assert!((4..=8).contains(&sum("users")), "{days:?}");
    let again = world.does("aud", "admin.stats", "{}").await;
    assert_eq!(items(&again, "days").len(), days.len());
}
