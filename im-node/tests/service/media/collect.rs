//! What nobody needs goes.

use std::time::Duration;

use im_core::frame::ErrorCode;
use im_core::model::{BlobId, FactTable, Target};

use super::kit::{Shelf, body, until};
use crate::service::kit::user;

/// Long enough to do something before, short enough to wait for.
const SOON: Duration = Duration::from_millis(400);

#[tokio::test]
async fn what_no_message_names_goes_and_what_one_does_stays() {
    let shelf = Shelf::with(|media| media.unnamed = SOON).await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let named = shelf.upload("al", b"picture of both").await;
    let unnamed = shelf.upload("al", b"picture of none").await;
    let seq = shelf.send("al", &conv, "image", named).await.unwrap();
    shelf.gone(unnamed).await;
    // Looked at once, and then no more until a message goes.
    until(async || shelf.due(FactTable::Blob).await == 0).await;
    assert!(shelf.reads("bo", named).await);
    assert_eq!(shelf.usage("al").await, (15, 1));
    let recall = format!(r#"{{"kind":"recall","target":{}}}"#, seq.0);
    shelf.world.body("al", &conv, &recall).await.unwrap();
    shelf.gone(named).await;
    until(async || shelf.due(FactTable::BlobGone).await == 0).await;
    assert_eq!(shelf.usage("al").await, (0, 0));
    assert_eq!(shelf.facts(FactTable::Upload, "al").await, 0);
}

#[tokio::test]
async fn what_is_not_finished_goes() {
    let shelf = Shelf::with(|media| media.upload = SOON).await;
    let id = shelf.create("al", 10).await.unwrap();
    shelf.piece("al", id, 0, b"01234").await.unwrap();
    until(async || shelf.usage("al").await == (0, 0)).await;
    assert!(shelf.blobs.keys().is_empty());
    assert_eq!(
        shelf.piece("al", id, 5, b"5").await,
        Err(ErrorCode::NotFound)
    );
}

#[tokio::test]
async fn a_message_that_ends_takes_its_blob() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let id = shelf.upload("al", b"words").await;
    let mut draft = shelf
        .world
        .draft(Target::Conversation(conv), &body("file", id));
    draft.expires_ms = Some(600);
    shelf.world.send("al", &draft).await.unwrap();
    assert!(shelf.reads("bo", id).await);
    shelf.gone(id).await;
    assert!(!shelf.reads("bo", id).await);
}

#[tokio::test]
async fn what_a_scheduled_message_names_waits_with_it() {
    let shelf = Shelf::with(|media| media.unnamed = Duration::from_millis(100)).await;
    let id = shelf.upload("al", b"words").await;
    let at = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() + 1_000;
    let later = format!(
        r#"{{"cm_id":"later","to":{{"user":"bo"}},"at":{at},"body":{}}}"#,
        body("file", id)
    );
    shelf
        .world
        .gives("al", "messages.schedule", &later, "{}")
        .await;
    until(async || shelf.reads("bo", id).await).await;
    // What one may not send one may not schedule.
    let other = later.replace("later", "other").replace("bo", "dee");
    let refused = shelf.world.call("cy", "messages.schedule", &other).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn one_removes_what_no_message_names() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let (named, unnamed) = (
        shelf.upload("al", b"a").await,
        shelf.upload("al", b"b").await,
    );
    shelf.send("al", &conv, "file", named).await.unwrap();
    let remove = |id: BlobId| format!(r#"{{"blob":"{id}"}}"#);
    let refused = shelf.world.call("al", "media.remove", &remove(named)).await;
    assert_eq!(refused, Err(ErrorCode::Conflict));
    shelf
        .world
        .gives("al", "media.remove", &remove(unnamed), "{}")
        .await;
    shelf.gone(unnamed).await;
    assert!(shelf.reads("bo", named).await);
    assert_eq!(shelf.usage("al").await, (1, 1));
}

/// A blob that is taken away while somebody sends it is sent and stays, or is refused and goes.
#[tokio::test]
async fn a_blob_that_is_sent_as_it_goes() {
    for _ in 0..8 {
        let shelf = Shelf::with(|media| media.unnamed = Duration::from_millis(1)).await;
        let conv = shelf.world.group("al", &["bo"]).await;
        let id = shelf.create("al", 1).await.unwrap();
        shelf.piece("al", id, 0, b"x").await.unwrap();
        shelf.finish("al", id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(15)).await;
        match shelf.send("al", &conv, "file", id).await {
            Ok(_) => {
                until(async || shelf.due(FactTable::Blob).await == 0).await;
                assert!(shelf.reads("bo", id).await);
            }
            Err(code) => {
                assert_eq!(code, ErrorCode::NotFound);
                shelf.gone(id).await;
            }
        }
        assert!(shelf.media.upload(&user("bo"), id).await.is_err());
    }
}
