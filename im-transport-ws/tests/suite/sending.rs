//! What becomes of a `send`.

use std::time::Duration;

use im_testkit::memory::Fault;

use crate::kit::Kit;
use crate::peer::{int, message, text};

const BEN: &str = r#"{"user":"ben"}"#;

#[tokio::test]
async fn a_retry_gets_the_first_result_and_another_body_is_refused() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let first = ana.send("c1", BEN, "one").await;
    assert_eq!((int(&first, "seq"), first.get("dup")), (1, None));
    let again = ana.send("c1", BEN, "one").await;
    assert_eq!(
        (int(&again, "seq"), text(&again, "id")),
        (1, text(&first, "id"))
    );
    assert!(again.get("dup").is_some());
    ana.say(&message("c1", BEN, "two")).await;
    let err = ana.get("err").await;
    assert_eq!(
        (text(&err, "code"), text(&err, "cm_id")),
        ("cm_id_reused".into(), "c1".into())
    );
    assert!(err.get("retry_after_ms").is_none());
    let next = ana.send("c2", BEN, "two").await;
    assert_eq!(int(&next, "seq"), 2);
}

#[tokio::test]
async fn nobody_says_of_their_own_words_that_another_said_them() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let text_of_ben = r#"{"kind":"text","text":"x","forwarded":{"from":"ben","at":1}}"#;
    let merged =
        r#"{"kind":"merged","items":[{"from":"ben","at":1,"body":{"kind":"text","text":"x"}}]}"#;
    // Also when everything about the conversation is known, and nothing must be read.
    for round in 0..2 {
        for (body, code) in [(text_of_ben, "bad_frame"), (merged, "forbidden")] {
            let frame = r#"{"t":"send","cm_id":"f","to":{"user":"ben"},"body":BODY}"#;
            ana.say(&frame.replace("BODY", body)).await;
            assert_eq!(text(&ana.get("err").await, "code"), code, "{body}");
        }
        let sent = ana.send(&format!("c{round}"), BEN, "hi").await;
        assert_eq!(int(&sent, "seq"), round + 1);
    }
}

#[tokio::test]
async fn sends_of_one_connection_keep_their_order() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    for at in 0..50 {
        ana.say(&message(&format!("c{at}"), BEN, &format!("{at}")))
            .await;
    }
    for at in 0..50 {
        let entry = ben.get("entry").await;
        assert_eq!(text(entry.get("body").unwrap(), "text"), at.to_string());
        assert_eq!(int(&entry, "seq"), at + 1);
    }
}

#[tokio::test]
async fn strangers_cannot_tell_a_conversation_that_is_from_one_that_is_not() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let sent = ana.send("c1", BEN, "hi").await;
    let conv = text(&sent, "conv");
    let mut cara = kit.peer("cara", "d").await;
    for conv in [conv.as_str(), "no-such"] {
        let to = format!(r#"{{"conv":"{conv}"}}"#);
        let get = format!(r#"{{"t":"req","id":1,"method":"conv.get","params":{to}}}"#);
        let pull = format!(r#"{{"t":"pull","id":1,"conv":"{conv}","after":0}}"#);
        for frame in [message("x1", &to, "let me in"), pull, get] {
            cara.say(&frame).await;
            let err = cara.get("err").await;
            assert_eq!(text(&err, "code"), "not_found", "{frame}");
            assert_eq!(text(&err, "message"), "no such conversation", "{frame}");
        }
        // Marks and signs of those who are no members are ignored.
        cara.say(&format!(r#"{{"t":"ack","conv":"{conv}","seq":1}}"#))
            .await;
        cara.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":1}}"#))
            .await;
        cara.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#))
            .await;
    }
    ana.is_quiet("typing").await;
    ana.is_quiet("receipt").await;
    cara.is_quiet("err").await;
}

#[tokio::test]
async fn the_servers_own_kinds_and_texts_over_the_limit_are_refused() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    for kind in ["member", "group", "announce", "call", "desk", "erased"] {
        let frame = format!(
            r#"{{"t":"send","cm_id":"{kind}","to":{BEN},"body":{{"kind":"{kind}","op":"add"}}}}"#
        );
        ana.say(&frame).await;
        assert_eq!(ana.refused().await, "forbidden", "{kind}");
    }
    ana.say(&message("long", BEN, &"é".repeat(4_001))).await;
    assert_eq!(ana.refused().await, "too_large");
    // The refused cm_id is free again, and the longest text fits.
    ana.send("long", BEN, &"é".repeat(4_000)).await;
}

#[tokio::test]
async fn who_the_sender_is_comes_from_the_token_alone() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let frame = message("c1", BEN, "hi").replace("{\"t\"", r#"{"from":"ben","seq":9,"at":1,"t""#);
    ana.say(&frame).await;
    let entry = ana.get("entry").await;
    assert_eq!(
        (text(&entry, "from"), int(&entry, "seq")),
        ("ana".into(), 1)
    );
    assert!(int(&entry, "at") > 1);
}

#[tokio::test]
async fn a_store_that_fails_is_unavailable_and_the_retry_stores_once() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    ana.send("c0", BEN, "before").await;
    for (at, fault) in [Fault::FailBefore, Fault::FailAfter]
        .into_iter()
        .enumerate()
    {
        let cm_id = format!("f{at}");
        kit.store.fail_next_write(fault);
        ana.say(&message(&cm_id, BEN, "again")).await;
        let err = ana.get("err").await;
        assert_eq!(text(&err, "code"), "unavailable");
        assert!(int(&err, "retry_after_ms") > 0);
        assert!(!kit.node.is_ready());
        let sent = ana.send(&cm_id, BEN, "again").await;
        assert_eq!(int(&sent, "seq"), at as i64 + 2);
        // A write that took place after all is found again.
        assert_eq!(sent.get("dup").is_some(), at == 1);
        assert!(kit.node.is_ready() || at == 1);
    }
}

#[tokio::test]
async fn a_block_refuses_both_ways_and_ends() {
    let kit = Kit::start().await;
    let mut ana = kit.peer("ana", "d").await;
    let mut ben = kit.peer("ben", "d").await;
    ana.send("c1", BEN, "hi").await;
    ben.call("blocks.add", r#"{"user":"ana"}"#).await;
    ana.say(&message("c2", BEN, "hi?")).await;
    assert_eq!(ana.refused().await, "blocked");
    ben.say(&message("c1", r#"{"user":"ana"}"#, "no")).await;
    assert_eq!(ben.refused().await, "blocked");
    // What was stored before is still answered.
    assert!(ana.send("c1", BEN, "hi").await.get("dup").is_some());
    ben.call("blocks.remove", r#"{"user":"ana"}"#).await;
    ana.send("c2", BEN, "hi?").await;
}

#[tokio::test]
async fn a_node_whose_store_is_back_is_ready_again_though_nobody_sends() {
    let kit = Kit::with(|settings| settings.sweep = Duration::from_millis(100)).await;
    let mut ana = kit.peer("ana", "d").await;
    kit.store.set_writes(Some(Fault::FailBefore));
    ana.say(&message("c1", BEN, "x")).await;
    assert_eq!(ana.refused().await, "unavailable");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!kit.node.is_ready(), "the store is still away");
    kit.store.set_writes(None);
    let heals = async {
        while !kit.node.is_ready() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heals)
        .await
        .unwrap();
}
