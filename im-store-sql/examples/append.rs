//! How many rows a second `Store::commit` takes, beside plain sqlx with the same rows in the same
//! batches on the same kind of file: `cargo run --release -p im-store-sql --example append`.
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]

use std::time::{Duration, Instant};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Timestamp,
    UserId,
};
use im_core::port::{Commit, NewConversation, Store, Write};
use im_store_sql::SqliteStore;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{Arguments, AssertSqlSafe, Connection, SqlSafeStr};

const CONVERSATIONS: usize = 200;
const SECONDS: u64 = 4;

#[tokio::main]
async fn main() {
    println!(
        "{:>6} {:>12} {:>12} {:>6}",
        "batch", "plain row/s", "store row/s", "share"
    );
    for batch in [1, 10, 100, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let mut best = (0.0_f64, 0.0_f64);
        // In turn, twice: the machine's disk is shared.
        for round in 0..2 {
            let path = dir.path().join(format!("plain-{round}.db"));
            best.0 = best.0.max(plain(path.to_str().unwrap(), batch).await);
            let path = dir.path().join(format!("store-{round}.db"));
            best.1 = best.1.max(store(path.to_str().unwrap(), batch).await);
        }
        let share = 100.0 * best.1 / best.0;
        println!("{batch:>6} {:>12.0} {:>12.0} {share:>5.0}%", best.0, best.1);
    }
}

fn body() -> Body {
    Body::text("x".repeat(128))
}

/// One table with the place and the client's id unique, as one would write it first.
async fn plain(path: &str, batch: usize) -> f64 {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE im_entry (conv INTEGER, seq INTEGER, id INTEGER, sender TEXT, at INTEGER, \
         cm_id TEXT, kind TEXT, body TEXT, PRIMARY KEY (conv, seq), \
         UNIQUE (conv, sender, cm_id)) WITHOUT ROWID",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let rows = batch.min(256);
    let values = vec!["(?,?,?,?,?,?,?,?)"; rows].join(",");
    let sql = AssertSqlSafe(format!("INSERT INTO im_entry VALUES {values}")).into_sql_str();
    let (body, mut n) = (body(), 0_usize);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(SECONDS) {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for _ in 0..batch.div_ceil(rows) {
            let mut to = SqliteArguments::default();
            for _ in 0..rows {
                let conv = n % CONVERSATIONS;
                to.add(conv as i64).unwrap();
                to.add((n / CONVERSATIONS) as i64).unwrap();
                to.add(n as i64).unwrap();
                to.add(format!("user-{conv}")).unwrap();
                to.add(n as i64).unwrap();
                to.add(format!("m-{n:012}")).unwrap();
                to.add("text").unwrap();
                to.add(std::sync::Arc::clone(body.json())).unwrap();
                n += 1;
            }
            sqlx::query_with(sql.clone(), to)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
    n as f64 / started.elapsed().as_secs_f64()
}

async fn store(path: &str, batch: usize) -> f64 {
    let store = SqliteStore::connect(path).await.unwrap();
    let conv = |n: usize| ConversationId::new(format!("conv-{n}")).unwrap();
    let user = |n: usize| UserId::new(format!("user-{n}")).unwrap();
    let made: Vec<Commit> = (0..CONVERSATIONS)
        .map(|n| Commit {
            conv: conv(n),
            expect_version: None,
            actor: None,
            writes: vec![Write::Create(NewConversation {
                kind: ConversationKind::Group,
                title: None,
                hide_history: false,
                members: vec![(user(n), Role::Owner)],
            })],
        })
        .collect();
    assert!(store.commit(&made).await.iter().all(Result::is_ok));
    let (body, mut n) = (body(), 0_usize);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(SECONDS) {
        let commits: Vec<Commit> = (0..batch)
            .map(|_| {
                n += 1;
                append(conv(n % CONVERSATIONS), user(n % CONVERSATIONS), n, &body)
            })
            .collect();
        assert!(store.commit(&commits).await.iter().all(Result::is_ok));
    }
    let rate = n as f64 / started.elapsed().as_secs_f64();
    store.close().await.unwrap();
    rate
}

fn append(conv: ConversationId, from: UserId, n: usize, body: &Body) -> Commit {
    let entry = NewEntry {
        id: MessageId(n as u64),
        from,
        at: Timestamp(n as i64),
        cm_id: Some(CmId::new(format!("m-{n:012}")).unwrap()),
        digest: n as u64,
        body: body.clone(),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv,
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}
