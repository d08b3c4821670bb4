//! Too much, too fast, too silent.

use std::time::Duration;

use im_testkit::memory::Fault;

use crate::kit::Kit;
use crate::peer::{Heard, int, message, text};

const BEN: &str = r#"{"user":"ben"}"#;

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_try_again_and_retries_are_free() {
    let kit = Kit::with(|settings| settings.limits.sends_per_s = 2).await;
    let mut ana = kit.peer("ana", "d").await;
    for at in 0..4 {
        ana.send(&format!("c{at}"), BEN, "x").await;
    }
    ana.say(&message("c4", BEN, "x")).await;
    let err = ana.get("err").await;
    assert_eq!(text(&err, "code"), "rate_limited");
    let wait = int(&err, "retry_after_ms");
    assert!((1..=500).contains(&wait), "{wait}");
    for _ in 0..5 {
        assert!(ana.send("c0", BEN, "x").await.get("dup").is_some());
    }
    tokio::time::sleep(Duration::from_millis(wait.unsigned_abs() + 50)).await;
    ana.send("c4", BEN, "x").await;
}

#[tokio::test]
async fn a_flood_is_closed_but_not_in_the_first_second() {
    let kit = Kit::with(|settings| settings.limits.sends_per_s = 1).await;
    let mut ana = kit.peer("ana", "d").await;
    for at in 0..20 {
        ana.say(&message(&format!("c{at}"), BEN, "x")).await;
    }
    ana.say(r#"{"t":"ping"}"#).await;
    ana.get("pong").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for at in 20..30 {
        ana.say(&message(&format!("c{at}"), BEN, "x")).await;
    }
    let bye = ana.get("bye").await;
    assert_eq!(int(&bye, "code"), 4429);
    assert_eq!(ana.closed().await, 4429);
}

#[tokio::test]
async fn the_thirty_third_request_in_flight_is_busy_and_the_others_are_answered() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let conv = text(&ana.send("c1", BEN, "x").await, "conv");
    kit.store.set_reads(Some(Fault::Hang));
    for id in 0..33 {
        ana.say(&format!(
            r#"{{"t":"pull","id":{id},"conv":"{conv}","after":0}}"#
        ))
        .await;
    }
    let err = ana.get("err").await;
    assert_eq!((text(&err, "code"), int(&err, "id")), ("busy".into(), 32));
    assert!(int(&err, "retry_after_ms") > 0);
    kit.store.set_reads(None);
    let mut ids = Vec::new();
    for _ in 0..32 {
        ids.push(int(&ana.get("page").await, "id"));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..32).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_silent_are_pinged_and_closed_and_who_answers_stays() {
    let kit = Kit::with(|settings| settings.heartbeat = Duration::from_millis(500)).await;
    let mut deaf = kit.peer("ana", "d").await;
    deaf.answers = false;
    let mut alive = kit.peer("ben", "d").await;
    let mut pings = 0;
    loop {
        match deaf.hear().await {
            Heard::Ping => pings += 1,
            Heard::Close(code) => {
                assert_eq!(code, 4408);
                break;
            }
            other => panic!("{other:?}"),
        }
        // The other one answers meanwhile, by reading.
        assert_eq!(alive.hear().await, Heard::Ping);
    }
    assert!(pings >= 1);
    alive.say(r#"{"t":"ping","id":1}"#).await;
    alive.get("pong").await;
}
