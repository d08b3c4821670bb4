//! Search: FTS5 over the tokens of what was said, filled behind the log, and the rest of the log
//! itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use im_core::model::{Body, ConversationId, Kind, Seq};
use im_core::port::{Find, Found, Hits, PortError, PortErrorKind, Search, Spot};
use im_core::rule::Scope;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, QueryBuilder, Row, Sqlite};

use super::statement::TEXTS;
use super::writer::{begin, end, rollback};
use super::{Shared, SqliteStore, rows};
use crate::error::{corrupt, port_error};
use crate::search::{
    ASKED_MAX, CONVERSATIONS_MAX, Part, REST_MAX, ROUNDS_MAX, STEP_MAX, asked, expression, kinds,
    rows_of,
};

/// What a user may see of the log: conditions on `e`, `c` and `m`.
const SEEN: &str = "m.user_id = ";
const SEEN_PLACES: &str = " AND e.seq >= max(m.first_seq, c.first_seq) \
     AND (m.left_seq IS NULL OR e.seq <= m.left_seq)";

#[async_trait]
impl Search for SqliteStore {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        self.shared.find(find).await
    }

    async fn index(&self) -> Result<bool, PortError> {
        self.shared.index().await
    }
}

impl Shared {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        let mut hits = Hits::new(find.limit);
        // What is not in the index yet comes first: what goes there meanwhile is found twice.
        self.find_in_rest(find, &mut hits).await?;
        let parts = self.parts(find).await?;
        if parts.len() >= CONVERSATIONS_MAX {
            hits.lacks();
        }
        for some in parts.chunks(ASKED_MAX) {
            self.find_in_index(find, some, &mut hits).await?;
        }
        Ok(hits.found())
    }

    /// The conversations to look in.
    async fn parts(&self, find: &Find) -> Result<Vec<Part>, PortError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT c.no, c.id, max(m.first_seq, c.first_seq), m.left_seq FROM im_member m \
             JOIN im_conversation c ON c.no = m.conv WHERE m.user_id = ",
        );
        query.push_bind(find.user.as_str());
        if let Some(conv) = &find.conv {
            query.push(" AND c.id = ").push_bind(conv.as_str());
        }
        query
            .push(" ORDER BY c.stamp DESC LIMIT ")
            .push_bind(CONVERSATIONS_MAX as i64);
        let found = query.build().fetch_all(&self.searcher).await;
        let part = |row: &SqliteRow| {
            let last: Option<i64> = row.try_get(3).map_err(port_error)?;
            Ok(Part {
                no: row.try_get(0).map_err(port_error)?,
                id: rows::conv_id(row, 1)?,
                first: rows::seq(row, 2)?,
                last: last.map_or(Seq(u64::MAX), |last| Seq(last.unsigned_abs())),
            })
        };
        found.map_err(port_error)?.iter().map(part).collect()
    }

    /// What is not in the index yet, the newest entries of it.
    async fn find_in_rest(&self, find: &Find, hits: &mut Hits) -> Result<(), PortError> {
        let (texted, newest): (i64, i64) = sqlx::query_as(
            "SELECT texted, coalesce((SELECT max(n) FROM im_entry), 0) FROM im_meta",
        )
        .fetch_one(&self.searcher)
        .await
        .map_err(port_error)?;
        let above = texted.max(newest.saturating_sub(REST_MAX as i64));
        if above > texted {
            hits.lacks();
        }
        if above >= newest {
            return Ok(());
        }
        // In that order: SQLite would begin with the user's conversations, and read the rest of the
        // log for each.
        let mut query = select(
            "im_entry e CROSS JOIN im_conversation c ON c.no = e.conv \
             CROSS JOIN im_member m ON m.conv = e.conv",
        );
        query.push(" e.n > ").push_bind(above).push(" AND ");
        filter(&mut query, find);
        query.push(" ORDER BY e.n DESC");
        let found = query.build().fetch_all(&self.searcher).await;
        for row in &found.map_err(port_error)? {
            let entry = rows::entry(&rows::conv_id(row, 0)?, row, 1)?;
            if find.takes(&entry) {
                hits.add(entry);
            }
        }
        Ok(())
    }

    /// What the index has of some conversations.
    async fn find_in_index(
        &self,
        find: &Find,
        parts: &[Part],
        hits: &mut Hits,
    ) -> Result<(), PortError> {
        let word = |token: &str, is_prefix: bool| match is_prefix {
            true => format!("{token}*"),
            false => token.to_owned(),
        };
        let text = expression(&asked(find, parts), " OR ", " AND ", word);
        let (limit, mut taken) = (rows_of(find), 0);
        let mut find = find.clone();
        for _ in 0..ROUNDS_MAX {
            let mut query = select(
                "im_text JOIN im_entry e ON e.n = im_text.rowid \
                 JOIN im_conversation c ON c.no = e.conv JOIN im_member m ON m.conv = e.conv",
            );
            query.push(" im_text MATCH ").push_bind(text.as_str());
            query.push(" AND ");
            filter(&mut query, &find);
            query
                .push(" ORDER BY e.at DESC, c.id DESC, e.seq DESC LIMIT ")
                .push_bind(limit as i64);
            let found = query.build().fetch_all(&self.searcher).await;
            let found = found.map_err(port_error)?;
            let mut last = None;
            for row in &found {
                let entry = rows::entry(&rows::conv_id(row, 0)?, row, 1)?;
                last = Some(Spot::of(&entry));
                if find.takes(&entry) {
                    taken += 1;
                    hits.add(entry);
                }
            }
            if found.len() < limit {
                return Ok(());
            }
            find.before = last;
            if taken >= find.limit {
                break;
            }
        }
        find.before.into_iter().for_each(|spot| hits.end_at(spot));
        Ok(())
    }

    /// The next entries go into the index. A task of its own: who asked may be gone before it ends.
    async fn index(self: &Arc<Self>) -> Result<bool, PortError> {
        let shared = Arc::clone(self);
        let step = tokio::spawn(async move { shared.step().await });
        let ended = |error| PortError::with_source(PortErrorKind::Internal, error);
        step.await.map_err(ended)?
    }

    async fn step(&self) -> Result<bool, PortError> {
        let found = sqlx::query(TEXTS.untexted.clone())
            .bind(STEP_MAX as i64)
            .fetch_all(&self.searcher)
            .await
            .map_err(port_error)?;
        let Some(last) = found.last() else {
            return Ok(false);
        };
        let last: i64 = last.try_get(0).map_err(port_error)?;
        let mut words = Vec::with_capacity(found.len());
        for row in &found {
            let n: i64 = row.try_get(0).map_err(port_error)?;
            let tokens = tokens(&rows::conv_id(row, 1)?, row)?;
            words.extend(tokens.map(|tokens| (n, tokens)));
        }
        let mut writer = self.writer.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Ok(false);
        }
        if std::mem::replace(&mut writer.dirty, true) {
            rollback(&mut writer).await;
            self.suspect.store(true, Ordering::Release);
        }
        begin(&mut writer).await.map_err(port_error)?;
        let done = write(&mut writer.conn, &words, last).await;
        let done = end(&mut writer, done).await.map_err(port_error);
        writer.dirty = false;
        done.map(|()| found.len() >= STEP_MAX)
    }
}

/// A select of entries with their conversations' ids.
fn select(from: &'static str) -> QueryBuilder<Sqlite> {
    let columns = rows::ENTRY;
    QueryBuilder::new(format!("SELECT c.id, {columns} FROM {from} WHERE"))
}

/// What the user may see, and what is asked for but for the words.
fn filter(query: &mut QueryBuilder<Sqlite>, find: &Find) {
    query.push(SEEN).push_bind(find.user.to_string());
    query.push(SEEN_PLACES);
    query.push(format!(" AND e.kind IN ({})", kinds(&find.kinds())));
    if let Some(conv) = &find.conv {
        query.push(" AND c.id = ").push_bind(conv.to_string());
    }
    if let Some(from) = &find.from {
        query.push(" AND (e.kind = 'edit' OR e.sender = ");
        query.push_bind(from.to_string()).push(")");
    }
    if let Some(since) = find.since {
        query.push(" AND e.at >= ").push_bind(since.0);
    }
    if let Some(until) = find.until {
        query.push(" AND e.at < ").push_bind(until.0);
    }
    if let Some(Spot { at, conv, seq }) = &find.before {
        query.push(" AND (e.at, c.id, e.seq) < (").push_bind(at.0);
        query.push(", ").push_bind(conv.to_string());
        query.push(", ").push_bind(super::sql(*seq)).push(")");
    }
}

/// The tokens of an entry, if it says anything.
fn tokens(conv: &ConversationId, row: &SqliteRow) -> Result<Option<String>, PortError> {
    let kind: &str = row.try_get(2).map_err(port_error)?;
    let kind = Kind::parse(kind).ok_or_else(|| corrupt("a kind of entry is none"))?;
    let body: &str = row.try_get(3).map_err(port_error)?;
    let tokens = Scope::of(conv).tokens(&Body::from_stored(kind, body.into()));
    Ok(Some(tokens).filter(|tokens| !tokens.is_empty()))
}

/// Writes tokens, but for those of what was erased since it was read.
async fn write(
    conn: &mut SqliteConnection,
    words: &[(i64, String)],
    last: i64,
) -> Result<(), sqlx::Error> {
    if !words.is_empty() {
        let (text, takes) = TEXTS.text.of(words.len());
        let mut arguments = SqliteArguments::default();
        for at in 0..takes {
            let row = words.get(at);
            let added = arguments.add(row.map(|(n, _)| *n));
            added.map_err(sqlx::Error::Encode)?;
            let added = arguments.add(row.map(|(_, words)| words.as_str()));
            added.map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(text, arguments)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("UPDATE im_meta SET texted = max(texted, ?)")
        .bind(last)
        .execute(conn)
        .await
        .map(drop)
}
