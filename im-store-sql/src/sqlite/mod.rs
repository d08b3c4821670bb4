//! SQLite: the embedded default.
//!
//! One connection writes, a few read. A commit appends to one table, in commit order, and nothing
//! else; a merge fills the indexes from it later, in sorted runs (`docs/decisions/` says what that
//! saves). What is not merged yet is kept in memory, and read back from the file at the start.

mod commit_in;
mod conversations;
mod facts;
mod lock;
mod log;
mod lookup;
mod members;
mod merge;
mod open;
mod ops;
mod read;
mod records;
mod rows;
mod search;
mod statement;
mod tail;
mod work;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Seq, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, RecordKey,
    Rejected, Store, View,
};
use parking_lot::Mutex;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::Notify;

use tail::Tail;
use writer::Writer;

/// How hard SQLite makes sure that what was committed outlives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Every commit is fsynced before it is answered.
    #[default]
    Full,
    /// The log is fsynced at checkpoints: a loss of power may take the last commits, a crash of
    /// the process takes none.
    Normal,
    /// Nothing is fsynced: a loss of power may damage the file.
    Off,
}

/// Settings of the store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// When commits are safe from a loss of power.
    pub synchronous: Synchronous,
    /// The indexes are filled when so many entries wait for it.
    pub merge_every: usize,
    /// Connections that read.
    pub readers: u32,
    /// How long a write waits for another connection's transaction (the host program's own on the
    /// same file), in milliseconds.
    pub busy_timeout_ms: u64,
    /// The most pages of 4 KiB that the file may have; none: as the disk allows.
    pub pages_max: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            merge_every: 8_192,
            readers: 2,
            busy_timeout_ms: 4_000,
            pages_max: None,
        }
    }
}

/// A store in one SQLite file. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: SqliteOptions,
    tail: Mutex<Tail>,
    writer: tokio::sync::Mutex<Writer>,
    readers: SqlitePool,
    /// One connection for all who search, so that no other read waits for them.
    searcher: SqlitePool,
    /// Copies the write-ahead log back, beside the writer.
    checkpointer: tokio::sync::Mutex<SqliteConnection>,
    /// The outcome of the last write is unknown, or somebody else has written: look before the
    /// next.
    suspect: AtomicBool,
    /// The tail is long enough for a merge.
    full: Notify,
    closed: AtomicBool,
    /// Held as long as the store is open.
    _lock: lock::FileLock,
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        self.shared.commit(batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.shared.view(conv, users).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.shared.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.shared.log(conv, query).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let since = since.of(0);
        self.shared.memberships(user, since, limit, detail).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.shared.changed(since.of(0), limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.shared.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.shared.facts(query).await
    }
}

/// A place as SQLite's integer.
fn sql(seq: Seq) -> i64 {
    seq.0 as i64
}
