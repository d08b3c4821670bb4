//! Who may read a blob, and who may send it.

use im_core::frame::ErrorCode;
use im_core::model::{BlobId, Value};

use super::kit::{Shelf, body};

#[tokio::test]
async fn a_blob_is_read_by_its_uploader_and_where_it_was_said() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let other = shelf.world.group("al", &["cy"]).await;
    let id = shelf.upload("al", b"words").await;
    assert!(shelf.reads("al", id).await);
    assert!(!shelf.reads("bo", id).await);
    shelf.send("al", &conv, "file", id).await.unwrap();
    for (who, reads) in [("al", true), ("bo", true), ("cy", false), ("dee", false)] {
        assert_eq!(shelf.reads(who, id).await, reads, "{who}");
    }
    let there = shelf.read("bo", id, Some(&conv)).await;
    assert_eq!(there.as_deref(), Ok(&b"words"[..]));
    for elsewhere in [Some(&other), None] {
        let read = shelf.read("cy", id, elsewhere).await;
        assert_eq!(read, Err(ErrorCode::NotFound));
    }
    assert_eq!(
        shelf.read("bo", id, Some(&other)).await,
        Err(ErrorCode::NotFound)
    );
    // What there is not, and what one may not read, look the same.
    let none = shelf
        .world
        .call("cy", "media.get", r#"{"blob":"b-0000000000000000"}"#)
        .await;
    let hidden = shelf
        .world
        .call("cy", "media.get", &format!(r#"{{"blob":"{id}"}}"#))
        .await;
    assert_eq!(none, hidden);
}

#[tokio::test]
async fn what_one_may_not_read_one_may_not_send() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let theirs = shelf.world.group("cy", &["dee"]).await;
    let id = shelf.upload("al", b"words").await;
    assert_eq!(
        shelf.send("cy", &theirs, "file", id).await,
        Err(ErrorCode::NotFound)
    );
    shelf.send("al", &conv, "file", id).await.unwrap();
    assert_eq!(
        shelf.send("cy", &theirs, "file", id).await,
        Err(ErrorCode::NotFound)
    );
    assert!(!shelf.reads("dee", id).await);
    // Who may read it may send it on.
    let on = shelf.world.group("bo", &["dee"]).await;
    shelf.send("bo", &on, "file", id).await.unwrap();
    assert!(shelf.reads("dee", id).await);
    // What is no blob at all, or not one yet.
    let open = shelf.create("al", 5).await.unwrap();
    for id in [open, BlobId::of(7)] {
        assert_eq!(
            shelf.send("al", &conv, "file", id).await,
            Err(ErrorCode::NotFound)
        );
    }
    let odd = body("file", open).replace(&open.to_string(), "../../etc/passwd");
    assert_eq!(
        shelf.world.body("al", &conv, &odd).await,
        Err(ErrorCode::NotFound)
    );
}

#[tokio::test]
async fn a_recall_takes_the_right_away() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let id = shelf.upload("al", b"words").await;
    let first = shelf.send("al", &conv, "file", id).await.unwrap();
    let again = shelf.send("al", &conv, "file", id).await.unwrap();
    let recall = |seq: im_core::model::Seq| format!(r#"{{"kind":"recall","target":{}}}"#, seq.0);
    shelf.world.body("al", &conv, &recall(first)).await.unwrap();
    assert!(shelf.reads("bo", id).await, "the other message names it");
    shelf.world.body("al", &conv, &recall(again)).await.unwrap();
    assert!(!shelf.reads("bo", id).await);
    shelf.gone(id).await;
    assert!(!shelf.reads("al", id).await);
    assert_eq!(shelf.usage("al").await, (0, 0));
}

#[tokio::test]
async fn who_left_reads_what_they_saw_and_who_comes_later_what_they_see() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let name = conv.as_str();
    let early = shelf.upload("al", b"early").await;
    shelf.send("al", &conv, "file", early).await.unwrap();
    let set = format!(r#"{{"conv":"{name}","hide_history":true}}"#);
    shelf.world.gives("al", "groups.set", &set, "{}").await;
    let leave = format!(r#"{{"conv":"{name}"}}"#);
    shelf.world.gives("bo", "groups.leave", &leave, "{}").await;
    let add = format!(r#"{{"conv":"{name}","users":["cy"]}}"#);
    shelf.world.gives("al", "groups.add", &add, "{}").await;
    let late = shelf.upload("al", b"late").await;
    shelf.send("al", &conv, "file", late).await.unwrap();
    for (who, reads) in [("bo", (true, false)), ("cy", (false, true))] {
        let read = (shelf.reads(who, early).await, shelf.reads(who, late).await);
        assert_eq!(read, reads, "{who}");
    }
}

#[tokio::test]
async fn the_servers_word_stands_in_the_message() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let picture = shelf.upload("al", b"picture of a cat").await;
    let voice = shelf.upload("al", b"voice of a cat").await;
    let file = shelf.upload("al", b"<svg onload=alert(1)>").await;
    for (kind, id) in [
        ("image", file),
        ("image", voice),
        ("voice", picture),
        ("video", file),
    ] {
        let sent = shelf.send("al", &conv, kind, id).await;
        assert_eq!(sent, Err(ErrorCode::BadFrame), "{kind}");
    }
    shelf.send("al", &conv, "image", picture).await.unwrap();
    shelf.send("al", &conv, "voice", voice).await.unwrap();
    let log = shelf.world.log(&conv).await;
    let field = |back: usize, name: &str| {
        let value = log[log.len() - back].body.value();
        value.get(name).cloned()
    };
    assert_eq!(field(2, "mime"), Some("image/png".into()));
    assert_eq!(field(2, "size"), Some(Value::Int(16)));
    assert_eq!(field(2, "width"), Some(Value::Int(3)));
    assert_eq!(field(1, "mime"), Some("audio/ogg".into()));
    assert_eq!(field(1, "duration_ms"), Some(Value::Int(5)));
}

/// Without a storage, an app's own ids of its own blobs are good.
#[tokio::test]
async fn without_media_ids_are_the_apps() {
    let world = crate::service::kit::World::new().await;
    let conv = world.group("al", &["bo"]).await;
    let body = r#"{"kind":"image","blob":"mine/7","name":"n","size":1,"mime":"image/png"}"#;
    world.body("al", &conv, body).await.unwrap();
    let refused = world.call("al", "media.create", r#"{"size":1}"#).await;
    assert_eq!(refused, Err(ErrorCode::Unsupported));
    assert!(world.node.media().is_none());
}

#[tokio::test]
async fn what_is_forwarded_is_read_there() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let on = shelf.world.group("bo", &["cy"]).await;
    let id = shelf.upload("al", b"picture of a cat").await;
    let other = shelf.upload("al", b"picture of a dog").await;
    let first = shelf.send("al", &conv, "image", id).await.unwrap();
    let second = shelf.send("al", &conv, "image", other).await.unwrap();
    let forward = |seq: im_core::model::Seq, merge: bool| {
        format!(
            r#"{{"conv":"{}","seqs":[{}],"to_conv":"{}","cm_id":"f{}","merge":{merge}}}"#,
            conv.as_str(),
            seq.0,
            on.as_str(),
            seq.0
        )
    };
    for (id, seq, merge) in [(id, first, false), (other, second, true)] {
        assert!(!shelf.reads("cy", id).await);
        let sent = shelf
            .world
            .call("bo", "messages.forward", &forward(seq, merge))
            .await;
        sent.unwrap();
        assert!(shelf.reads("cy", id).await, "{merge}");
    }
}
