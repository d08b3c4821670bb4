//! Users who are shut out, muted, sent away.

use im_core::frame::ErrorCode;
use im_core::model::{Target, Value};

use crate::service::kit::{World, eventually, items, text, user};

#[tokio::test]
async fn who_is_banned_does_nothing_until_it_ends() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let params = r#"{"user":"bo","why":"spam"}"#;
    world.does("mod", "admin.users.ban", params).await;
    for (method, params) in [
        ("conv.list", "{}"),
        ("profile.set", "{}"),
        ("groups.create", r#"{"title":"T","members":[]}"#),
        ("admin.stats", "{}"),
    ] {
        let refused = world.call("bo", method, params).await;
        assert_eq!(refused, Err(ErrorCode::Forbidden), "{method}");
    }
    let hi = r#"{"kind":"text","text":"hi"}"#;
    let refused = world.body("bo", &g, hi).await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    let known = world
        .does("aud", "admin.users.get", r#"{"user":"bo"}"#)
        .await;
    let ban = known.get("banned").unwrap();
    assert_eq!(
        (text(ban, "why"), text(ban, "by")),
        ("spam".into(), "mod".into())
    );
    let listed = world.does("aud", "admin.users.banned", "{}").await;
    let listed = items(&listed, "banned");
    assert_eq!(
        listed
            .iter()
            .map(|line| text(line, "user"))
            .collect::<Vec<_>>(),
        ["bo"]
    );
    let params = r#"{"user":"bo","why":"said sorry"}"#;
    world.does("mod", "admin.users.unban", params).await;
    assert!(world.body("bo", &g, hi).await.is_ok());
    let params = r#"{"user":"bo","why":"again","ms":100}"#;
    world.does("mod", "admin.users.ban", params).await;
    assert_eq!(world.body("bo", &g, hi).await, Err(ErrorCode::Forbidden));
    eventually(async || world.body("bo", &g, hi).await.is_ok()).await;
}

#[tokio::test]
async fn what_the_banned_had_waiting_is_not_sent() {
    let world = World::with(|settings| settings.due = std::time::Duration::from_millis(20)).await;
    let g = world.group("al", &["bo"]).await;
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let params = format!(
        r#"{{"at":{},"cm_id":"c","to":{{"conv":"{}"}},"body":{{"kind":"text","text":"x"}}}}"#,
        now + 100,
        g.as_str()
    );
    world.does("bo", "messages.schedule", &params).await;
    let ban = r#"{"user":"bo","why":"spam"}"#;
    world.does("mod", "admin.users.ban", ban).await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    let unban = r#"{"user":"bo","why":"no"}"#;
    world.does("mod", "admin.users.unban", unban).await;
    world
        .gives(
            "bo",
            "messages.scheduled",
            "{}",
            r#"{"scheduled":[],"more":false}"#,
        )
        .await;
    assert!(
        world
            .log(&g)
            .await
            .iter()
            .all(|entry| entry.body.as_text().is_none())
    );
}

#[tokio::test]
async fn who_is_muted_everywhere_says_nothing_anywhere() {
    let world = World::new().await;
    let g = world.group("bo", &["al"]).await;
    let params = r#"{"user":"bo","ms":60000,"why":"heated"}"#;
    world.does("mod", "admin.users.mute", params).await;
    let hi = r#"{"kind":"text","text":"hi"}"#;
    for to in [Target::Conversation(g.clone()), Target::User(user("al"))] {
        let draft = world.draft(to, hi);
        let refused = world.node.service().send(&user("bo"), &draft).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Muted);
        assert!((1..=60_000).contains(&refused.retry_after_ms.unwrap()));
    }
    world.does("bo", "conv.list", "{}").await;
    let params = r#"{"user":"bo","ms":0,"why":"over"}"#;
    world.does("mod", "admin.users.mute", params).await;
    assert!(world.body("bo", &g, hi).await.is_ok());
}

#[tokio::test]
async fn nobody_acts_on_themselves_and_only_admins_on_staff() {
    let world = World::new().await;
    // They are known as staff when they did something.
    for staff in ["adm", "adm2", "mod", "mod2", "aud"] {
        world.does(staff, "admin.stats", "{}").await;
    }
    for (who, whom, code) in [
        ("mod", "mod", Err(ErrorCode::Forbidden)),
        ("adm", "adm", Err(ErrorCode::Forbidden)),
        ("mod", "adm", Err(ErrorCode::Forbidden)),
        ("mod", "mod2", Err(ErrorCode::Forbidden)),
        ("mod", "aud", Err(ErrorCode::Forbidden)),
        ("aud", "bo", Err(ErrorCode::Forbidden)),
        ("bo", "cy", Err(ErrorCode::Forbidden)),
        ("mod", "bo", Ok(())),
        ("adm", "adm2", Ok(())),
        ("adm", "mod2", Ok(())),
    ] {
        for (method, rest) in [
            ("admin.users.ban", ""),
            ("admin.users.mute", r#","ms":1"#),
            ("admin.users.kick", ""),
            ("admin.users.unban", ""),
        ] {
            let params = format!(r#"{{"user":"{whom}","why":"x"{rest}}}"#);
            let done = world.call(who, method, &params).await.map(drop);
            assert_eq!(done, code, "{who} {method} {whom}");
        }
    }
}

#[tokio::test]
async fn what_is_done_to_somebody_has_a_reason() {
    let world = World::new().await;
    let long = "x".repeat(501);
    for method in ["ban", "unban", "mute", "kick"] {
        let method = format!("admin.users.{method}");
        for (why, code) in [
            (String::new(), ErrorCode::BadFrame),
            (r#","why":"""#.to_owned(), ErrorCode::BadFrame),
            (r#","why":"a\u202eb""#.to_owned(), ErrorCode::BadFrame),
            (format!(r#","why":"{long}""#), ErrorCode::TooLarge),
        ] {
            let params = format!(r#"{{"user":"bo","ms":1{why}}}"#);
            let refused = world.call("adm", &method, &params).await;
            assert_eq!(refused, Err(code), "{method} {params:.50}");
        }
    }
    let known = world
        .does("adm", "admin.users.get", r#"{"user":"bo"}"#)
        .await;
    assert_eq!(
        known,
        Value::from_json(r#"{"user":"bo","devices":[]}"#).unwrap()
    );
}
