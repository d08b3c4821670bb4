//! Reads of one conversation's log, page by page: from the tables what lies before the tail that
//! was seen, the rest from the tail.

use std::sync::Arc;

use im_core::model::{CmId, ConversationId, Entry, MessageId, Seq, UserId};
use im_core::port::{LogQuery, PortError};
use sqlx::sqlite::SqliteConnection;

use super::statement::TEXTS;
use super::{Shared, rows, sql};
use crate::error::port_error;
use crate::page::{FIRST_ROWS, Page};

/// A part of a log, between two places, neither of them included.
#[derive(Debug, Clone, Copy)]
struct Part {
    above: Seq,
    below: Seq,
    /// Which end counts when not everything fits: the upper one.
    from_top: bool,
}

impl Part {
    fn of(query: &LogQuery) -> Self {
        match query {
            LogQuery::After { seq, limit, .. } => Self {
                above: *seq,
                below: Seq(seq.0.saturating_add(*limit as u64).saturating_add(1)),
                from_top: false,
            },
            LogQuery::Before { seq, .. } => Self {
                above: Seq(0),
                below: *seq,
                from_top: true,
            },
            LogQuery::Sent { .. } | LogQuery::Newest { .. } => Self {
                above: Seq(0),
                below: Seq(0),
                from_top: false,
            },
        }
    }

    /// What has been read is done with.
    const fn cut(&mut self, at: Seq) {
        if self.from_top {
            self.below = at;
        } else {
            self.above = at;
        }
    }
}

impl Shared {
    pub(super) async fn log(
        &self,
        conv: &ConversationId,
        query: LogQuery,
    ) -> Result<Vec<Entry>, PortError> {
        let part = Part::of(&query);
        let Some((no, first_in_tail, tail)) = self.look(conv, part).await? else {
            return Ok(Vec::new());
        };
        let mut page = match query {
            LogQuery::Sent { sender, cm_id } => return self.sent(conv, no, sender, cm_id).await,
            LogQuery::Newest { sender } => return self.newest(conv, no, sender).await,
            LogQuery::After { limit, bytes, .. } | LogQuery::Before { limit, bytes, .. } => {
                Page::new(limit, bytes)
            }
        };
        let in_tables = Part {
            below: part.below.min(first_in_tail),
            ..part
        };
        let tail = tail.iter().map(|entry| Entry::clone(entry));
        if part.from_top {
            if page.take_all(tail.rev()) {
                self.take_rows(conv, no, in_tables, &mut page).await?;
            }
            page.entries.reverse();
        } else if self.take_rows(conv, no, in_tables, &mut page).await? {
            page.take_all(tail);
        }
        Ok(page.entries)
    }

    /// Number, first place of the tail, and the tail's entries of a part.
    async fn look(
        &self,
        conv: &ConversationId,
        part: Part,
    ) -> Result<Option<(i64, Seq, Vec<Arc<Entry>>)>, PortError> {
        {
            let tail = self.tail.lock();
            if let Some(known) = tail.get(conv) {
                let to = Seq(part.below.0.saturating_sub(1));
                let entries = known.range(part.above.next(), to).cloned().collect();
                return Ok(Some((known.no, known.first_in_tail(), entries)));
            }
        }
        let no: Option<i64> = sqlx::query_scalar("SELECT no FROM im_conversation WHERE id = ?")
            .bind(conv.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(port_error)?;
        // Not known, so it has no tail.
        Ok(no.map(|no| (no, Seq(i64::MAX as u64), Vec::new())))
    }

    /// Takes what the tables have of a part. False when the page takes no more.
    async fn take_rows(
        &self,
        conv: &ConversationId,
        no: i64,
        mut part: Part,
        page: &mut Page,
    ) -> Result<bool, PortError> {
        let mut rows = FIRST_ROWS;
        while part.above.next() < part.below && page.has_room() {
            let asked = rows.min(page.limit - page.entries.len());
            let mut found = self.read_rows(conv, no, part, asked).await?;
            let whole = found.len() == asked;
            if part.from_top {
                found.reverse();
            }
            if let Some(last) = found.last() {
                part.cut(last.seq);
            }
            if !page.take_all(found.into_iter()) {
                return Ok(false);
            }
            if !whole {
                break;
            }
            rows = page.rows_to_come();
        }
        Ok(page.has_room())
    }

    /// The first rows of a part, from the end that counts; ascending.
    async fn read_rows(
        &self,
        conv: &ConversationId,
        no: i64,
        part: Part,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        let text = if part.from_top {
            &TEXTS.log_down
        } else {
            &TEXTS.log_up
        };
        let found: Option<String> = sqlx::query_scalar(text.clone())
            .bind(no)
            .bind(sql(part.above))
            .bind(part.below.0.min(i64::MAX as u64) as i64)
            .bind(limit as i64)
            .fetch_one(&self.readers)
            .await
            .map_err(port_error)?;
        rows::unpack(conv, found.as_deref().unwrap_or(""))
    }

    /// The entry with a sender's largest id: of the tail, or of what is indexed.
    async fn newest(
        &self,
        conv: &ConversationId,
        no: i64,
        sender: UserId,
    ) -> Result<Vec<Entry>, PortError> {
        let in_tail = {
            let tail = self.tail.lock();
            let known = tail.get(conv).map(|known| known.entries.iter());
            let entries = known.into_iter().flatten().map(|it| &it.entry);
            let theirs = entries.filter(|it| it.from == sender && it.cm_id.is_some());
            theirs
                .max_by_key(|it| it.cm_id.clone())
                .map(|it| Entry::clone(it))
        };
        let found = sqlx::query(TEXTS.newest_entry.clone())
            .bind(no)
            .bind(sender.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(port_error)?;
        let indexed = found.map(|row| rows::entry(conv, &row, 0)).transpose()?;
        let all = in_tail.into_iter().chain(indexed);
        let newest = all.max_by(|a, b| a.cm_id.cmp(&b.cm_id));
        Ok(newest.into_iter().collect())
    }

    async fn sent(
        &self,
        conv: &ConversationId,
        no: i64,
        sender: UserId,
        cm_id: CmId,
    ) -> Result<Vec<Entry>, PortError> {
        let key = (no, sender, cm_id);
        if let Some(entry) = self.tail.lock().sent(&key) {
            return Ok(vec![Entry::clone(entry)]);
        }
        let found = sqlx::query(TEXTS.sent.clone())
            .bind(no)
            .bind(key.1.as_str())
            .bind(key.2.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(port_error)?;
        found.iter().map(|row| rows::entry(conv, row, 0)).collect()
    }
}

/// The ids that are indexed between two places, both ends included.
pub(super) async fn ids(
    conn: &mut SqliteConnection,
    no: i64,
    from: Seq,
    to: Seq,
) -> Result<Vec<(Seq, MessageId)>, PortError> {
    let found: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT s.seq, e.id FROM im_entry_seq s JOIN im_entry e ON e.n = s.n \
         WHERE s.conv = ? AND s.seq >= ? AND s.seq <= ?",
    )
    .bind(no)
    .bind(sql(from))
    .bind(sql(to))
    .fetch_all(conn)
    .await
    .map_err(port_error)?;
    let ids = found.into_iter();
    let ids = ids.map(|(seq, id)| (Seq(seq.unsigned_abs()), MessageId(id as u64)));
    Ok(ids.collect())
}

/// Takes away what an entry says that is in the table, indexed or not.
pub(super) async fn erase(conn: &mut SqliteConnection, no: i64, seq: Seq) -> Result<(), PortError> {
    let query = sqlx::query(
        "UPDATE im_entry SET kind = 'erased', body = '{\"kind\":\"erased\"}', reply_to = NULL, \
         mentions = NULL, expires_at = NULL WHERE kind <> 'member' AND n = coalesce(\
         (SELECT n FROM im_entry_seq WHERE conv = ? AND seq = ?), \
         (SELECT n FROM im_entry WHERE n > (SELECT merged FROM im_meta) AND conv = ? AND seq = ?))",
    );
    let query = query.bind(no).bind(sql(seq)).bind(no).bind(sql(seq));
    query.execute(&mut *conn).await.map_err(port_error)?;
    let query = sqlx::query(
        "DELETE FROM im_text WHERE rowid = coalesce(\
         (SELECT n FROM im_entry_seq WHERE conv = ? AND seq = ?), \
         (SELECT n FROM im_entry WHERE n > (SELECT merged FROM im_meta) AND conv = ? AND seq = ?))",
    );
    let query = query.bind(no).bind(sql(seq)).bind(no).bind(sql(seq));
    query.execute(conn).await.map(drop).map_err(port_error)
}
