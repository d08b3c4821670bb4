//! Objects as files.

use std::sync::Arc;

use bytes::Bytes;
use im_core::port::{Blobs, ObjectKey, PortErrorKind};
use im_media::DiskBlobs;
use tempfile::TempDir;

async fn fresh() -> (TempDir, Arc<dyn Blobs>) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = DiskBlobs::open(folder.path().join("media")).unwrap();
    (folder, Arc::new(blobs))
}

im_testkit::blobs_suite!(fresh());

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_what_was_not_finished_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = DiskBlobs::open(folder.path()).unwrap();
    let part = key("upload/b-1/0");
    blobs.put(&part, Bytes::from_static(b"part")).await.unwrap();
    // A process that died in the middle leaves a file without a name of its own.
    let unfinished = folder.path().join(".new/1-1");
    std::fs::write(&unfinished, b"half").unwrap();
    let again = DiskBlobs::open(folder.path()).unwrap();
    assert_eq!(
        again.read(&part, 0, 9).await.unwrap().as_deref(),
        Some(&b"part"[..])
    );
    assert_eq!(again.list(&key("upload"), 9).await.unwrap(), [part]);
    // It may be another process's that lives; a day later it is nobody's.
    assert!(unfinished.exists());
    let day = std::time::Duration::from_secs(25 * 3_600);
    let file = std::fs::File::options()
        .write(true)
        .open(&unfinished)
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - day)
        .unwrap();
    DiskBlobs::open(folder.path()).unwrap();
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn nothing_is_made_before_something_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let blobs = DiskBlobs::open(&root).unwrap();
    assert_eq!(blobs.size(&key("x")).await.unwrap(), None);
    assert!(!root.exists());
    blobs.put(&key("x"), Bytes::new()).await.unwrap();
    assert!(root.exists());
}

#[tokio::test]
async fn a_disk_that_refuses_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Where the folder should be stands a file.
    let root = folder.path().join("media");
    std::fs::write(&root, b"").unwrap();
    let open = DiskBlobs::open(&root);
    if let Ok(blobs) = open {
        let error = blobs.put(&key("x"), Bytes::new()).await.unwrap_err();
        assert!(error.is_retryable());
    }
    // A device that is always full.
    let full = std::path::Path::new("/dev/full");
    if full.exists() {
        let root = folder.path().join("full");
        std::fs::create_dir_all(root.join(".new")).unwrap();
        let name = format!(".new/{}-0", std::process::id());
        std::os::unix::fs::symlink(full, root.join(name)).unwrap();
        let blobs = DiskBlobs::open(&root).unwrap();
        let put = blobs.put(&key("x"), Bytes::from_static(b"x")).await;
        assert_eq!(put.unwrap_err().kind(), PortErrorKind::Exhausted);
        assert_eq!(blobs.size(&key("x")).await.unwrap(), None);
        blobs
            .put(&key("x"), Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
}
