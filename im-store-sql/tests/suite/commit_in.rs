//! A message and the host program's own row: there together, or not at all.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use im_core::model::{ConversationId, Entry, Seq};
use im_core::port::{Commit, Committed, CursorMove, LogQuery, Rejected, Store as _, Write};
use im_store_sql::{SqliteOptions, SqliteStore};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::host::connect;
use crate::words::{commit, create, say, user};

/// How many tasks write in each way at once.
const TASKS: usize = 4;
/// How many messages each of them writes.
const EACH: usize = 25;
/// Far longer than a write takes that waits for nobody.
const SOON: Duration = Duration::from_secs(2);

/// A store with a group `g` of ana and ben, and the host program's table.
struct Shop {
    file: PathBuf,
    store: SqliteStore,
    _dir: TempDir,
}

impl Shop {
    async fn open(merge_every: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.db");
        let shop = Self {
            store: open(&file, merge_every).await,
            file,
            _dir: dir,
        };
        let made = shop.store.commit(&[create("g"), create("h")]).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        let mut host = shop.host().await;
        run(&mut host, "CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
        shop
    }

    async fn host(&self) -> SqliteConnection {
        connect(&self.file).await
    }

    /// How many orders there are.
    async fn orders(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        count.fetch_one(&mut self.host().await).await.unwrap()
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Rejected> {
        self.store.commit(&[commit]).await.remove(0)
    }

    async fn log(&self, conv: &str) -> Vec<Entry> {
        log(&self.store, conv).await
    }
}

async fn open(file: &std::path::Path, merge_every: usize) -> SqliteStore {
    let options = SqliteOptions {
        merge_every,
        ..SqliteOptions::default()
    };
    SqliteStore::connect_with(file.to_str().unwrap(), options)
        .await
        .unwrap()
}

async fn run(host: &mut SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(host).await.unwrap();
}

async fn log(store: &SqliteStore, conv: &str) -> Vec<Entry> {
    let all = LogQuery::After {
        seq: Seq(0),
        limit: 10_000,
        bytes: 1 << 24,
    };
    store
        .log(&ConversationId::new(conv).unwrap(), all)
        .await
        .unwrap()
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .map(|it| it.body.as_text().unwrap_or_default())
        .collect()
}

fn read(conv: &str, seq: u64) -> Commit {
    let to = CursorMove {
        user: user("ben"),
        delivered: None,
        read: Some(Seq(seq)),
    };
    commit(conv, vec![Write::Cursor(to)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_is_in_neither_table_and_its_place_is_given_again() {
    let shop = Shop::open(8_192).await;
    shop.commit(say("g", "before")).await.unwrap();
    let mut host = shop.host().await;
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    run(&mut tx, "INSERT INTO orders VALUES (1)").await;
    for text in ["one", "two"] {
        shop.store
            .commit_in(&mut tx, &say("g", text))
            .await
            .unwrap();
    }
    tx.rollback().await.unwrap();
    shop.store.notice().await.unwrap();
    assert_eq!(shop.orders().await, 0);
    assert_eq!(texts(&shop.log("g").await), ["before"]);
    let next = shop.commit(say("g", "after")).await.unwrap();
    assert_eq!(next.appended[0].seq, Seq(2));
    // Also the cm_id is free again.
    let again = shop.commit(say("g", "one")).await.unwrap();
    assert_eq!(
        (again.appended[0].seq, again.appended[0].dup),
        (Seq(3), false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_in_both_tables_and_stays() {
    let shop = Shop::open(8_192).await;
    let mut host = shop.host().await;
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    run(&mut tx, "INSERT INTO orders VALUES (1)").await;
    let mut last = None;
    for text in ["one", "two"] {
        last = Some(
            shop.store
                .commit_in(&mut tx, &say("g", text))
                .await
                .unwrap(),
        );
    }
    assert_eq!(last.unwrap().appended[0].seq, Seq(2));
    // Nobody sees it before.
    shop.store.notice().await.unwrap();
    assert_eq!(shop.log("g").await, []);
    tx.commit().await.unwrap();
    shop.store.notice().await.unwrap();
    assert_eq!(shop.orders().await, 1);
    assert_eq!(texts(&shop.log("g").await), ["one", "two"]);
    // A retry from either side finds it.
    let retry = shop.commit(say("g", "two")).await.unwrap();
    assert_eq!(
        (retry.appended[0].seq, retry.appended[0].dup),
        (Seq(2), true)
    );
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let retry = shop
        .store
        .commit_in(&mut tx, &say("g", "one"))
        .await
        .unwrap();
    assert_eq!(
        (retry.appended[0].seq, retry.appended[0].dup),
        (Seq(1), true)
    );
    tx.commit().await.unwrap();
    let file = shop.file.clone();
    shop.store.close().await.unwrap();
    let Shop {
        _dir: dir, store, ..
    } = shop;
    drop(store);
    assert_eq!(texts(&log(&reopen(&file).await, "g").await), ["one", "two"]);
    drop(dir);
}

/// Opens a file again as soon as its last owner has let go of it.
pub(crate) async fn reopen(file: &std::path::Path) -> SqliteStore {
    for _ in 0..100 {
        match SqliteStore::connect(file.to_str().unwrap()).await {
            Ok(store) => return store,
            Err(im_store_sql::OpenError::InUse(_)) => tokio::time::sleep(SOON / 20).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the file stays in use");
}

/// A change by the store itself takes a number in the order of changes too; what the host wrote
/// meanwhile must not be taken for something that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_the_hosts_is_found_whatever_the_store_itself_wrote_since() {
    for (at, own) in [
        read("h", 1),
        create("new"),
        say("h", "own"),
        say("g", "own too"),
    ]
    .into_iter()
    .enumerate()
    {
        let shop = Shop::open(3).await;
        shop.commit(say("h", "first")).await.unwrap();
        let mut host = shop.host().await;
        let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
        shop.store
            .commit_in(&mut tx, &say("g", "theirs"))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        shop.commit(own).await.unwrap();
        shop.store.notice().await.unwrap();
        let found = texts(&shop.log("g").await);
        assert_eq!(found.first().map(String::as_str), Some("theirs"), "{at}");
        let next = shop.commit(say("g", "last")).await.unwrap();
        let expected = if at == 3 { Seq(3) } else { Seq(2) };
        assert_eq!(next.appended[0].seq, expected, "{at}");
        assert!(seqs(&shop.log("g").await).is_sorted(), "{at}");
    }
}

/// The same, with nobody looking in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_the_host_began_goes_on_where_it_stands() {
    for own in [say("new", "own"), read("h", 1), say("h", "own")] {
        let shop = Shop::open(8_192).await;
        shop.commit(say("h", "first")).await.unwrap();
        let mut host = shop.host().await;
        let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut begin = create("new");
        begin.writes.extend(say("new", "theirs").writes);
        shop.store.commit_in(&mut tx, &begin).await.unwrap();
        tx.commit().await.unwrap();
        shop.commit(own).await.unwrap();
        shop.commit(say("new", "last")).await.unwrap();
        let found = shop.log("new").await;
        assert_eq!(found[0].body.as_text().as_deref(), Some("theirs"));
        let dense: Vec<u64> = (1..=found.len() as u64).collect();
        assert_eq!(seqs(&found), dense);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_at_once_leave_a_log_without_a_gap_and_each_message_once() {
    for merge_every in [3, 8_192] {
        let shop = Shop::open(merge_every).await;
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (store, mut host) = (shop.store.clone(), shop.host().await);
            tasks.spawn(async move {
                for n in 0..EACH {
                    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
                    let text = format!("host {task} {n}");
                    let done = store.commit_in(&mut tx, &say("g", &text)).await.unwrap();
                    assert!(!done.appended[0].dup);
                    tx.commit().await.unwrap();
                    if n % 3 == 0 {
                        store.notice().await.unwrap();
                    }
                }
            });
            let store = shop.store.clone();
            tasks.spawn(async move {
                for n in 0..EACH {
                    let text = format!("own {task} {n}");
                    let batch = [say("g", &text), read("g", n as u64), say("h", &text)];
                    let quiet = &batch[..if n % 2 == 0 { 1 } else { 3 }];
                    for answer in store.commit(quiet).await {
                        answer.unwrap();
                    }
                }
            });
        }
        tasks.join_all().await;
        let all = 2 * TASKS * EACH;
        shop.store.notice().await.unwrap();
        let found = shop.log("g").await;
        assert_eq!(seqs(&found), (1..=all as u64).collect::<Vec<_>>());
        let once: BTreeSet<_> = texts(&found).into_iter().collect();
        assert_eq!(once.len(), all);
        let file = shop.file.clone();
        let Shop {
            _dir: dir, store, ..
        } = shop;
        drop(store);
        assert_eq!(log(&reopen(&file).await, "g").await, found);
        drop(dir);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_half_way_holds_nobody_up() {
    let shop = Shop::open(8_192).await;
    for n in 0..3 {
        let mut host = shop.host().await;
        let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
        run(&mut tx, "INSERT INTO orders VALUES (1)").await;
        shop.store
            .commit_in(&mut tx, &say("g", "lost"))
            .await
            .unwrap();
        match n {
            0 => drop(tx),
            // With its connection, in the middle of another write.
            1 => {
                let commit = say("g", "lost too");
                let mut half = Box::pin(shop.store.commit_in(&mut tx, &commit));
                let _ = tokio::time::timeout(Duration::ZERO, &mut half).await;
                drop(half);
                drop(tx);
                drop(host);
            }
            // The task that held it is gone.
            _ => {
                drop(tx);
                tokio::spawn(async move { drop(host) }).await.unwrap();
            }
        }
        let text = format!("after {n}");
        let own = shop.commit(say("g", &text));
        let done = tokio::time::timeout(SOON, own).await.unwrap().unwrap();
        assert_eq!(done.appended[0].seq, Seq(n + 1));
    }
    assert_eq!(
        texts(&shop.log("g").await),
        ["after 0", "after 1", "after 2"]
    );
    assert_eq!(shop.orders().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_wait_for_a_long_transaction_no_longer_than_they_are_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let options = SqliteOptions {
        busy_timeout_ms: 200,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::connect_with(file.to_str().unwrap(), options)
        .await
        .unwrap();
    store.commit(&[create("g")]).await.remove(0).unwrap();
    let mut host = connect(&file).await;
    let tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let commit = [say("g", "waits")];
    let refused = tokio::time::timeout(SOON, store.commit(&commit))
        .await
        .unwrap()
        .remove(0);
    let Err(Rejected::Store(error)) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.is_retryable());
    assert_eq!(log(&store, "g").await, []);
    drop(tx);
    let done = store.commit(&commit).await.remove(0).unwrap();
    assert_eq!(done.appended[0].seq, Seq(1));
}
