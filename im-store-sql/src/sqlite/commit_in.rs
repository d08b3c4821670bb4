//! A commit inside the host program's own transaction on the same file.

use im_core::model::{ConversationId, Seq, Stamp};
use im_core::port::{Commit, Committed, PortError, PortErrorKind, Rejected, Write};
use im_core::rule::commit::{appends, erased};
use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::ops;
use super::rows;
use super::statement::TEXTS;
use super::tail::Tail;
use super::work::{Touched, Work, sent_key};
use super::writer::insert;
use crate::error::port_error;

impl SqliteStore {
    /// Writes a commit inside a transaction of the host program on the same file: its own rows
    /// and the message are there together or not at all. The transaction must hold SQLite's write
    /// lock (`BEGIN IMMEDIATE`, or something written before), and be short: every other commit
    /// waits for it.
    ///
    /// The commit must append an entry, and erase none. Nothing is shown to anybody before the
    /// transaction commits; after it, tell the node (`Node::notice`), so that those who are
    /// connected get it at once, not with the next sweep.
    ///
    /// # Errors
    /// As [`Store::commit`](im_core::port::Store::commit); the transaction is then to be rolled
    /// back by the caller.
    pub async fn commit_in(
        &self,
        conn: &mut SqliteConnection,
        commit: &Commit,
    ) -> Result<Committed, Rejected> {
        let entries = appends(commit).count();
        // What it erases would stay in the memory of the store that shares the file.
        if entries == 0 || erased(commit).is_some() {
            return Err(PortError::new(PortErrorKind::Internal).into());
        }
        let mut work = Work::entries_first(newest(conn).await?, entries);
        if let Some(touched) = read_touched(conn, &commit.conv).await? {
            work.touched.insert(commit.conv.clone(), touched);
        }
        find_sent(conn, &mut work, commit).await?;
        // The tail may not show what this transaction sees: everything comes from the tables.
        let nothing = Mutex::new(Tail::default());
        if let Some(duplicate) = ops::decide(conn, &nothing, &work, commit).await? {
            return Ok(duplicate);
        }
        let done = ops::apply(conn, &mut work, commit).await?;
        insert(conn, &work.rows).await.map_err(port_error)?;
        if work.stamp_without_entry {
            let stamp = work.stamp.0 as i64;
            let query = sqlx::query("UPDATE im_meta SET stamp = max(stamp, ?)").bind(stamp);
            query.execute(conn).await.map_err(port_error)?;
        }
        Ok(done)
    }

    /// Looks for what other transactions have appended by [`commit_in`](Self::commit_in), so that
    /// reads of this store show it. A node does this by itself.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn notice(&self) -> Result<(), PortError> {
        self.shared.notice().await
    }
}

/// The last stamp given.
async fn newest(conn: &mut SqliteConnection) -> Result<Stamp, PortError> {
    let newest: i64 = sqlx::query_scalar(
        "SELECT max(coalesce((SELECT max(n) FROM im_entry), 0), stamp) FROM im_meta",
    )
    .fetch_one(conn)
    .await
    .map_err(port_error)?;
    Ok(Stamp(newest.unsigned_abs()))
}

/// The conversation as this transaction sees it, its head from the entries themselves.
async fn read_touched(
    conn: &mut SqliteConnection,
    conv: &ConversationId,
) -> Result<Option<Touched>, PortError> {
    let (text, _) = TEXTS.conversations.of(1);
    let row = sqlx::query(text)
        .bind(conv.as_str())
        .fetch_optional(&mut *conn)
        .await;
    let Some(row) = row.map_err(port_error)? else {
        return Ok(None);
    };
    let (no, mut conversation, stamp) = rows::conversation(&row)?;
    let head: Option<i64> = sqlx::query_scalar(
        "SELECT max(seq) FROM im_entry WHERE n > (SELECT merged FROM im_meta) AND conv = ?",
    )
    .bind(no)
    .fetch_one(conn)
    .await
    .map_err(port_error)?;
    conversation.head = conversation.head.max(Seq(head.unwrap_or(0).unsigned_abs()));
    Ok(Some(Touched {
        no,
        conversation,
        stamp,
        new: Vec::new(),
        erased: Vec::new(),
    }))
}

/// Earlier sends under the commit's ids, merged or not.
async fn find_sent(
    conn: &mut SqliteConnection,
    work: &mut Work,
    commit: &Commit,
) -> Result<(), PortError> {
    let Some(no) = work.touched.get(&commit.conv).map(|touched| touched.no) else {
        return Ok(());
    };
    for write in &commit.writes {
        let Write::Append(new) = write else { continue };
        let Some(key) = sent_key(no, new) else {
            continue;
        };
        let found = sqlx::query(TEXTS.sent_anywhere.clone())
            .bind(no)
            .bind(key.1.as_str())
            .bind(key.2.as_str())
            .fetch_optional(&mut *conn)
            .await
            .map_err(port_error)?;
        if let Some(row) = found {
            let entry = rows::entry(&commit.conv, &row, 0)?;
            work.sent.insert(key, std::sync::Arc::new(entry));
        }
    }
    Ok(())
}
