//! A store that hangs, or has no room, while clients send and read.

use std::time::{Duration, Instant};

use im_core::model::Value;
use im_testkit::memory::Fault;

use crate::kit::Kit;
use crate::peer::{Peer, int, message, text};

const BEN: &str = r#"{"user":"ben"}"#;
/// How long a commit may take here.
const DEADLINE: Duration = Duration::from_millis(400);

/// The places and texts of a whole log.
async fn pull(peer: &mut Peer, conv: &str) -> Vec<(i64, String)> {
    peer.say(&format!(
        r#"{{"t":"pull","id":1,"conv":"{conv}","after":0}}"#
    ))
    .await;
    let page = peer.get("page").await;
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!("{page:?}")
    };
    let text_of = |entry: &Value| text(entry.get("body").unwrap(), "text");
    entries
        .iter()
        .map(|entry| (int(entry, "seq"), text_of(entry)))
        .collect()
}

/// Everything but writing works: signs of life, reads, newcomers.
async fn lives(kit: &Kit, peer: &mut Peer, conv: &str, log: &[(i64, String)]) {
    peer.say(r#"{"t":"ping","id":9}"#).await;
    peer.get("pong").await;
    assert_eq!(pull(peer, conv).await, log);
    let mut ben = kit.peer("ben", "late").await;
    ben.say(r#"{"t":"sync","id":1}"#).await;
    ben.get("synced").await;
    assert_eq!(pull(&mut ben, conv).await, log);
}

#[tokio::test]
async fn a_store_that_hangs_is_unavailable_after_the_deadline_and_the_retry_is_stored_once() {
    for (fault, is_stored) in [(Fault::Hang, false), (Fault::HangAfter, true)] {
        let kit = Kit::with(|settings| settings.commit_deadline = DEADLINE).await;
        let mut ana = kit.peer("ana", "d").await;
        let mut ben = kit.peer("ben", "d").await;
        let conv = text(&ana.send("c0", BEN, "0").await, "conv");
        ben.get("entry").await;
        kit.store.set_writes(Some(fault));
        let start = Instant::now();
        for cm_id in ["c1", "c2"] {
            ana.say(&message(cm_id, BEN, cm_id)).await;
        }
        if !is_stored {
            lives(&kit, &mut ana, &conv, &[(1, "0".to_owned())]).await;
        }
        for cm_id in ["c1", "c2"] {
            let err = ana.get("err").await;
            assert_eq!(text(&err, "cm_id"), cm_id);
            assert_eq!(text(&err, "code"), "unavailable");
            assert!(int(&err, "retry_after_ms") > 0);
        }
        assert!((DEADLINE..DEADLINE * 10).contains(&start.elapsed()));
        // It is tried again while nothing has changed, and again when the store is back.
        ana.say(&message("c1", BEN, "c1")).await;
        assert_eq!(ana.refused().await, "unavailable");
        kit.store.set_writes(None);
        for (at, cm_id) in ["c1", "c2"].into_iter().enumerate() {
            let sent = ana.send(cm_id, BEN, cm_id).await;
            assert_eq!(int(&sent, "seq"), at as i64 + 2, "{fault:?}");
        }
        let log: Vec<_> = [(1, "0"), (2, "c1"), (3, "c2")]
            .map(|(seq, words)| (seq, words.to_owned()))
            .into();
        assert_eq!(pull(&mut ana, &conv).await, log, "{fault:?}");
        // And the other got each once, in order.
        for seq in 2..=3 {
            assert_eq!(int(&ben.get("entry").await, "seq"), seq, "{fault:?}");
        }
        ben.is_quiet("entry").await;
    }
}

#[tokio::test]
async fn a_send_that_waits_for_a_read_is_unavailable_after_the_deadline() {
    let kit = Kit::with(|settings| settings.commit_deadline = DEADLINE).await;
    let mut ana = kit.peer("ana", "d").await;
    kit.store.set_reads(Some(Fault::Hang));
    let start = Instant::now();
    ana.say(&message("c1", BEN, "1")).await;
    assert_eq!(ana.refused().await, "unavailable");
    assert!((DEADLINE..DEADLINE * 10).contains(&start.elapsed()));
    kit.store.set_reads(None);
    assert_eq!(int(&ana.send("c1", BEN, "1").await, "seq"), 1);
}

/// The device comes back and sends it again: what it is told then must stand.
#[tokio::test]
async fn what_waits_for_a_read_is_not_stored_when_its_connection_is_gone() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    kit.store.set_reads(Some(Fault::Hang));
    ana.say(&message("c1", BEN, "1")).await;
    ana.say(&message("c2", BEN, "2")).await;
    ana.say(r#"{"t":"ping","id":1}"#).await;
    ana.get("pong").await;
    drop(ana);
    while kit.node.connections() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kit.store.set_reads(None);
    ben.is_quiet("entry").await;
    let mut ana = kit.peer("ana", "d").await;
    let sent = ana.send("c2", BEN, "2").await;
    assert_eq!(int(&sent, "seq"), 1, "c1 was not stored");
    assert!(sent.get("dup").is_none_or(|dup| *dup == Value::from(false)));
}

#[tokio::test]
async fn a_store_without_room_refuses_to_write_and_is_read_and_written_when_there_is_room() {
    let kit = Kit::with(|settings| settings.sweep = Duration::from_millis(100)).await;
    let mut ana = kit.peer("ana", "d").await;
    let conv = text(&ana.send("c0", BEN, "0").await, "conv");
    kit.store.set_writes(Some(Fault::Full));
    for _ in 0..3 {
        ana.say(&message("c1", BEN, "1")).await;
        let err = ana.get("err").await;
        assert_eq!(text(&err, "code"), "unavailable");
        assert!(int(&err, "retry_after_ms") > 0);
    }
    let params = r#"{"title":"G","members":["ben"]}"#;
    ana.say(&format!(
        r#"{{"t":"req","id":1,"method":"groups.create","params":{params}}}"#
    ))
    .await;
    let err = ana.get("err").await;
    assert_eq!(text(&err, "code"), "unavailable");
    assert!(int(&err, "retry_after_ms") > 0);
    assert!(!kit.node.is_ready());
    lives(&kit, &mut ana, &conv, &[(1, "0".to_owned())]).await;
    kit.store.set_writes(None);
    assert_eq!(int(&ana.send("c1", BEN, "1").await, "seq"), 2);
    ana.call("groups.create", params).await;
}
