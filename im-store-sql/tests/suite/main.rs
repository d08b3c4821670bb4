//! The store's suite on SQLite files, and on the servers that the environment names.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod commit_in;
mod host;
mod search;
#[cfg(all(feature = "postgres", feature = "mysql"))]
mod server;
mod start;
mod words;

use std::sync::Arc;

use im_core::port::Store;
use im_store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

async fn fresh(merge_every: usize) -> (TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let options = SqliteOptions {
        merge_every,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::connect_with(path.to_str().unwrap(), options)
        .await
        .unwrap();
    (dir, Arc::new(store))
}

/// As it is by default: most of what a test writes stays in the tail.
mod in_the_tail {
    im_testkit::store_suite!(super::fresh(8_192));
    im_testkit::cold_store_suite!(super::fresh(8_192));
}

/// Everything moves to the indexes almost at once, while it is read.
mod in_the_indexes {
    im_testkit::store_suite!(super::fresh(3));
    im_testkit::cold_store_suite!(super::fresh(3));
}

/// Every message comes in a transaction of the host program.
mod in_the_hosts_transaction {
    im_testkit::store_suite!(crate::host::fresh(8_192));
    im_testkit::cold_store_suite!(crate::host::fresh(8_192));
}

/// The same, and everything moves to the indexes almost at once.
mod in_the_hosts_transaction_and_the_indexes {
    im_testkit::store_suite!(crate::host::fresh(3));
    im_testkit::cold_store_suite!(crate::host::fresh(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_copies_the_write_ahead_log_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = SqliteStore::connect(path.to_str().unwrap()).await.unwrap();
    assert_eq!(im_core::port::next_start(&store).await.unwrap(), 1);
    store.close().await.unwrap();
    let log = std::fs::metadata(dir.path().join("store.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
}
