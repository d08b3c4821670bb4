//! Reads of one conversation's log, page by page: from the tables what lies before the tail that
//! was seen, the rest from the tail.

use std::sync::Arc;

use im_core::model::{CmId, ConversationId, Entry, Seq, UserId};
use im_core::port::{LogQuery, PortError};

use super::statement::own;
use super::{Shared, rows, sql};
use crate::error::port_error;

/// Rows of a page's first read; what follows is sized by what they were.
const FIRST_ROWS: usize = 64;

/// A read of entries as one value: a row each would cost more in the driver than in SQLite.
fn packed(of: &str) -> String {
    format!(
        "SELECT group_concat(line, char(30)) FROM (SELECT {} AS line \
         FROM entry_seq s JOIN entry e ON e.n = s.n WHERE {of})",
        rows::PACKED
    )
}

impl Shared {
    pub(super) async fn log(
        &self,
        conv: &ConversationId,
        query: LogQuery,
    ) -> Result<Vec<Entry>, PortError> {
        match query {
            LogQuery::After { seq, limit, bytes } => self.after(conv, seq, limit, bytes).await,
            LogQuery::Before { seq, limit, bytes } => self.before(conv, seq, limit, bytes).await,
            LogQuery::Sent { sender, cm_id } => self.sent(conv, sender, cm_id).await,
        }
    }

    /// Number, first place of the tail, and the tail's entries of a range.
    async fn look(
        &self,
        conv: &ConversationId,
        from: Seq,
        to: Seq,
    ) -> Result<Option<(i64, Seq, Vec<Arc<Entry>>)>, PortError> {
        {
            let tail = self.tail.lock();
            if let Some(known) = tail.get(conv) {
                let entries = known.range(from, to).cloned().collect();
                return Ok(Some((known.no, known.first_in_tail(), entries)));
            }
        }
        let no: Option<i64> = sqlx::query_scalar("SELECT no FROM conversation WHERE id = ?")
            .bind(conv.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(port_error)?;
        // Not known, so it has no tail.
        Ok(no.map(|no| (no, Seq(i64::MAX as u64), Vec::new())))
    }

    pub(super) async fn after(
        &self,
        conv: &ConversationId,
        after: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let last = Seq(after.0.saturating_add(limit as u64));
        let Some((no, first_in_tail, tail)) = self.look(conv, after.next(), last).await? else {
            return Ok(Vec::new());
        };
        let mut page = Page::new(limit, bytes);
        let (mut from, mut rows) = (after, FIRST_ROWS);
        while from.next() < first_in_tail && page.has_room() {
            let asked = rows.min(page.limit - page.entries.len());
            let found = self
                .read_after(conv, no, from, first_in_tail, asked)
                .await?;
            let whole = found.len() == asked;
            for entry in found {
                from = entry.seq;
                if !page.take(entry) {
                    return Ok(page.entries);
                }
            }
            if !whole {
                break;
            }
            rows = page.rows_to_come();
        }
        for entry in tail {
            if !page.take(Entry::clone(&entry)) {
                break;
            }
        }
        Ok(page.entries)
    }

    async fn before(
        &self,
        conv: &ConversationId,
        before: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let last = Seq(before.0.saturating_sub(1));
        let Some((no, first_in_tail, mut tail)) = self.look(conv, Seq(1), last).await? else {
            return Ok(Vec::new());
        };
        let mut page = Page::new(limit, bytes);
        while let Some(entry) = tail.pop() {
            if !page.take(Entry::clone(&entry)) {
                return Ok(page.reversed());
            }
        }
        let (mut below, mut rows) = (before.min(first_in_tail), FIRST_ROWS);
        while below.0 > 1 && page.has_room() {
            let asked = rows.min(page.limit - page.entries.len());
            let found = self.read_before(conv, no, below, asked).await?;
            let whole = found.len() == asked;
            for entry in found.into_iter().rev() {
                below = entry.seq;
                if !page.take(entry) {
                    return Ok(page.reversed());
                }
            }
            if !whole {
                break;
            }
            rows = page.rows_to_come();
        }
        Ok(page.reversed())
    }

    async fn read_after(
        &self,
        conv: &ConversationId,
        no: i64,
        after: Seq,
        below: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let text = packed("s.conv = ? AND s.seq > ? AND s.seq < ? ORDER BY s.seq LIMIT ?");
        let found: Option<String> = sqlx::query_scalar(own(text))
            .bind(no)
            .bind(sql(after))
            .bind(below.0.min(i64::MAX as u64) as i64)
            .bind(limit as i64)
            .fetch_one(&self.readers)
            .await
            .map_err(port_error)?;
        rows::unpack(conv, found.as_deref().unwrap_or(""))
    }

    async fn read_before(
        &self,
        conv: &ConversationId,
        no: i64,
        below: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let text = packed("s.conv = ? AND s.seq < ? ORDER BY s.seq DESC LIMIT ?");
        let found: Option<String> = sqlx::query_scalar(own(text))
            .bind(no)
            .bind(below.0.min(i64::MAX as u64) as i64)
            .bind(limit as i64)
            .fetch_one(&self.readers)
            .await
            .map_err(port_error)?;
        rows::unpack(conv, found.as_deref().unwrap_or(""))
    }

    async fn sent(
        &self,
        conv: &ConversationId,
        sender: UserId,
        cm_id: CmId,
    ) -> Result<Vec<Entry>, PortError> {
        let Some((no, ..)) = self.look(conv, Seq(1), Seq(0)).await? else {
            return Ok(Vec::new());
        };
        let key = (no, sender, cm_id);
        if let Some(entry) = self.tail.lock().sent(&key) {
            return Ok(vec![Entry::clone(entry)]);
        }
        let text = format!(
            "SELECT {} FROM entry_cm f JOIN entry e ON e.n = f.n \
             WHERE f.conv = ? AND f.sender = ? AND f.cm_id = ?",
            rows::ENTRY
        );
        let found = sqlx::query(own(text))
            .bind(no)
            .bind(key.1.as_str())
            .bind(key.2.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(port_error)?;
        found.iter().map(|row| rows::entry(conv, row, 0)).collect()
    }
}

/// A page under way.
struct Page {
    entries: Vec<Entry>,
    limit: usize,
    bytes: usize,
}

impl Page {
    fn new(limit: usize, bytes: usize) -> Self {
        Self {
            entries: Vec::with_capacity(limit.min(256)),
            limit,
            bytes,
        }
    }

    /// Takes an entry if there is room. False when nothing more fits.
    fn take(&mut self, entry: Entry) -> bool {
        let size = entry.body.json().len();
        if self.entries.len() >= self.limit || (size > self.bytes && !self.entries.is_empty()) {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(size);
        self.entries.push(entry);
        self.entries.len() < self.limit
    }

    const fn has_room(&self) -> bool {
        self.entries.len() < self.limit && (self.bytes > 0 || self.entries.is_empty())
    }

    /// How many more rows fit, if they are as large as those so far.
    fn rows_to_come(&self) -> usize {
        let taken: usize = self
            .entries
            .iter()
            .map(|entry| entry.body.json().len())
            .sum();
        let average = (taken / self.entries.len().max(1)).max(1);
        (self.bytes / average).clamp(1, self.limit.max(1))
    }

    fn reversed(mut self) -> Vec<Entry> {
        self.entries.reverse();
        self.entries
    }
}
