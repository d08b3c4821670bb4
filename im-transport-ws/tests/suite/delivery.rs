//! What is pushed, to whom, and what is pulled instead.

use std::time::Duration;

use im_core::model::Value;

use crate::kit::Kit;
use crate::peer::{Peer, int, text};

const BEN: &str = r#"{"user":"ben"}"#;

async fn pull(peer: &mut Peer, conv: &str, after: i64) -> (Vec<i64>, bool) {
    let frame = format!(r#"{{"t":"pull","id":"p","conv":"{conv}","after":{after}}}"#);
    peer.say(&frame).await;
    let page = peer.get("page").await;
    let Some(Value::Array(entries)) = page.get("entries") else {
        panic!("{page:?}")
    };
    let seqs = entries.iter().map(|entry| int(entry, "seq")).collect();
    (seqs, page.get("more") == Some(&Value::Bool(true)))
}

#[tokio::test]
async fn every_device_of_both_gets_the_same_entry() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d1").await;
    let mut ana2 = kit.peer("ana", "d2").await;
    let mut ben = kit.peer("ben", "d1").await;
    let mut ben2 = kit.peer("ben", "d2").await;
    ana.say(&crate::peer::message("c1", BEN, "hi")).await;
    let own = ana.get("entry").await;
    for peer in [&mut ana2, &mut ben, &mut ben2] {
        let event = peer.next().await;
        assert_eq!(
            text(&event, "kind"),
            "conv",
            "the line comes first: {event:?}"
        );
        assert_eq!(peer.next().await, own);
    }
}

#[tokio::test]
async fn a_full_window_says_behind_once_and_goes_on_after_the_pull() {
    let kit = Kit::with(|settings| settings.limits.window = 4).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let conv = text(&ana.send("c1", BEN, "1").await, "conv");
    for at in 2..=7 {
        ana.send(&format!("c{at}"), BEN, "x").await;
        let ack = format!(r#"{{"t":"ack","conv":"{conv}","seq":{at}}}"#);
        ana.say(&ack).await;
    }
    for seq in 1..=4 {
        assert_eq!(int(&ben.get("entry").await, "seq"), seq);
    }
    assert_eq!(int(&ben.get("behind").await, "last_seq"), 5);
    ben.is_quiet("entry").await;
    assert_eq!(pull(&mut ben, &conv, 4).await, (vec![5, 6, 7], false));
    ana.send("c8", BEN, "x").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 8);
}

#[tokio::test]
async fn what_stays_un_acked_too_long_puts_the_conversation_behind() {
    let kit = Kit::with(|settings| settings.limits.ack_ms = 1_000).await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    let conv = text(&ana.send("c1", BEN, "1").await, "conv");
    ben.get("entry").await;
    let behind = ben.get("behind").await;
    assert_eq!((text(&behind, "conv"), int(&behind, "epoch")), (conv, 1));
}

#[tokio::test]
async fn what_was_missed_is_synced_and_pulled_and_joins_what_is_pushed() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut conv = String::new();
    for at in 1..=5 {
        conv = text(&ana.send(&format!("c{at}"), BEN, "x").await, "conv");
    }
    let mut ben = kit.peer("ben", "d").await;
    ben.is_quiet("entry").await;
    ben.say(r#"{"t":"sync","id":1}"#).await;
    let synced = ben.get("synced").await;
    let Some(Value::Array(lines)) = synced.get("convs") else {
        panic!()
    };
    let line = &lines[0];
    assert_eq!((int(line, "last_seq"), int(line, "unread")), (5, 5));
    assert_eq!(pull(&mut ben, &conv, 0).await, (vec![1, 2, 3, 4, 5], false));
    ana.send("c6", BEN, "x").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 6);
    // The token covers all of that but the last.
    let since = text(&synced, "since");
    drop(ben);
    let mut ben = kit.silent().await;
    let hello = format!(r#"{{"t":"hello","token":"ben","device":"d","since":"{since}"}}"#);
    ben.say(&hello).await;
    ben.get("welcome").await;
    let synced = ben.get("synced").await;
    assert!(synced.get("id").is_none() && synced.get("reset").is_none());
    let Some(Value::Array(lines)) = synced.get("convs") else {
        panic!()
    };
    assert_eq!((lines.len(), int(&lines[0], "last_seq")), (1, 6));
    ben.say(r#"{"t":"sync","id":2,"since":"forged"}"#).await;
    assert_eq!(
        ben.get("synced").await.get("reset"),
        Some(&Value::Bool(true))
    );
}

#[tokio::test]
async fn pages_are_cut_both_ways_and_say_whether_there_is_more() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut conv = String::new();
    for at in 1..=7 {
        conv = text(&ana.send(&format!("c{at}"), BEN, "x").await, "conv");
    }
    for (range, seqs, more) in [
        (r#""after":0,"limit":3"#, vec![1, 2, 3], true),
        (r#""after":4,"limit":3"#, vec![5, 6, 7], false),
        (r#""after":7"#, vec![], false),
        (r#""after":99"#, vec![], false),
        (r#""before":8,"limit":2"#, vec![6, 7], true),
        (r#""before":3,"limit":2"#, vec![1, 2], false),
        (r#""before":1"#, vec![], false),
        (
            r#""before":9007199254740991,"limit":9999"#,
            vec![1, 2, 3, 4, 5, 6, 7],
            false,
        ),
    ] {
        ana.say(&format!(r#"{{"t":"pull","id":1,"conv":"{conv}",{range}}}"#))
            .await;
        let page = ana.get("page").await;
        let Some(Value::Array(entries)) = page.get("entries") else {
            panic!()
        };
        let found: Vec<_> = entries.iter().map(|entry| int(entry, "seq")).collect();
        assert_eq!(
            (found, page.get("more")),
            (seqs, Some(&Value::Bool(more))),
            "{range}"
        );
    }
}

#[tokio::test]
async fn a_drain_says_bye_and_refuses_who_comes_meanwhile() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut silent = kit.silent().await;
    let node = kit.node.clone();
    let drain = tokio::spawn(async move { node.shutdown().await });
    for peer in [&mut ana, &mut silent] {
        let bye = peer.get("bye").await;
        assert_eq!(int(&bye, "code"), 1012);
        assert!(matches!(bye.get("reconnect_ms"), Some(Value::Array(range)) if range.len() == 2));
        assert_eq!(peer.closed().await, 1012);
    }
    assert_eq!(Peer::connect(kit.address, "").await.unwrap_err(), 503);
    tokio::time::timeout(Duration::from_secs(10), drain)
        .await
        .unwrap()
        .unwrap();
}
