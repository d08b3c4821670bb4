//! Messages that wait for their time, and those that end.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::{FactTable, Kind, Seq, Target, Timestamp, Value};
use im_core::port::{FactQuery, Store as _};

use super::kit::{World, user};

/// Often enough that no test waits long.
const OFTEN: Duration = Duration::from_millis(20);
/// Longer than anything that is due takes.
const DEADLINE: Duration = Duration::from_secs(20);

async fn world() -> World {
    World::with(|settings| settings.due = OFTEN).await
}

fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Waits until it is so.
async fn until(is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

async fn left(world: &World, table: FactTable) -> usize {
    let query = FactQuery::Due {
        table,
        until: Timestamp(i64::MAX),
        limit: 100,
    };
    world.store.facts(&query).await.unwrap().len()
}

fn later(cm_id: &str, to: &str, words: &str, at: u64) -> String {
    format!(
        r#"{{"cm_id":"{cm_id}","to":{{"user":"{to}"}},"at":{at},
            "body":{{"kind":"text","text":"{words}"}}}}"#
    )
}

#[tokio::test]
async fn a_message_is_sent_when_its_time_has_come() {
    let world = world().await;
    let far = later("far", "bo", "far", now_ms() + 3_600_000);
    world.gives("al", "messages.schedule", &far, "{}").await;
    for words in ["first", "second"] {
        let soon = later("soon", "bo", words, now_ms() + 300);
        world.gives("al", "messages.schedule", &soon, "{}").await;
    }
    let conv = im_core::model::direct_id(&user("al"), &user("bo"));
    assert!(world.log(&conv).await.is_empty());
    until(async || !world.log(&conv).await.is_empty()).await;
    until(async || left(&world, FactTable::Scheduled).await == 1).await;
    let log = world.log(&conv).await;
    let said: Vec<_> = log
        .iter()
        .filter_map(|entry| entry.body.as_text())
        .collect();
    assert_eq!(said, ["second"]);
    let waits = world.call("al", "messages.scheduled", "{}").await.unwrap();
    assert!(waits.to_json().contains("\"far\""), "{waits:?}");
    world
        .gives("al", "messages.unschedule", r#"{"cm_id":"far"}"#, "{}")
        .await;
    world
        .gives(
            "al",
            "messages.scheduled",
            "{}",
            r#"{"scheduled":[],"more":false}"#,
        )
        .await;
}

/// Two nodes that find the same message due send it once; one that is refused is not tried for
/// ever.
#[tokio::test]
async fn what_is_due_is_done_once() {
    let world = world().await;
    let other = world.beside(OFTEN).await;
    let at = now_ms() + 200;
    for n in 0..20 {
        let one = later(&format!("m{n}"), "bo", &n.to_string(), at);
        world.gives("al", "messages.schedule", &one, "{}").await;
    }
    world
        .gives("cy", "messages.schedule", &later("x", "bo", "x", at), "{}")
        .await;
    world
        .gives("bo", "blocks.add", r#"{"user":"cy"}"#, "{}")
        .await;
    until(async || left(&world, FactTable::Scheduled).await == 0).await;
    let conv = im_core::model::direct_id(&user("al"), &user("bo"));
    assert_eq!(world.log(&conv).await.len(), 20);
    let refused = im_core::model::direct_id(&user("cy"), &user("bo"));
    assert!(world.log(&refused).await.is_empty());
    drop(other);
}

#[tokio::test]
async fn what_can_not_wait_is_refused() {
    let world = world().await;
    let ahead = now_ms() + 1_000;
    for (params, code) in [
        (later("m", "bo", "x", now_ms() - 1), ErrorCode::BadFrame),
        (
            later("m", "bo", "x", ahead + 400 * 24 * 3_600_000),
            ErrorCode::BadFrame,
        ),
        (later("m", "bo", "", ahead), ErrorCode::BadFrame),
        (
            later("m", "bo", &"x".repeat(4_001), ahead),
            ErrorCode::TooLarge,
        ),
        (r#"{"at":1}"#.to_owned(), ErrorCode::BadFrame),
    ] {
        let refused = world.call("al", "messages.schedule", &params).await;
        assert_eq!(refused, Err(code), "{params}");
    }
    for n in 0..100 {
        let one = later(&format!("m{n}"), "bo", "x", ahead + 3_600_000);
        world.gives("al", "messages.schedule", &one, "{}").await;
    }
    let more = later("more", "bo", "x", ahead + 3_600_000);
    let more = world.call("al", "messages.schedule", &more).await;
    assert_eq!(more, Err(ErrorCode::Conflict));
}

/// What a message says is gone from the log when its time is over, with its edits; until it is
/// erased, nobody is given it.
#[tokio::test]
async fn a_message_ends() {
    for due in [OFTEN, Duration::from_secs(3_600)] {
        let world = World::with(|settings| settings.due = due).await;
        let g = world.group("al", &["bo"]).await;
        let to = Target::Conversation(g.clone());
        let mut draft = world.draft(to, r#"{"kind":"text","text":"secret 1"}"#);
        draft.expires_ms = Some(300);
        let seq = world.send("al", &draft).await.unwrap();
        let edit = format!(r#"{{"kind":"edit","target":{},"text":"secret 2"}}"#, seq.0);
        world.body("al", &g, &edit).await.unwrap();
        world.say("al", &g, "stays").await;
        let params = format!(r#"{{"conv":"{}","after":0}}"#, g.as_str());
        let given = async || {
            let page = world.call("bo", "conv.entries", &params).await.unwrap();
            page.to_json()
        };
        assert!(given().await.contains("secret 1"));
        until(async || !given().await.contains("secret")).await;
        assert!(given().await.contains("stays"));
        if due == OFTEN {
            until(async || left(&world, FactTable::Expiry).await == 0).await;
            let log = world.log(&g).await;
            let bodies: Vec<_> = log.iter().map(|entry| entry.body.json()).collect();
            assert!(!format!("{bodies:?}").contains("secret"), "{bodies:?}");
            assert_eq!(log[seq.0 as usize - 1].body.kind(), Kind::Erased);
            assert_eq!(
                world
                    .timeline(&g)
                    .await
                    .get(Seq(seq.0))
                    .map(|it| it.body.kind()),
                Some(Kind::Erased)
            );
        }
    }
}

#[tokio::test]
async fn requests_that_are_over_make_room() {
    let world = World::with(|settings| {
        settings.due = OFTEN;
        settings.friend_request = OFTEN;
    })
    .await;
    let asked = world.call("al", "friends.ask", r#"{"user":"bo"}"#).await;
    assert!(asked.is_ok_and(|value| value.get("state").and_then(Value::as_text) == Some("asked")));
    for table in [FactTable::FriendRequest, FactTable::FriendAsked] {
        until(async || left(&world, table).await == 0).await;
    }
}
