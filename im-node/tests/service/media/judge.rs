//! Inspection: before anybody reads it.

use im_core::frame::ErrorCode;
use im_core::model::{FactTable, UploadState};
use im_testkit::memory::TestInspect;

use super::kit::{Shelf, until};
use crate::service::kit::user;

#[tokio::test]
async fn a_virus_is_refused_and_removed() {
    let shelf = Shelf::new().await;
    let virus = TestInspect::EICAR.concat();
    let id = shelf.create("al", virus.len()).await.unwrap();
    shelf.piece("al", id, 0, virus.as_bytes()).await.unwrap();
    assert_eq!(shelf.finish("al", id).await, Err(ErrorCode::Rejected));
    assert!(shelf.blobs.keys().is_empty());
    assert_eq!(shelf.usage("al").await, (0, 0));
    assert!(!shelf.reads("al", id).await);
    let conv = shelf.world.group("al", &["bo"]).await;
    assert_eq!(
        shelf.send("al", &conv, "file", id).await,
        Err(ErrorCode::NotFound)
    );
    let upload = shelf.media.upload(&user("al"), id).await.unwrap();
    assert_eq!(upload.state, UploadState::Refused("a virus".to_owned()));
    // Again: the same answer, and it was not looked at a second time.
    assert_eq!(shelf.finish("al", id).await, Err(ErrorCode::Rejected));
    assert_eq!(shelf.inspect.asked(), 1);
}

#[tokio::test]
async fn quarantine_is_read_by_nobody_until_it_is_decided() {
    let shelf = Shelf::new().await;
    let conv = shelf.world.group("al", &["bo"]).await;
    let good = shelf.upload("al", b"quarantine me").await;
    let bad = shelf.upload("al", b"quarantine me too").await;
    for id in [good, bad] {
        assert_eq!(shelf.read("al", id, None).await, Err(ErrorCode::Rejected));
        assert_eq!(shelf.read("bo", id, None).await, Err(ErrorCode::NotFound));
        assert_eq!(
            shelf.send("al", &conv, "file", id).await,
            Err(ErrorCode::NotFound)
        );
    }
    shelf.media.decide(good, true).await.unwrap();
    shelf.media.decide(bad, false).await.unwrap();
    shelf.send("al", &conv, "file", good).await.unwrap();
    assert!(shelf.reads("bo", good).await);
    shelf.gone(bad).await;
    let again = shelf.media.decide(good, false).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::Conflict);
}

/// While the inspection is away nothing is read; when it is back, the node goes on by itself.
#[tokio::test]
async fn what_could_not_be_judged_waits() {
    let shelf = Shelf::new().await;
    shelf.inspect.away(true);
    let id = shelf.create("al", 5).await.unwrap();
    shelf.piece("al", id, 0, b"words").await.unwrap();
    assert_eq!(shelf.finish("al", id).await, Err(ErrorCode::Unavailable));
    assert!(!shelf.reads("al", id).await);
    assert_eq!(shelf.facts(FactTable::Blob, &id.to_string()).await, 0);
    shelf.inspect.away(false);
    shelf.finish("al", id).await.unwrap();
    until(async || shelf.reads("al", id).await).await;
}
