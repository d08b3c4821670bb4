//! Uploads: in pieces, over restarts, within what a user may have.

use std::sync::Arc;

use im_core::frame::ErrorCode;
use im_core::model::{BlobId, NodeId, UploadState, Value};
use im_core::port::{PortErrorKind, Store};
use im_node::{Node, PART_BYTES, Settings};
use im_testkit::memory::TokenTable;

use super::kit::{Shelf, piece, ports};
use crate::service::kit::user;

#[tokio::test]
async fn pieces_make_a_whole() {
    let shelf = Shelf::new().await;
    let all: Vec<u8> = (0..PART_BYTES + 9_000).map(|at| (at % 251) as u8).collect();
    let id = shelf.create("al", all.len()).await.unwrap();
    let mut offset = 0;
    for len in [1, 4_000, 0, PART_BYTES + 1, 4_998] {
        let end = all.len().min(offset + len);
        let at = shelf.piece("al", id, offset, &all[offset..end]).await;
        assert_eq!(at, Ok(end as u64));
        offset = end;
    }
    shelf.finish("al", id).await.unwrap();
    let blob = shelf.media.finish(&user("al"), id).await.unwrap();
    assert_eq!(
        (blob.size, blob.name.as_str()),
        (all.len() as u64, "ab.bin")
    );
    let mut read = Vec::new();
    let opened = shelf
        .media
        .open(&user("al"), id, None, false)
        .await
        .unwrap();
    while read.len() < all.len() {
        let part = opened.content.read(read.len() as u64, 300_000).await;
        read.extend_from_slice(&part.unwrap());
    }
    assert!(read == all);
    let left: Vec<_> = shelf.blobs.keys();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_piece_goes_on_where_the_upload_is() {
    let shelf = Shelf::new().await;
    let id = shelf.create("al", 10).await.unwrap();
    for offset in [1, 10, 11] {
        let refused = shelf.piece("al", id, offset, b"x").await;
        assert_eq!(refused, Err(ErrorCode::Conflict));
    }
    shelf.piece("al", id, 0, b"01234").await.unwrap();
    assert_eq!(
        shelf.piece("al", id, 0, b"01234").await,
        Err(ErrorCode::Conflict)
    );
    assert_eq!(shelf.finish("al", id).await, Err(ErrorCode::Conflict));
    assert_eq!(
        shelf.piece("al", id, 5, b"567890").await,
        Err(ErrorCode::TooLarge)
    );
    let (_, count) = shelf.usage("al").await;
    assert_eq!(count, 1);
    shelf.piece("al", id, 5, b"56789").await.unwrap();
    shelf.finish("al", id).await.unwrap();
    assert_eq!(
        shelf.piece("al", id, 10, b"").await,
        Err(ErrorCode::Conflict)
    );
    assert_eq!(
        shelf.read("al", id, None).await.as_deref(),
        Ok(&b"0123456789"[..])
    );
}

#[tokio::test]
async fn of_two_pieces_at_once_one_counts() {
    let shelf = Shelf::new().await;
    let id = shelf.create("al", 8).await.unwrap();
    let one = shelf.media.receive(&user("al"), id, 0, false).await;
    let two = shelf.media.receive(&user("al"), id, 0, false).await;
    let (mut one, mut two) = (one.unwrap(), two.unwrap());
    one.push(b"aaaa".as_slice().into()).await.unwrap();
    two.push(b"bbbb".as_slice().into()).await.unwrap();
    two.commit().await.unwrap();
    let late = one.commit().await.unwrap_err();
    assert_eq!(late.code, ErrorCode::Conflict);
    shelf.piece("al", id, 4, b"cccc").await.unwrap();
    shelf.finish("al", id).await.unwrap();
    assert_eq!(
        shelf.read("al", id, None).await.as_deref(),
        Ok(&b"bbbbcccc"[..])
    );
    assert_eq!(shelf.blobs.keys().len(), 1);
}

#[tokio::test]
async fn an_upload_is_its_users_alone() {
    let shelf = Shelf::new().await;
    let id = shelf.create("al", 5).await.unwrap();
    assert_eq!(
        shelf.piece("bo", id, 0, b"x").await,
        Err(ErrorCode::NotFound)
    );
    assert_eq!(shelf.finish("bo", id).await, Err(ErrorCode::NotFound));
    for call in ["media.get", "media.remove", "media.finish", "media.link"] {
        let params = format!(r#"{{"blob":"{id}"}}"#);
        let refused = shelf.world.call("bo", call, &params).await;
        assert_eq!(refused, Err(ErrorCode::NotFound), "{call}");
    }
    assert!(shelf.media.upload(&user("bo"), id).await.is_err());
    shelf.piece("al", id, 0, b"01234").await.unwrap();
}

#[tokio::test]
async fn a_user_has_no_more_than_they_may() {
    let shelf = Shelf::with(|media| {
        media.bytes_max = 100;
        media.user_bytes_max = 250;
        media.user_count_max = 4;
    })
    .await;
    assert_eq!(shelf.create("al", 101).await, Err(ErrorCode::TooLarge));
    let first = shelf.create("al", 100).await.unwrap();
    shelf.create("al", 100).await.unwrap();
    assert_eq!(shelf.create("al", 51).await, Err(ErrorCode::TooLarge));
    shelf.create("al", 50).await.unwrap();
    shelf.create("al", 0).await.unwrap();
    assert_eq!(shelf.create("al", 0).await, Err(ErrorCode::TooLarge));
    assert_eq!(shelf.usage("al").await, (250, 4));
    shelf.create("bo", 100).await.unwrap();
    let params = format!(r#"{{"blob":"{first}"}}"#);
    shelf.world.gives("al", "media.remove", &params, "{}").await;
    assert_eq!(shelf.usage("al").await, (150, 3));
    shelf.create("al", 100).await.unwrap();
}

/// Many at once don't pass together: the count changes with the uploads.
#[tokio::test]
async fn side_by_side_is_no_way_around_what_one_may_have() {
    let shelf = Shelf::with(|media| media.user_count_max = 5).await;
    let shelf = Arc::new(shelf);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let shelf = Arc::clone(&shelf);
            tokio::spawn(async move { shelf.create("al", 1).await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += i64::from(task.await.unwrap());
    }
    assert!((1..=5).contains(&made), "{made}");
    assert_eq!(shelf.usage("al").await, (made, made));
}

#[tokio::test]
async fn uploads_that_come_at_once_are_bounded() {
    let shelf = Shelf::with(|media| media.uploads_max = 9).await;
    let mut coming = Vec::new();
    for n in 0..12 {
        let id = shelf.create("al", 1).await.unwrap();
        let receiving = shelf.media.receive(&user("al"), id, 0, false).await;
        assert_eq!(receiving.is_ok(), n < 8, "{n}");
        coming.extend(receiving);
    }
    let other = shelf.create("bo", 1).await.unwrap();
    let theirs = shelf
        .media
        .receive(&user("bo"), other, 0, false)
        .await
        .unwrap();
    let third = shelf.create("cy", 1).await.unwrap();
    let late = shelf
        .media
        .receive(&user("cy"), third, 0, false)
        .await
        .unwrap_err();
    assert_eq!(late.code, ErrorCode::Busy);
    assert!(late.retry_after_ms.is_some());
    drop((coming, theirs));
    shelf.piece("cy", third, 0, b"x").await.unwrap();
}

#[tokio::test]
async fn an_upload_goes_on_at_another_node() {
    let shelf = Shelf::new().await;
    let id = shelf.create("al", 10).await.unwrap();
    shelf.piece("al", id, 0, b"01234").await.unwrap();
    shelf.world.node.kill();
    let settings = Settings {
        node: NodeId::new("node-2").unwrap(),
        ..Settings::default()
    };
    let store = Arc::clone(&shelf.world.store) as Arc<dyn Store>;
    let node = Node::builder(store, Arc::new(TokenTable::of_users(&[])))
        .settings(settings)
        .media(ports(&shelf.blobs, &shelf.inspect));
    let node = node.start().await.unwrap();
    let media = node.media().unwrap();
    assert_eq!(media.upload(&user("al"), id).await.unwrap().offset(), 5);
    piece(&media, "al", id, 5, b"56789").await.unwrap();
    let blob = media.finish(&user("al"), id).await.unwrap();
    let sum = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    assert_eq!((blob.size, blob.sha256.as_str()), (10, sum));
}

#[tokio::test]
async fn a_storage_that_fails_is_said_and_nothing_is_lost() {
    let shelf = Shelf::new().await;
    let id = shelf.create("al", 10).await.unwrap();
    shelf.piece("al", id, 0, b"01234").await.unwrap();
    for kind in [PortErrorKind::Unavailable, PortErrorKind::Exhausted] {
        shelf.blobs.fail(Some(kind));
        let refused = shelf.piece("al", id, 5, b"56789").await;
        assert_eq!(refused, Err(ErrorCode::Unavailable));
        shelf.blobs.fail(None);
    }
    shelf.piece("al", id, 5, b"56789").await.unwrap();
    shelf.blobs.fail(Some(PortErrorKind::Unavailable));
    assert_eq!(shelf.finish("al", id).await, Err(ErrorCode::Unavailable));
    shelf.blobs.fail(None);
    shelf.finish("al", id).await.unwrap();
    assert_eq!(
        shelf.read("al", id, None).await.as_deref(),
        Ok(&b"0123456789"[..])
    );
}

#[tokio::test]
async fn what_was_said_of_the_whole_must_be_so() {
    let shelf = Shelf::new().await;
    let create = |sum: &str| format!(r#"{{"size":3,"name":"x","sha256":"{sum}"}}"#);
    let sum = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
    for (bytes, good) in [(b"abc", true), (b"abd", false)] {
        let made = shelf
            .world
            .call("al", "media.create", &create(sum))
            .await
            .unwrap();
        let id = made.get("blob").and_then(Value::as_text).unwrap();
        let id = BlobId::parse(id).unwrap();
        shelf.piece("al", id, 0, bytes).await.unwrap();
        let finished = shelf.finish("al", id).await;
        assert_eq!(finished.is_ok(), good);
        let upload = shelf.media.upload(&user("al"), id).await.unwrap();
        assert_eq!(matches!(upload.state, UploadState::Refused(_)), !good);
    }
    assert_eq!(shelf.usage("al").await, (3, 1));
    for bad in ["", "x", &"g".repeat(64)] {
        let refused = shelf.world.call("al", "media.create", &create(bad)).await;
        assert_eq!(refused, Err(ErrorCode::BadFrame), "{bad}");
    }
    let refused = shelf
        .world
        .call("al", "media.create", r#"{"size":1,"mime":"a\nb/c"}"#)
        .await;
    assert_eq!(refused, Err(ErrorCode::BadFrame));
}

#[tokio::test]
async fn an_upload_by_url_is_checked_when_it_is_there() {
    let shelf = Shelf::new().await;
    let by_url = r#"{"size":5,"by_url":true,"name":"x"}"#;
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let made = shelf
            .world
            .call("al", "media.create", by_url)
            .await
            .unwrap();
        let text = |field| made.get(field).and_then(Value::as_text).unwrap().to_owned();
        let key = text("url").replace("memory:Put/", "");
        keys.push(im_core::port::ObjectKey::parse(&key).unwrap());
        ids.push(BlobId::parse(&text("blob")).unwrap());
    }
    assert_eq!(shelf.finish("al", ids[0]).await, Err(ErrorCode::Conflict));
    assert_eq!(
        shelf.piece("al", ids[0], 0, b"x").await,
        Err(ErrorCode::Conflict)
    );
    let put = async |n: usize, bytes: &'static [u8]| {
        let blobs: &dyn im_core::port::Blobs = &*shelf.blobs;
        blobs.put(&keys[n], bytes.into()).await.unwrap();
    };
    put(0, b"01234").await;
    put(1, b"0123456789").await;
    shelf.finish("al", ids[0]).await.unwrap();
    // Who still has the URL writes nothing that anybody reads.
    put(0, b"other").await;
    assert_eq!(
        shelf.read("al", ids[0], None).await.as_deref(),
        Ok(&b"01234"[..])
    );
    assert_eq!(shelf.finish("al", ids[1]).await, Err(ErrorCode::Rejected));
    assert_eq!(shelf.usage("al").await, (5, 1));
    let link = format!(r#"{{"blob":"{}"}}"#, ids[0]);
    let given = shelf.world.call("al", "media.link", &link).await.unwrap();
    assert!(given.to_json().contains("memory:Get/blob/"));
}

#[tokio::test]
async fn a_request_with_a_key_makes_one_upload() {
    let shelf = Shelf::new().await;
    let service = shelf.world.node.service();
    let mut made = Vec::new();
    for _ in 0..3 {
        let params = Value::from_json(r#"{"size":1}"#).unwrap();
        let key = Some("k".to_owned());
        made.push(
            service
                .call(&user("al"), "media.create", params, key)
                .await
                .unwrap(),
        );
    }
    made.dedup();
    assert_eq!(made.len(), 1);
    assert_eq!(shelf.usage("al").await, (1, 1));
}
