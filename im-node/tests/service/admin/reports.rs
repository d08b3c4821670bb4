//! What users report.

use im_core::frame::ErrorCode;
use im_core::model::Value;

use crate::service::kit::{World, items, text};

async fn open(world: &World) -> Vec<Value> {
    let listed = world.does("mod", "admin.reports.list", "{}").await;
    items(&listed, "reports")
}

#[tokio::test]
async fn messages_users_and_groups_are_reported_and_resolved() {
    let world = World::new().await;
    let g = world.group("al", &["bo"]).await;
    let seq = world.say("al", &g, "pay to 13812345678").await;
    let conv = g.as_str();
    let message = format!(
        r#"{{"conv":"{conv}","seq":{},"reason":"fraud","note":"call 13912345678"}}"#,
        seq.0
    );
    world.gives("bo", "reports.add", &message, "{}").await;
    world.gives("bo", "reports.add", &message, "{}").await;
    world
        .gives(
            "bo",
            "reports.add",
            r#"{"user":"al","reason":"spam"}"#,
            "{}",
        )
        .await;
    let group = format!(r#"{{"conv":"{conv}","reason":"other"}}"#);
    world.gives("bo", "reports.add", &group, "{}").await;
    let listed = open(&world).await;
    assert_eq!(listed.len(), 3);
    assert_eq!(text(&listed[0], "note"), "call 139****5678");
    assert_eq!(text(&listed[0], "from"), "al");
    let body = listed[0].get("body").unwrap();
    assert_eq!(text(body, "text"), "pay to 138****5678");
    assert_eq!(text(&listed[1], "user"), "al");
    let id = text(&listed[0], "id");
    let resolve = format!(r#"{{"id":"{id}","outcome":"warned","why":"first time"}}"#);
    world.does("mod", "admin.reports.resolve", &resolve).await;
    let again = world.call("mod", "admin.reports.resolve", &resolve).await;
    assert_eq!(again, Err(ErrorCode::NotFound));
    assert_eq!(open(&world).await.len(), 2);
    let done = world
        .does("mod", "admin.reports.list", r#"{"state":"done"}"#)
        .await;
    let done = items(&done, "reports");
    assert_eq!(
        (done.len(), text(&done[0], "outcome")),
        (1, "warned".into())
    );
    assert_eq!(done[0].get("body"), None);
    // It may happen again.
    world.gives("bo", "reports.add", &message, "{}").await;
    assert_eq!(open(&world).await.len(), 3);
}

#[tokio::test]
async fn who_reports_sees_what_they_report() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    world.say("al", &g, "hi").await;
    let conv = g.as_str();
    for (params, code) in [
        (
            format!(r#"{{"conv":"{conv}","seq":2,"reason":"spam"}}"#),
            ErrorCode::NotFound,
        ),
        (
            format!(r#"{{"conv":"{conv}","reason":"spam"}}"#),
            ErrorCode::NotFound,
        ),
        (
            r#"{"conv":"everyone","reason":"spam"}"#.to_owned(),
            ErrorCode::NotFound,
        ),
        (
            r#"{"user":"bo","reason":"spam"}"#.to_owned(),
            ErrorCode::Conflict,
        ),
        (
            r#"{"user":"al","reason":"dull"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (r#"{"reason":"spam"}"#.to_owned(), ErrorCode::BadFrame),
        (
            r#"{"user":"al","conv":"c","reason":"spam"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            r#"{"user":"al","seq":1,"reason":"spam"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            format!(
                r#"{{"user":"al","reason":"spam","note":"{}"}}"#,
                "x".repeat(501)
            ),
            ErrorCode::TooLarge,
        ),
    ] {
        let refused = world.call("bo", "reports.add", &params).await;
        assert_eq!(refused, Err(code), "{params:.60}");
    }
    let own = format!(r#"{{"conv":"{conv}","seq":9,"reason":"spam"}}"#);
    assert_eq!(
        world.call("al", "reports.add", &own).await,
        Err(ErrorCode::NotFound)
    );
    assert!(open(&world).await.is_empty());
}

#[tokio::test]
async fn a_flood_of_reports_ends_at_its_bound() {
    let world = World::new().await;
    let report = |n: usize| format!(r#"{{"user":"u{n}","reason":"spam"}}"#);
    for n in 0..20 {
        world.gives("bo", "reports.add", &report(n), "{}").await;
    }
    let refused = world.call("bo", "reports.add", &report(20)).await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
    world.gives("bo", "reports.add", &report(3), "{}").await;
    world.gives("cy", "reports.add", &report(20), "{}").await;
    assert_eq!(open(&world).await.len(), 21);
    let id = text(&open(&world).await[0], "id");
    let resolve = format!(r#"{{"id":"{id}","outcome":"dismissed","why":"nothing"}}"#);
    world.does("adm", "admin.reports.resolve", &resolve).await;
    world.gives("bo", "reports.add", &report(20), "{}").await;
}

#[tokio::test]
async fn a_report_is_resolved_with_an_outcome_and_a_reason() {
    let world = World::new().await;
    let long = "x".repeat(2_000);
    for (params, code) in [
        (
            r#"{"id":"x","outcome":"warned","why":"y"}"#.to_owned(),
            ErrorCode::NotFound,
        ),
        (
            r#"{"id":"x","outcome":"fined","why":"y"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            r#"{"id":"x","outcome":"warned"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            r#"{"outcome":"warned","why":"y"}"#.to_owned(),
            ErrorCode::BadFrame,
        ),
        (
            format!(r#"{{"id":"{long}","outcome":"warned","why":"y"}}"#),
            ErrorCode::NotFound,
        ),
    ] {
        let refused = world.call("mod", "admin.reports.resolve", &params).await;
        assert_eq!(refused, Err(code), "{params:.60}");
    }
    let bad = world
        .call("mod", "admin.reports.list", r#"{"state":"x"}"#)
        .await;
    assert_eq!(bad, Err(ErrorCode::BadFrame));
}
