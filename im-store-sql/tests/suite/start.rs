//! Opening a file: whose it is, how old, and how much is in it.

use std::path::Path;
use std::time::{Duration, Instant};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, LogQuery, NewConversation, Store as _, Write};
use im_store_sql::{OpenError, SqliteOptions, SqliteStore, Synchronous};
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::host::connect;

/// Conversations and entries of a file that has been used for a while.
const CONVERSATIONS: u64 = 5_000;
const EACH: u64 = 12;
/// How long a start may take, on a busy machine and without optimization.
const START: Duration = Duration::from_secs(5);

async fn open(file: &Path) -> Result<SqliteStore, OpenError> {
    let options = SqliteOptions {
        synchronous: Synchronous::Off,
        ..SqliteOptions::default()
    };
    SqliteStore::connect_with(file.to_str().unwrap(), options).await
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let store = open(&file).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let mut host = connect(&file).await;
    sqlx::query(
        "INSERT INTO im_migration (version, description, success, checksum, execution_time) \
         VALUES (999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut host)
    .await
    .unwrap();
    for _ in 0..2 {
        // The last owner may take a moment to let go.
        let refused = loop {
            match open(&file).await {
                Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                opened => break opened.unwrap_err(),
            }
        };
        assert!(
            matches!(
                refused,
                OpenError::Newer {
                    found: 999,
                    known: 4
                }
            ),
            "{refused:?}"
        );
    }
}

/// The host program's tables are its own: whatever they are called, and whoever migrates them.
#[tokio::test]
async fn the_hosts_tables_and_its_migrations_stand_beside() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.db");
    std::fs::write(&file, "").unwrap();
    let migrate = async || {
        let text = "CREATE TABLE conversation (x); CREATE TABLE member (x); \
             CREATE TABLE entry (x); CREATE TABLE block (x); CREATE TABLE meta (x);";
        let text = sqlx::SqlSafeStr::into_sql_str(text);
        let of_host = Migration::new(1, "app".into(), MigrationType::Simple, text, false);
        let mut host = connect(&file).await;
        Migrator::with_migrations(vec![of_host])
            .run(&mut host)
            .await
            .unwrap();
    };
    migrate().await;
    let store = open(&file).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    migrate().await;
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    let text = "these are my notes, and no database\n".repeat(200);
    std::fs::write(&file, &text).unwrap();
    assert!(open(&file).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    for address in ["", "postgres://x", ":memory:", "sqlite://"] {
        let refused = SqliteStore::connect(address).await.unwrap_err();
        assert!(
            matches!(refused, OpenError::Address(_)),
            "{address}: {refused:?}"
        );
    }
}

fn commits(round: u64) -> Vec<Commit> {
    let members = ["al", "bo"].map(|id| (UserId::new(id).unwrap(), Role::Member));
    let commit = |conv: u64| {
        let mut writes = Vec::new();
        if round == 0 {
            writes.push(Write::Create(NewConversation {
                kind: ConversationKind::Group,
                title: None,
                hide_history: false,
                members: members.to_vec(),
            }));
        }
        writes.push(Write::Append(NewEntry {
            id: MessageId(round * CONVERSATIONS + conv),
            from: members[0].0.clone(),
            at: Timestamp(1_790_000_000_000),
            cm_id: Some(CmId::new(format!("m{round}")).unwrap()),
            digest: round,
            body: Body::text("a text of some length, as people write them"),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        }));
        Commit {
            conv: ConversationId::new(format!("g{conv}")).unwrap(),
            expect_version: None,
            actor: None,
            writes,
        }
    };
    (0..CONVERSATIONS).map(commit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_reads_what_is_not_merged_and_not_the_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let store = open(&file).await.unwrap();
    for round in 0..EACH {
        for chunk in commits(round).chunks(1_000) {
            for answer in store.commit(chunk).await {
                answer.unwrap();
            }
        }
    }
    // As a kill leaves it: nothing is closed.
    drop(store);
    let (again, start) = loop {
        let start = Instant::now();
        match open(&file).await {
            Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            opened => break (opened.unwrap(), start),
        }
    };
    im_core::port::next_start(&again).await.unwrap();
    let took = start.elapsed();
    eprintln!("{} entries: {took:?}", CONVERSATIONS * EACH);
    assert!(took < START, "{took:?}");
    for conv in [0, CONVERSATIONS / 2, CONVERSATIONS - 1] {
        let all = LogQuery::After {
            seq: Seq(0),
            limit: 100,
            bytes: 1 << 20,
        };
        let conv = ConversationId::new(format!("g{conv}")).unwrap();
        assert_eq!(again.log(&conv, all).await.unwrap().len() as u64, EACH);
    }
}
