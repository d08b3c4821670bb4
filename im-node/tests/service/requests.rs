//! Asking to come in, the answers, and who may not come again.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::Value;

use super::kit::{World, each, text};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;
const APPROVAL: &str = r#","join":"approval""#;

fn of(user: &str) -> String {
    format!(r#","user":"{user}""#)
}

#[tokio::test]
async fn who_asks_is_let_in_by_those_who_run_it() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy"]).await;
    world
        .does_in("al", "groups.role", &g, r#","user":"bo","role":"admin""#)
        .await;
    world
        .fails_in("dy", "groups.ask", &g, "", ErrorCode::NotFound)
        .await;
    world.does_in("al", "groups.set", &g, APPROVAL).await;
    world
        .fails_in("dy", "groups.join", &g, "", ErrorCode::NotFound)
        .await;
    for note in ["hi", "please"] {
        let rest = format!(r#","note":"{note}""#);
        let asked = world.does_in("dy", "groups.ask", &g, &rest).await;
        assert_eq!(text(&asked, "state"), "asked");
    }
    world.does_in("ed", "groups.ask", &g, "").await;
    let list = world.does_in("bo", "groups.requests", &g, "").await;
    assert_eq!(each(&list, "requests", "user"), ["dy", "ed"]);
    assert_eq!(each(&list, "requests", "note"), ["please"]);
    let page = world
        .does_in("al", "groups.requests", &g, r#","limit":1"#)
        .await;
    assert_eq!(text(&page, "next"), "dy");
    // It is theirs to answer alone, and a stranger hears of nothing.
    for method in ["groups.accept", "groups.refuse"] {
        world
            .fails_in("cy", method, &g, &of("dy"), ErrorCode::Forbidden)
            .await;
        world
            .fails_in("dy", method, &g, &of("dy"), ErrorCode::NotFound)
            .await;
    }
    world
        .fails_in("cy", "groups.requests", &g, "", ErrorCode::Forbidden)
        .await;
    world
        .fails_in("dy", "groups.requests", &g, "", ErrorCode::NotFound)
        .await;
    for _ in 0..2 {
        world.does_in("bo", "groups.accept", &g, &of("dy")).await;
    }
    world.body("dy", &g, TEXT).await.unwrap();
    let again = world.does_in("dy", "groups.ask", &g, "").await;
    assert_eq!(text(&again, "state"), "member");
    world.does_in("al", "groups.refuse", &g, &of("ed")).await;
    world
        .fails_in("al", "groups.accept", &g, &of("ed"), ErrorCode::NotFound)
        .await;
    assert_eq!(world.body("ed", &g, TEXT).await, Err(ErrorCode::NotFound));
    // Whom nobody asked for is not accepted.
    world
        .fails_in("al", "groups.accept", &g, &of("fi"), ErrorCode::NotFound)
        .await;
    let list = world.does_in("al", "groups.requests", &g, "").await;
    assert_eq!(each(&list, "requests", "user"), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_is_taken_back_ends_and_goes_when_it_is_answered_otherwise() {
    let world = World::with(|settings| {
        settings.due = Duration::from_millis(20);
        settings.join_request = Duration::from_millis(300);
    })
    .await;
    let g = world.group("al", &[]).await;
    world.does_in("al", "groups.set", &g, APPROVAL).await;
    for who in ["bo", "cy", "dy", "ed"] {
        world.does_in(who, "groups.ask", &g, "").await;
    }
    for _ in 0..2 {
        world.does_in("bo", "groups.unask", &g, "").await;
    }
    world
        .does_in("al", "groups.add", &g, r#","users":["cy"]"#)
        .await;
    world.does_in("al", "groups.ban", &g, &of("dy")).await;
    let list = world.does_in("al", "groups.requests", &g, "").await;
    assert_eq!(each(&list, "requests", "user"), ["ed"]);
    for who in ["bo", "dy"] {
        world
            .fails_in("al", "groups.accept", &g, &of(who), ErrorCode::NotFound)
            .await;
    }
    // Added and removed since: that was the answer.
    world
        .does_in("al", "groups.remove", &g, r#","users":["cy"]"#)
        .await;
    world
        .fails_in("al", "groups.accept", &g, &of("cy"), ErrorCode::NotFound)
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    world
        .fails_in("al", "groups.accept", &g, &of("ed"), ErrorCode::NotFound)
        .await;
    world.does_in("ed", "groups.ask", &g, "").await;
    world.does_in("al", "groups.accept", &g, &of("ed")).await;
}

#[tokio::test]
async fn requests_are_bounded_and_their_notes_are_no_traps() {
    let world = World::new().await;
    let g = world.group("al", &[]).await;
    world.does_in("al", "groups.set", &g, APPROVAL).await;
    for (note, code) in [
        ("x".repeat(201), ErrorCode::TooLarge),
        ("a\\u202eb".to_owned(), ErrorCode::BadFrame),
        (String::new(), ErrorCode::BadFrame),
    ] {
        let rest = format!(r#","note":"{note}""#);
        world.fails_in("bo", "groups.ask", &g, &rest, code).await;
    }
    for n in 0..500 {
        world.does_in(&format!("u{n}"), "groups.ask", &g, "").await;
    }
    world
        .fails_in("bo", "groups.ask", &g, "", ErrorCode::Conflict)
        .await;
    // Who has asked may say it in other words.
    world
        .does_in("u7", "groups.ask", &g, r#","note":"<b>x</b>""#)
        .await;
    world
        .does_in("al", "groups.set", &g, r#","join":"open""#)
        .await;
    world
        .fails_in("u7", "groups.ask", &g, "", ErrorCode::Conflict)
        .await;
}

#[tokio::test]
async fn who_is_banned_stays_out_until_that_is_ended() {
    let world = World::new().await;
    let g = world.group("al", &["bo", "cy", "dy"]).await;
    world
        .does_in("al", "groups.role", &g, r#","user":"bo","role":"admin""#)
        .await;
    world
        .does_in("al", "groups.role", &g, r#","user":"dy","role":"admin""#)
        .await;
    world
        .does_in("al", "groups.set", &g, r#","join":"open""#)
        .await;
    let link = world
        .does_in("al", "invites.create", &g, "")
        .await
        .to_json();
    for (who, target, code) in [
        ("cy", "dy", ErrorCode::Forbidden),
        ("bo", "dy", ErrorCode::Forbidden),
        ("bo", "al", ErrorCode::Forbidden),
        ("bo", "bo", ErrorCode::Forbidden),
        ("cy", "zo", ErrorCode::Forbidden),
        ("zo", "cy", ErrorCode::NotFound),
    ] {
        world
            .fails_in(who, "groups.ban", &g, &of(target), code)
            .await;
    }
    let why = r#","user":"cy","why":"spam""#;
    for _ in 0..2 {
        world.does_in("bo", "groups.ban", &g, why).await;
    }
    // One who was never in, too.
    world.does_in("bo", "groups.ban", &g, &of("zo")).await;
    assert_eq!(world.body("cy", &g, TEXT).await, Err(ErrorCode::NotMember));
    for who in ["cy", "zo"] {
        world
            .fails_in(who, "groups.join", &g, "", ErrorCode::Forbidden)
            .await;
        let refused = world.call(who, "invites.join", &link).await;
        assert_eq!(refused, Err(ErrorCode::Forbidden));
        let add = format!(r#","users":["{who}"]"#);
        world
            .fails_in("al", "groups.add", &g, &add, ErrorCode::Conflict)
            .await;
    }
    let bans = world.does_in("al", "groups.bans", &g, "").await;
    assert_eq!(each(&bans, "bans", "user"), ["cy", "zo"]);
    assert_eq!(each(&bans, "bans", "why"), ["spam"]);
    world
        .fails_in("cy", "groups.bans", &g, "", ErrorCode::NotMember)
        .await;
    world.does_in("al", "groups.set", &g, APPROVAL).await;
    world
        .fails_in("cy", "groups.ask", &g, "", ErrorCode::Forbidden)
        .await;
    for _ in 0..2 {
        world.does_in("bo", "groups.unban", &g, &of("cy")).await;
    }
    world.does_in("cy", "groups.ask", &g, "").await;
    world.does_in("bo", "groups.accept", &g, &of("cy")).await;
    world.body("cy", &g, TEXT).await.unwrap();
    let log = world.log(&g).await;
    let told = |op: &str| {
        let is = |entry: &&im_core::model::Entry| {
            entry.body.value().get("op").and_then(Value::as_text) == Some(op)
        };
        log.iter().filter(is).count()
    };
    assert_eq!((told("remove"), told("ban"), told("unban")), (1, 1, 1));
    let is = world.does_in("al", "conv.get", &g, "").await;
    assert_eq!(super::kit::int(&is, "members"), 4);
}
