//! Receipts, typing, presence: told to those who may know, never stored.

use std::time::Duration;

use im_core::port::MemberOp;

use crate::kit::Kit;
use crate::peer::{Peer, int, text};

const BEN: &str = r#"{"user":"ben"}"#;

async fn mark(peer: &mut Peer, t: &str, conv: &str, seq: i64) {
    peer.say(&format!(r#"{{"t":"{t}","conv":"{conv}","seq":{seq}}}"#))
        .await;
}

#[tokio::test]
async fn cursors_reach_the_other_and_ones_own_devices_and_never_go_back() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d1").await;
    let mut ben2 = kit.peer("ben", "d2").await;
    ana.send("c1", BEN, "1").await;
    let conv = text(&ana.send("c2", BEN, "2").await, "conv");
    mark(&mut ben, "ack", &conv, 2).await;
    let receipt = ana.get("receipt").await;
    assert_eq!(
        (text(&receipt, "user"), int(&receipt, "delivered")),
        ("ben".into(), 2)
    );
    assert!(receipt.get("read").is_none());
    mark(&mut ben, "read", &conv, 1).await;
    assert_eq!(int(&ana.get("receipt").await, "read"), 1);
    assert_eq!(int(&ben2.get("receipt").await, "read"), 1);
    // Backwards is nothing, beyond the head is the head.
    mark(&mut ben, "read", &conv, 1).await;
    ana.is_quiet("receipt").await;
    mark(&mut ben, "read", &conv, 999).await;
    let receipt = ana.get("receipt").await;
    assert_eq!((int(&receipt, "read"), int(&receipt, "delivered")), (2, 2));
    ben.is_quiet("receipt").await;
    ben.say(r#"{"t":"sync","id":1}"#).await;
    let synced = ben.get("synced").await;
    let line = match synced.get("convs") {
        Some(im_core::model::Value::Array(lines)) => lines[0].clone(),
        _ => panic!("{synced:?}"),
    };
    assert_eq!((int(&line, "read_seq"), int(&line, "unread")), (2, 0));
}

#[tokio::test]
async fn typing_reaches_the_other_once_per_three_seconds_and_not_ones_own_devices() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d1").await;
    let mut ana2 = kit.peer("ana", "d2").await;
    let mut ben = kit.peer("ben", "d").await;
    let conv = text(&ana.send("c1", BEN, "1").await, "conv");
    ben.get("entry").await;
    for _ in 0..5 {
        ana.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#))
            .await;
    }
    let typing = ben.get("typing").await;
    assert_eq!(
        (text(&typing, "user"), text(&typing, "conv")),
        ("ana".into(), conv)
    );
    ben.is_quiet("typing").await;
    ana2.is_quiet("typing").await;
}

#[tokio::test]
async fn presence_is_told_to_those_who_talk_with_each_other_only() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    ana.send("c1", BEN, "1").await;
    ana.say(r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben","cara"]}}"#)
        .await;
    let now = ana.get("presence").await;
    assert_eq!(
        (text(&now, "user"), text(&now, "state")),
        ("ben".into(), "offline".into())
    );
    ana.get("res").await;
    let cara = kit.peer("cara", "d").await;
    let ben = kit.peer("ben", "d1").await;
    let change = ana.get("presence").await;
    assert_eq!(
        (text(&change, "user"), text(&change, "state")),
        ("ben".into(), "online".into())
    );
    let ben2 = kit.peer("ben", "d2").await;
    drop((ben, cara));
    ana.is_quiet("presence").await;
    drop(ben2);
    assert_eq!(text(&ana.get("presence").await, "state"), "offline");
}

#[tokio::test]
async fn cursors_and_typing_count_also_when_the_members_are_known_to_have_changed() {
    let kit = Kit::with(|settings| settings.sweep = Duration::from_secs(3_600)).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let params = r#"{"title":"G","members":["ben","cara","dora"]}"#;
    let conv = text(&ana.call("groups.create", params).await, "conv");
    let to = format!(r#"{{"conv":"{conv}"}}"#);
    ana.send("c1", &to, "1").await;
    ben.get("entry").await;
    // Another node did, and this one hears of it first from the list of somebody who connects.
    kit.change_elsewhere(&conv, "dora", MemberOp::Mute(None))
        .await;
    kit.peer("cara", "d").await;
    mark(&mut ben, "read", &conv, 2).await;
    let receipt = ana.get("receipt").await;
    assert_eq!(
        (text(&receipt, "user"), int(&receipt, "read")),
        ("ben".into(), 2)
    );
    ben.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#))
        .await;
    assert_eq!(text(&ana.get("typing").await, "user"), "ben");
}
