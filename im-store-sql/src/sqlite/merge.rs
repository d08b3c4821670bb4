//! The merge: fills the indexes from the tail, in sorted runs, between commits.
//!
//! A pass takes whole conversations in slices, each a transaction short enough that commits wait
//! little; when the pass is through, everything that it began with is in the indexes, and the
//! write-ahead log is copied back.

use std::error::Error as _;
use std::sync::Weak;
use std::time::{Duration, Instant};

use im_core::model::Stamp;
use im_core::port::PortError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Row};

use super::statement::{Exact, ROWS_MAX, TEXTS};
use super::tail::{Slice, TailEntry};
use super::writer::{Writer, begin, end};
use super::{Shared, sql};
use crate::error::port_error;

/// Entries of one slice, and so of one short transaction: at first, and the bounds …
const SLICE_ROWS: usize = 256;
const SLICE_ROWS_MIN: usize = 64;
const SLICE_ROWS_MAX: usize = 1_024;
/// … between which it follows the time that a slice takes. Commits wait for a slice.
const SLICE_TIME: Duration = Duration::from_millis(4);
/// The tail may grow to so many times `merge_every` before commits wait for the merge.
const HOLD_BACK: usize = 4;
/// Pages of the write-ahead log before the writer waits for it to be copied back: 128 MiB.
const LOG_PAGES_MAX: i64 = 32_768;
/// How long a failed merge waits before it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Merges whenever the tail is long enough, for as long as the store lives.
pub(super) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        let due = strong.tail.lock().len >= strong.options.merge_every;
        if due {
            if let Err(error) = strong.merge_all().await {
                tracing::error!(%error, cause = ?error.source(), "the merge failed");
                tokio::time::sleep(RETRY).await;
            }
            continue;
        }
        // Wake now and then, to see whether the store is still there.
        let _ = tokio::time::timeout(Duration::from_secs(1), strong.full.notified()).await;
    }
}

/// How large the next slice is, after one of so many rows took so long.
fn next_rows(rows: usize, took: Duration) -> usize {
    if took > SLICE_TIME {
        (rows / 2).max(SLICE_ROWS_MIN)
    } else if took < SLICE_TIME / 2 {
        (rows * 2).min(SLICE_ROWS_MAX)
    } else {
        rows
    }
}

impl Shared {
    /// Commits wait when the merge can't keep up, so that the tail stays bounded.
    pub(super) async fn hold_back(&self) {
        while self.tail.lock().len >= HOLD_BACK * self.options.merge_every.max(SLICE_ROWS_MAX) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if self.suspect.load(std::sync::atomic::Ordering::Acquire) {
                return;
            }
        }
    }

    /// One pass: everything that is in the tail now.
    pub(super) async fn merge_all(&self) -> Result<(), PortError> {
        let until = self.tail.lock().stamp;
        let convs = self.tail.lock().with_entries();
        let (mut rest, mut rows) = (convs.as_slice(), SLICE_ROWS);
        while !rest.is_empty() {
            let slice = self.tail.lock().slice(&mut rest, rows);
            if slice.is_empty() {
                break;
            }
            let mut writer = self.writer.lock().await;
            let started = Instant::now();
            begin(&mut writer).await.map_err(port_error)?;
            let done = write_slice(&mut writer, &slice).await;
            end(&mut writer, done).await.map_err(port_error)?;
            rows = next_rows(rows, started.elapsed());
            let mut tail = self.tail.lock();
            for (conversation, ..) in &slice {
                tail.merged(&conversation.id, conversation.head);
            }
        }
        self.finish_pass(until).await
    }

    async fn finish_pass(&self, until: Stamp) -> Result<(), PortError> {
        // What was appended during the pass to conversations it had passed already stays.
        let first = self.tail.lock().first_n();
        let merged = first.map_or(until.0 as i64, |first| (first - 1).min(until.0 as i64));
        {
            let mut writer = self.writer.lock().await;
            sqlx::query("UPDATE im_meta SET merged = max(merged, ?)")
                .bind(merged)
                .execute(&mut writer.conn)
                .await
                .map_err(port_error)?;
        }
        self.checkpoint().await
    }

    /// Copies the write-ahead log back, beside the writer. Only what was copied whole begins anew,
    /// which a busy writer never allows by itself: when the log is long, the writer waits for the
    /// rest once.
    async fn checkpoint(&self) -> Result<(), PortError> {
        let passive = "PRAGMA wal_checkpoint(PASSIVE)";
        let pages: i64 = {
            let mut conn = self.checkpointer.lock().await;
            let row = sqlx::query(passive)
                .fetch_one(&mut *conn)
                .await
                .map_err(port_error)?;
            row.try_get(1).map_err(port_error)?
        };
        if pages < LOG_PAGES_MAX {
            return Ok(());
        }
        let mut writer = self.writer.lock().await;
        sqlx::query(passive)
            .execute(&mut writer.conn)
            .await
            .map(drop)
            .map_err(port_error)
    }
}

async fn write_slice(writer: &mut Writer, slice: &Slice) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64, &TailEntry)> = slice
        .iter()
        .flat_map(|(_, no, _, entries)| entries.iter().map(move |entry| (*no, entry)))
        .collect();
    insert(writer, &TEXTS.index_seq, &rows, |to, no, row| {
        to.add(no)?;
        to.add(sql(row.entry.seq))?;
        to.add(row.n)
    })
    .await?;
    let mut sent: Vec<(i64, &TailEntry)> = rows
        .into_iter()
        .filter(|(_, row)| row.entry.cm_id.is_some())
        .collect();
    sent.sort_by(|(a, x), (b, y)| {
        (a, &x.entry.from, &x.entry.cm_id).cmp(&(b, &y.entry.from, &y.entry.cm_id))
    });
    insert(writer, &TEXTS.index_cm, &sent, |to, no, row| {
        to.add(no)?;
        to.add(row.entry.from.as_str())?;
        to.add(row.entry.cm_id.as_ref().map(|cm_id| cm_id.as_str()))?;
        to.add(row.n)
    })
    .await?;
    for (conversation, no, stamp, _) in slice {
        sqlx::query(
            "UPDATE im_conversation SET head = max(head, ?), stamp = max(stamp, ?) WHERE no = ?",
        )
        .bind(sql(conversation.head))
        .bind(stamp.0 as i64)
        .bind(no)
        .execute(&mut writer.conn)
        .await?;
    }
    Ok(())
}

async fn insert(
    writer: &mut Writer,
    into: &Exact,
    rows: &[(i64, &TailEntry)],
    bind: impl Fn(&mut SqliteArguments, i64, &TailEntry) -> Result<(), sqlx::error::BoxDynError>,
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for (no, row) in chunk {
            bind(&mut arguments, *no, row).map_err(sqlx::Error::Encode)?;
        }
        let (text, recurs) = into.of(chunk.len());
        let query = sqlx::query_with(text, arguments).persistent(recurs);
        query.execute(&mut writer.conn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_the_time_that_they_take_within_bounds() {
        let mut rows = SLICE_ROWS;
        for _ in 0..20 {
            rows = next_rows(rows, SLICE_TIME * 3);
        }
        assert_eq!(rows, SLICE_ROWS_MIN);
        assert_eq!(next_rows(rows, SLICE_TIME * 3 / 4), rows);
        for _ in 0..20 {
            rows = next_rows(rows, SLICE_TIME / 9);
        }
        assert_eq!(rows, SLICE_ROWS_MAX);
    }
}
