//! A store whose every message is written in a transaction of the host program.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, RecordKey,
    Rejected, Store, View, Write,
};
use im_store_sql::{SqliteOptions, SqliteStore};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

/// A connection of the host program to the store's file.
pub(crate) async fn connect(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// How a host program commits.
#[async_trait]
pub(crate) trait Host: Debug + Send + Sync + 'static {
    /// In a transaction of its own.
    async fn commit(&self, commit: &Commit) -> Result<Committed, Rejected>;
}

/// A [`Store`] that commits as a host program does, and reads as usual.
#[derive(Debug)]
pub(crate) struct HostStore<H> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: H,
}

/// A host of an SQLite file: it commits what appends and erases nothing by
/// [`SqliteStore::commit_in`], and everything else as usual.
#[derive(Debug)]
struct SqliteHost {
    store: SqliteStore,
    conn: tokio::sync::Mutex<SqliteConnection>,
}

pub(crate) async fn fresh(merge_every: usize) -> (TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.db");
    let options = SqliteOptions {
        merge_every,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::connect_with(file.to_str().unwrap(), options)
        .await
        .unwrap();
    let host = SqliteHost {
        store: store.clone(),
        conn: tokio::sync::Mutex::new(connect(&file).await),
    };
    let store = Arc::new(store);
    (dir, Arc::new(HostStore { store, host }))
}

#[async_trait]
impl Host for SqliteHost {
    async fn commit(&self, commit: &Commit) -> Result<Committed, Rejected> {
        let appends = |write: &Write| matches!(write, Write::Append(_));
        let erases = |write: &Write| matches!(write, Write::Erase(_));
        if !commit.writes.iter().any(appends) || commit.writes.iter().any(erases) {
            let batch = std::slice::from_ref(commit);
            return self.store.commit(batch).await.remove(0);
        }
        let mut conn = self.conn.lock().await;
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let answer = self.store.commit_in(&mut tx, commit).await;
        match answer {
            Ok(_) => tx.commit().await.unwrap(),
            Err(_) => tx.rollback().await.unwrap(),
        }
        self.store.notice().await?;
        answer
    }
}

#[async_trait]
impl<H: Host> Store for HostStore<H> {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let mut answers = Vec::new();
        for commit in batch {
            answers.push(self.host.commit(commit).await);
        }
        answers
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.store.view(conv, users).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.store.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.store.log(conv, query).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.store.memberships(user, since, limit, detail).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.store.changed(since, limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.store.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.store.facts(query).await
    }
}
