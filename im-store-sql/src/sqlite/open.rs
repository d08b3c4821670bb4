//! Opening and closing the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use im_core::model::{ConversationId, Stamp};
use im_core::port::PortError;
use parking_lot::Mutex;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Row};

use super::lock::FileLock;
use super::statement::TEXTS;
use super::tail::{Tail, TailEntry};
use super::writer::Writer;
use super::{Shared, SqliteOptions, SqliteStore, Synchronous, merge, rows};
use crate::error::{OpenError, port_error};
use crate::migrate::migrate;
use crate::text::own;

/// Every schema that this version knows, in order. A change is a new file, never another text
/// for an old one.
const MIGRATIONS: &[(&str, &str)] = &[
    (
        "init",
        include_str!("../../migrations/sqlite/0001_init.sql"),
    ),
    (
        "hold",
        include_str!("../../migrations/sqlite/0002_hold.sql"),
    ),
    (
        "fact",
        include_str!("../../migrations/sqlite/0003_fact.sql"),
    ),
    (
        "text",
        include_str!("../../migrations/sqlite/0004_text.sql"),
    ),
];

/// Pages of the write-ahead log before SQLite itself copies them back, should the background task
/// not have done it: 256 MiB.
const CHECKPOINT_PAGES: &str = "65536";

impl SqliteStore {
    /// Opens or makes a store: `sqlite://PATH`, or a path.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn connect(address: &str) -> Result<Self, OpenError> {
        Self::connect_with(address, SqliteOptions::default()).await
    }

    /// Opens or makes a store with other settings than the defaults.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn connect_with(address: &str, options: SqliteOptions) -> Result<Self, OpenError> {
        let path = address.strip_prefix("sqlite://").unwrap_or(address);
        if path.is_empty() || path.contains("://") || path.starts_with(":memory:") {
            return Err(OpenError::Address(address.to_owned()));
        }
        let path = Path::new(path);
        let lock = FileLock::take(path)?;
        let mut conn = SqliteConnection::connect_with(&writing(path, &options)).await?;
        migrate(&mut conn, MIGRATIONS).await?;
        if let Some(pages) = options.pages_max {
            sqlx::query(own(format!("PRAGMA max_page_count = {pages}")))
                .execute(&mut conn)
                .await?;
        }
        let readers = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(options.readers.max(1))
            .test_before_acquire(false)
            .connect_with(reading(path, &options))
            .await?;
        let searcher = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_lazy_with(reading(path, &options));
        let checkpointer = SqliteConnection::connect_with(&writing(path, &options)).await?;
        let shared = Arc::new(Shared {
            checkpointer: tokio::sync::Mutex::new(checkpointer),
            options,
            tail: Mutex::new(Tail::default()),
            writer: tokio::sync::Mutex::new(Writer::new(conn)),
            readers,
            searcher,
            suspect: AtomicBool::new(false),
            full: tokio::sync::Notify::new(),
            closed: AtomicBool::new(false),
            _lock: lock,
        });
        {
            let mut writer = shared.writer.lock().await;
            shared.read_tail(&mut writer.conn, Stamp(0)).await?;
            let mut tail = shared.tail.lock();
            tail.complete_after = tail.stamp;
        }
        tokio::spawn(merge::run(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Fills the indexes, copies the write-ahead log back and closes the file. Writes that come
    /// later are refused.
    ///
    /// # Errors
    /// When the file can't be written; what was committed is in it all the same.
    pub async fn close(&self) -> Result<(), PortError> {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.merge_all().await?;
        self.shared.readers.close().await;
        self.shared.searcher.close().await;
        let mut writer = self.shared.writer.lock().await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut writer.conn)
            .await
            .map(drop)
            .map_err(port_error)
    }
}

fn writing(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    let synchronous = match options.synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
        Synchronous::Off => SqliteSynchronous::Off,
    };
    common(path, options)
        .create_if_missing(true)
        .page_size(4_096)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
}

/// Connections that only read.
pub(super) fn reading(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    common(path, options).read_only(true)
}

fn common(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_millis(options.busy_timeout_ms))
        .foreign_keys(false)
        .statement_cache_capacity(128)
        .pragma("cache_size", "-32768")
        .pragma("temp_store", "memory")
}

impl Shared {
    /// Takes into the tail what the file has after a stamp and the indexes have not.
    pub(super) async fn read_tail(
        &self,
        conn: &mut SqliteConnection,
        after: Stamp,
    ) -> Result<(), OpenError> {
        let meta = sqlx::query("SELECT merged, stamp FROM im_meta")
            .fetch_one(&mut *conn)
            .await?;
        let (merged, stamp): (i64, i64) = (meta.try_get(0)?, meta.try_get(1)?);
        let last: Option<i64> = sqlx::query_scalar("SELECT max(n) FROM im_entry")
            .fetch_one(&mut *conn)
            .await?;
        let last = last.unwrap_or(0);
        if merged > last.max(stamp) {
            return Err(OpenError::Damaged(
                "entries that were merged are not there".to_owned(),
            ));
        }
        let from = merged.max(after.0 as i64);
        let mut found: BTreeMap<i64, Vec<TailEntry>> = BTreeMap::new();
        let all = sqlx::query(TEXTS.tail.clone())
            .bind(from)
            .fetch_all(&mut *conn)
            .await?;
        for row in &all {
            let conv: ConversationId = rows::conv_id(row, 2).map_err(damaged)?;
            let entry = rows::entry(&conv, row, 3).map_err(damaged)?;
            let entry = TailEntry {
                n: row.try_get(0)?,
                entry: Arc::new(entry),
            };
            found.entry(row.try_get(1)?).or_default().push(entry);
        }
        for (no, entries) in found {
            self.take_in(conn, no, entries).await?;
        }
        let mut tail = self.tail.lock();
        let newest = Stamp(last.max(stamp).max(merged).unsigned_abs());
        tail.stamp = tail.stamp.max(newest);
        Ok(())
    }

    async fn take_in(
        &self,
        conn: &mut SqliteConnection,
        no: i64,
        entries: Vec<TailEntry>,
    ) -> Result<(), OpenError> {
        let row = sqlx::query(TEXTS.conversation.clone())
            .bind(no)
            .fetch_one(conn)
            .await?;
        let (no, mut conversation, stamp) = rows::conversation(&row).map_err(damaged)?;
        let mut tail = self.tail.lock();
        let known = tail
            .get(&conversation.id)
            .map(|known| known.conversation.head);
        let mut head = known.unwrap_or(conversation.head);
        let entries: Vec<_> = entries
            .into_iter()
            .filter(|it| it.entry.seq > head)
            .collect();
        for entry in &entries {
            if entry.entry.seq != head.next() {
                return Err(OpenError::Damaged(format!(
                    "conversation {no} has entry {} after {head}",
                    entry.entry.seq
                )));
            }
            head = entry.entry.seq;
        }
        conversation.head = head;
        let last = entries
            .last()
            .map_or(stamp, |last| Stamp(last.n.unsigned_abs()));
        tail.put(no, conversation, last.max(stamp), entries);
        Ok(())
    }
}

fn damaged(error: PortError) -> OpenError {
    let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
    OpenError::Damaged(format!("{error}: {cause}"))
}
