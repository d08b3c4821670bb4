//! How long conversations keep what was said.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, FactTable, Kind, Seq, Target, Timestamp, Value, direct_id};
use im_core::port::{Clock, FactQuery, Store as _};
use im_node::Retention;

use super::kit::{World, user};

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// A clock whose records are put forward by hand.
#[derive(Debug, Default)]
struct Days(AtomicI64);

impl Days {
    fn pass(&self, days: i64) {
        self.0.fetch_add(days * DAY_MS, Ordering::Relaxed);
    }
}

impl Clock for Days {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(1_790_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A node that keeps groups for 30 days and everything else for ever; `due` as given.
async fn world(due: Duration) -> (Arc<Days>, World) {
    let days = Arc::new(Days::default());
    let set = |settings: &mut im_node::Settings| {
        settings.due = due;
        settings.retention = Retention {
            group: Some(Duration::from_secs(30 * 24 * 3_600)),
            ..Retention::default()
        };
    };
    let world = World::by(Arc::clone(&days) as _, set).await;
    (days, world)
}

const NEVER: Duration = Duration::from_secs(1_000_000_000);

async fn shown(world: &World, who: &str, conv: &ConversationId) -> Vec<String> {
    let params = Value::object([
        ("conv", Value::from(conv.as_str())),
        ("after", 0_u64.into()),
    ]);
    let page = world.call(who, "conv.entries", &params.to_json()).await;
    let page = page.unwrap();
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!("a page has entries");
    };
    let body = |entry: &Value| entry.get("body").unwrap().to_json();
    entries.iter().map(body).collect()
}

async fn facts(world: &World, table: FactTable, conv: &ConversationId) -> usize {
    let query = FactQuery::Of {
        table,
        owner: conv.as_str().to_owned(),
        after: None,
        below: None,
        limit: 1_000,
    };
    world.store.facts(&query).await.unwrap().len()
}

/// From the moment on that something is too old nobody is shown it, whether it is erased yet or
/// not, and nobody can do anything to it.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_shown_to_nobody_before_it_is_erased() {
    let (days, world) = world(NEVER).await;
    let conv = world.group("al", &["bo"]).await;
    let old = world.say("al", &conv, "old").await;
    let body = format!(r#"{{"kind":"react","target":{},"emoji":"x"}}"#, old.0);
    world.body("bo", &conv, &body).await.unwrap();
    days.pass(20);
    world.say("al", &conv, "new").await;
    assert!(shown(&world, "bo", &conv).await.concat().contains("old"));
    days.pass(11);
    let read = shown(&world, "bo", &conv).await;
    assert!(!read.concat().contains("old"), "{read:?}");
    assert!(read.concat().contains("new") && read.len() == 4, "{read:?}");
    assert!(
        read[0].contains("create"),
        "what tells of members stays: {read:?}"
    );
    assert!(world.log(&conv).await[1].body.json().contains("old"));
    let (conv_id, seq) = (conv.as_str(), old.0);
    let forward = format!(r#"{{"conv":"{conv_id}","seqs":[{seq}],"to_user":"cy","cm_id":"f"}}"#);
    let done = world.call("al", "messages.forward", &forward).await;
    assert_eq!(done, Err(ErrorCode::NotFound));
    let found = world
        .call("bo", "messages.search", r#"{"text":"old"}"#)
        .await;
    let found = found.unwrap().to_json();
    assert!(!found.contains("old"), "{found}");
    for body in [
        format!(r#"{{"kind":"react","target":{},"emoji":"x"}}"#, old.0),
        format!(r#"{{"kind":"recall","target":{}}}"#, old.0),
        format!(r#"{{"kind":"edit","target":{},"text":"y"}}"#, old.0),
    ] {
        let done = world.body("al", &conv, &body).await;
        assert_eq!(done, Err(ErrorCode::NotFound), "{body}");
    }
    days.pass(20);
    let params = format!(r#"{{"conv":"{}","from":1,"to":9}}"#, conv.as_str());
    world
        .gives("bo", "conv.states", &params, r#"{"states":[]}"#)
        .await;
    let export = world.call("al", "me.export", "{}").await.unwrap();
    assert!(!export.to_json().contains("old"), "{export:?}");
    let list = world.call("bo", "conv.list", "{}").await.unwrap().to_json();
    assert!(!list.contains("new"), "{list}");
}

/// Messages, edits, marks and pins that are too old go, bit by bit; what is younger, what tells of
/// members, and conversations of other kinds stay.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_erased_with_what_was_done_to_it() {
    let (days, world) = world(Duration::from_millis(100)).await;
    let conv = world.group("al", &["bo"]).await;
    // More than a part of the work, in several pages.
    let direct = direct_id(&user("al"), &user("bo"));
    let to_bo = world.draft(Target::User(user("bo")), r#"{"kind":"text","text":"kept"}"#);
    world.send("al", &to_bo).await.unwrap();
    let first = world.say("al", &conv, "first").await;
    for n in 0..650 {
        world.say("bo", &conv, &format!("old {n}")).await;
    }
    for body in [
        format!(r#"{{"kind":"react","target":{},"emoji":"x"}}"#, first.0),
        format!(r#"{{"kind":"edit","target":{},"text":"other"}}"#, first.0),
        format!(r#"{{"kind":"pin","target":{}}}"#, first.0),
    ] {
        world.body("al", &conv, &body).await.unwrap();
    }
    days.pass(25);
    let young = world.say("bo", &conv, "young").await;
    let body = format!(r#"{{"kind":"react","target":{},"emoji":"x"}}"#, young.0);
    world.body("al", &conv, &body).await.unwrap();
    days.pass(6);
    // The next look at all conversations is hours away: also tokio's time goes on.
    let other = world.beside(Duration::from_millis(130)).await;
    let is_done = async || {
        let log = world.log(&conv).await;
        log.iter()
            .filter(|it| it.body.kind() == Kind::Erased)
            .count()
            == 654
    };
    for _ in 0..1_000 {
        if is_done().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(other);
    assert!(is_done().await);
    let log = world.log(&conv).await;
    assert_eq!(log[0].body.kind(), Kind::Group);
    assert_eq!((log.len(), log.last().unwrap().seq), (657, Seq(657)));
    let read = shown(&world, "bo", &conv).await;
    assert!(!read.concat().contains("old"));
    assert_eq!(facts(&world, FactTable::Mark, &conv).await, 1);
    assert_eq!(facts(&world, FactTable::Pin, &conv).await, 0);
    assert!(world.log(&direct).await[0].body.json().contains("kept"));
    let timeline = world.timeline(&conv).await;
    assert_eq!(timeline.get(young).unwrap().reactions.len(), 1);
}

/// Without a setting nothing is looked for.
#[tokio::test(start_paused = true)]
async fn nothing_is_let_go_unless_it_is_said() {
    let world = World::with(|settings| settings.due = Duration::from_millis(50)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let query = FactQuery::Due {
        table: FactTable::Upkeep,
        until: Timestamp(i64::MAX),
        limit: 9,
    };
    assert!(world.store.facts(&query).await.unwrap().is_empty());
}
