//! Searching SQLite files, with much of the log merged and with none.

use std::sync::Arc;

use im_core::model::Seq;
use im_core::port::{Find, Search, Store, Write};
use im_core::rule::Words;
use im_store_sql::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::words::{commit, create, say, user};

type Searched = (Arc<dyn Store>, Arc<dyn Search>);

async fn fresh(merge_every: usize) -> (TempDir, Searched) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let options = SqliteOptions {
        merge_every,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::connect_with(path.to_str().unwrap(), options)
        .await
        .unwrap();
    (dir, (Arc::new(store.clone()), Arc::new(store)))
}

mod in_the_tail {
    im_testkit::search_suite!(super::fresh(8_192));
}

mod in_the_indexes {
    im_testkit::search_suite!(super::fresh(3));
}

async fn places(search: &dyn Search, words: &str) -> Vec<u64> {
    let find = Find {
        user: user("ben"),
        words: Words::of(words).unwrap(),
        conv: None,
        from: None,
        kind: None,
        since: None,
        until: None,
        before: None,
        limit: 10,
    };
    let found = search.find(&find).await.unwrap();
    found.entries.iter().map(|entry| entry.seq.0).collect()
}

/// What is in the index: how many entries' words.
async fn words_in(file: &std::path::Path) -> i64 {
    let mut conn = crate::host::connect(file).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM im_text_docsize");
    count.fetch_one(&mut conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_goes_on_after_a_restart_and_has_nothing_that_was_erased() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let path = file.to_str().unwrap();
    let store = SqliteStore::connect(path).await.unwrap();
    for commit in [create("g"), say("g", "apple1"), say("g", "apple2")] {
        store.commit(&[commit]).await.remove(0).unwrap();
    }
    assert!(!store.index().await.unwrap());
    assert_eq!(words_in(&file).await, 2);
    store.commit(&[say("g", "apple3")]).await.remove(0).unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = crate::commit_in::reopen(&file).await;
    assert_eq!(places(&store, "app").await, [3, 2, 1]);
    assert!(!store.index().await.unwrap());
    assert_eq!(words_in(&file).await, 3);
    let erase = commit("g", vec![Write::Erase(vec![Seq(1), Seq(3)])]);
    store.commit(&[erase]).await.remove(0).unwrap();
    assert_eq!(words_in(&file).await, 1);
    assert_eq!(places(&store, "app").await, [2]);
    store.close().await.unwrap();
    assert!(!store.index().await.unwrap_or(false));
}
