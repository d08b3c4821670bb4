//! Clients that don't read.

use std::time::{Duration, Instant};

use im_node::Settings;

use crate::kit::Kit;
use crate::peer::{Peer, int, text};

const BEN: &str = r#"{"user":"ben"}"#;
/// Somebody who is not connected.
const EVE: &str = r#"{"user":"eve"}"#;
/// More than the buffers of a connection hold, in messages of [`LARGE`] bytes.
const MANY: i64 = 350;
const LARGE: usize = 15_000;

fn large(settings: &mut Settings) {
    settings.limits.text_chars = LARGE;
    settings.limits.window = 4_096;
}

/// Sends so many large messages and waits until they are stored; gives the conversation.
async fn pour(from: &mut Peer, to: &str, count: i64) -> String {
    let words = "x".repeat(LARGE);
    let mut conv = String::new();
    for at in 0..count {
        let sent = from.send(&format!("c{at}"), to, &words).await;
        conv = text(&sent, "conv");
        let seq = int(&sent, "seq");
        let ack = format!(r#"{{"t":"ack","conv":"{conv}","seq":{seq}}}"#);
        from.say(&ack).await;
    }
    conv
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_its_window_then_behind_and_holds_nobody_up() {
    let kit = Kit::with(|settings| {
        large(settings);
        settings.limits.window = 16;
    })
    .await;
    let mut slow = kit.narrow("ben", "slow").await;
    let mut quick = kit.peer("ben", "quick").await;
    let mut ana = kit.peer("ana", "d").await;
    let reads = async {
        for seq in 1..=MANY {
            let entry = quick.get("entry").await;
            assert_eq!(int(&entry, "seq"), seq);
            let conv = text(&entry, "conv");
            let ack = format!(r#"{{"t":"ack","conv":"{conv}","seq":{seq}}}"#);
            quick.say(&ack).await;
        }
    };
    let (conv, ()) = tokio::join!(pour(&mut ana, BEN, MANY), reads);
    // What was held for it is the window, and the word that there is more.
    for seq in 1..=16 {
        assert_eq!(int(&slow.get("entry").await, "seq"), seq);
    }
    assert_eq!(int(&slow.get("behind").await, "last_seq"), 17);
    slow.is_quiet("entry").await;
    let mut after = 16;
    while after < MANY {
        let pull = format!(r#"{{"t":"pull","id":1,"conv":"{conv}","after":{after},"limit":200}}"#);
        slow.say(&pull).await;
        let page = slow.get("page").await;
        let Some(im_core::model::Value::Array(entries)) = page.get("entries") else {
            panic!("{page:?}")
        };
        assert_eq!(int(&entries[0], "seq"), after + 1);
        after = int(entries.last().unwrap(), "seq");
    }
    ana.send("last", BEN, "x").await;
    assert_eq!(int(&slow.get("entry").await, "seq"), MANY + 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_two_heartbeats_is_closed_though_it_speaks() {
    let kit = Kit::with(|settings| {
        large(settings);
        settings.heartbeat = Duration::from_millis(500);
    })
    .await;
    let mut slow = kit.narrow("ben", "slow").await;
    let mut ana = kit.peer("ana", "d").await;
    pour(&mut ana, BEN, MANY).await;
    let start = Instant::now();
    while kit.node.connections() > 1 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "it is still there"
        );
        slow.say(r#"{"t":"ping"}"#).await;
        ana.say(r#"{"t":"ping"}"#).await;
        ana.get("pong").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It held nothing else up, and the device can come again.
    ana.send("after", BEN, "x").await;
    kit.peer("ben", "slow").await;
}

#[tokio::test]
async fn receipts_for_a_client_that_does_not_read_are_merged() {
    const READS: i64 = 200;
    let kit = Kit::with(large).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let mut slow = kit.narrow("ana", "slow").await;
    // A conversation whose receipts come, and another one that fills the pipe before.
    let mut conv = String::new();
    for at in 0..READS {
        conv = text(&ana.send(&format!("r{at}"), BEN, "x").await, "conv");
    }
    pour(&mut ana, EVE, MANY).await;
    for seq in 1..=READS {
        ben.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":{seq}}}"#))
            .await;
        assert_eq!(int(&ana.get("receipt").await, "read"), seq);
    }
    let mut receipts = 0;
    loop {
        let receipt = slow.get("receipt").await;
        receipts += 1;
        if int(&receipt, "read") == READS {
            break;
        }
    }
    assert_eq!(receipts, 1, "of {READS}");
    slow.is_quiet("receipt").await;
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_soon_not_read_either_and_others_are() {
    /// Far more than the buffers between two programs hold.
    const BYTES_MAX: usize = 64 << 20;
    let kit = Kit::start().await;
    let mut slow = kit.narrow("ben", "slow").await;
    let mut ana = kit.peer("ana", "d").await;
    let ping = format!(r#"{{"t":"ping","id":"{}"}}"#, "x".repeat(64));
    let mut written = 0;
    loop {
        let say = tokio::time::timeout(Duration::from_secs(1), slow.say(&ping));
        if say.await.is_err() {
            break;
        }
        written += ping.len();
        assert!(written < BYTES_MAX, "everything is read and kept");
        if written % (1 << 20) < ping.len() {
            ana.say(r#"{"t":"ping"}"#).await;
            ana.get("pong").await;
        }
    }
    ana.send("c1", BEN, "x").await;
}

#[tokio::test]
async fn signs_for_a_client_that_does_not_read_are_dropped() {
    let kit = Kit::with(large).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut slow = kit.narrow("ana", "slow").await;
    let mut convs = Vec::new();
    let mut others = Vec::new();
    for user in ["ben", "cara", "dora"] {
        let to = format!(r#"{{"user":"{user}"}}"#);
        convs.push(text(&ana.send("c", &to, "x").await, "conv"));
        others.push(kit.peer(user, "d").await);
    }
    pour(&mut ana, EVE, MANY).await;
    for (conv, other) in convs.iter().zip(&mut others) {
        other
            .say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#))
            .await;
        // The one that reads gets it.
        assert_eq!(text(&ana.get("typing").await, "conv"), *conv);
    }
    ana.send("last", EVE, "last").await;
    loop {
        let frame = slow.next().await;
        assert_ne!(text(&frame, "t"), "typing");
        if text(&frame, "cm_id") == "last" {
            break;
        }
    }
}
