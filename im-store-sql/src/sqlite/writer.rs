//! The writing connection, and how a batch becomes a transaction.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_core::model::{CmId, ConversationId, UserId};
use im_core::port::{Commit, Committed, PortError, PortErrorKind, Rejected};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, Row};

use super::statement::{Padded, ROWS_MAX, own, places};
use super::tail::{Novelty, TailEntry};
use super::work::{Touched, Work, appends, only_appends, sent_key};
use super::{Shared, ops, rows, sql};
use crate::error::port_error;

/// How often a batch is tried again because somebody else wrote in between.
const TRIES_MAX: u32 = 4;

/// The connection that writes, with its statements.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    insert: Padded,
    probe: Padded,
    newest: Padded,
    /// A batch is under way, or was dropped in the middle: then what it left is undone first.
    dirty: bool,
}

/// The answers of a batch.
type Answers = Vec<Result<Committed, Rejected>>;

impl Writer {
    pub(super) fn new(conn: SqliteConnection) -> Self {
        let insert = insert_statement();
        let probe = Padded::new(
            "SELECT f.conv, e.seq, e.id, e.sender, e.at, e.cm_id, e.digest, e.kind, '{}', \
             NULL, NULL, NULL, c.id FROM (",
            3,
            ") p JOIN entry_cm f ON f.conv = p.column1 AND f.sender = p.column2 \
             AND f.cm_id = p.column3 JOIN entry e ON e.n = f.n \
             JOIN conversation c ON c.no = f.conv",
        );
        let newest = Padded::new(
            "SELECT p.column1, p.column2, (SELECT max(f.cm_id) FROM entry_cm f \
             WHERE f.conv = p.column1 AND f.sender = p.column2) FROM (",
            2,
            ") p WHERE p.column1 IS NOT NULL",
        );
        Self {
            conn,
            insert,
            probe,
            newest,
            dirty: false,
        }
    }

    /// Inserts entries, in statements of at most [`ROWS_MAX`].
    async fn insert(&mut self, entries: &[(i64, TailEntry)]) -> Result<(), sqlx::Error> {
        insert_with(&mut self.conn, &self.insert, entries).await
    }
}

/// Inserts entries on a connection that is not the writer.
pub(super) async fn insert_alone(
    conn: &mut SqliteConnection,
    entries: &[(i64, TailEntry)],
) -> Result<(), sqlx::Error> {
    insert_with(conn, &insert_statement(), entries).await
}

async fn insert_with(
    conn: &mut SqliteConnection,
    statement: &Padded,
    entries: &[(i64, TailEntry)],
) -> Result<(), sqlx::Error> {
    for chunk in entries.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for (no, row) in chunk {
            bind_entry(&mut arguments, *no, row).map_err(sqlx::Error::Encode)?;
        }
        let sql = statement.of(chunk.len());
        sqlx::query_with(sql, arguments).execute(&mut *conn).await?;
    }
    Ok(())
}

fn insert_statement() -> Padded {
    Padded::new(
        "INSERT INTO entry (n, conv, seq, id, sender, at, cm_id, digest, kind, body, \
         reply_to, mentions, expires_at) SELECT * FROM (",
        13,
        ") WHERE column1 IS NOT NULL",
    )
}

fn bind_entry(
    to: &mut SqliteArguments,
    no: i64,
    row: &TailEntry,
) -> Result<(), sqlx::error::BoxDynError> {
    let entry = &row.entry;
    to.add(row.n)?;
    to.add(no)?;
    to.add(sql(entry.seq))?;
    to.add(entry.id.0 as i64)?;
    to.add(Arc::<str>::from(&entry.from))?;
    to.add(entry.at.0)?;
    to.add(entry.cm_id.as_ref().map(Arc::<str>::from))?;
    to.add(entry.digest as i64)?;
    to.add(entry.body.kind().as_str())?;
    to.add(Arc::clone(entry.body.json()))?;
    to.add(entry.reply_to.map(sql))?;
    to.add(rows::write_mentions(&entry.mentions))?;
    to.add(entry.expires_at.map(|at| at.0))?;
    Ok(())
}

fn bind_key(
    to: &mut SqliteArguments,
    no: i64,
    user: &UserId,
    cm_id: Option<&CmId>,
) -> Result<(), sqlx::error::BoxDynError> {
    to.add(no)?;
    to.add(Arc::<str>::from(user))?;
    if let Some(cm_id) = cm_id {
        to.add(Arc::<str>::from(cm_id))?;
    }
    Ok(())
}

/// What went wrong with a batch as a whole.
enum Broken {
    /// Somebody else appended: look, and decide anew.
    Overtaken,
    /// The database refused.
    Sql(sqlx::Error),
    /// What it gave was no good.
    Port(PortError),
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        let unique = error
            .as_database_error()
            .is_some_and(|error| error.is_unique_violation());
        if unique {
            Self::Overtaken
        } else {
            Self::Sql(error)
        }
    }
}

impl From<PortError> for Broken {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl Shared {
    pub(super) async fn commit(self: &Arc<Self>, batch: &[Commit]) -> Answers {
        if batch.is_empty() {
            return Vec::new();
        }
        if self.closed.load(Ordering::Acquire) {
            return refuse(batch, &PortError::new(PortErrorKind::Unavailable));
        }
        let answers = {
            let mut writer = self.writer.lock().await;
            if std::mem::replace(&mut writer.dirty, true) {
                rollback(&mut writer).await;
                self.suspect.store(true, Ordering::Release);
            }
            let answers = self.commit_split(&mut writer, batch).await;
            writer.dirty = false;
            answers
        };
        if self.tail.lock().len >= self.options.merge_every {
            self.full.notify_one();
            self.hold_back().await;
        }
        answers
    }

    /// Commits a batch; one that fails for what is in it is split until the culprit fails alone.
    async fn commit_split(&self, writer: &mut Writer, batch: &[Commit]) -> Answers {
        // A stack of its own: halves to do, in order.
        let mut todo = vec![batch];
        let mut answers = Vec::with_capacity(batch.len());
        while let Some(part) = todo.pop() {
            match self.commit_whole(writer, part).await {
                Ok(part) => answers.extend(part),
                Err(error) => {
                    self.suspect.store(true, Ordering::Release);
                    let by_content = !error.is_retryable();
                    if by_content && part.len() > 1 {
                        let (first, second) = part.split_at(part.len() / 2);
                        todo.push(second);
                        todo.push(first);
                    } else {
                        answers.extend(refuse(part, &error));
                    }
                }
            }
        }
        answers
    }

    async fn commit_whole(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
    ) -> Result<Answers, PortError> {
        for _ in 0..TRIES_MAX {
            if self.suspect.load(Ordering::Acquire) {
                self.absorb(writer).await?;
            }
            match self.try_commit(writer, batch).await {
                Ok(answers) => return Ok(answers),
                Err(Broken::Overtaken) => self.suspect.store(true, Ordering::Release),
                Err(Broken::Sql(error)) => return Err(port_error(error)),
                Err(Broken::Port(error)) => return Err(error),
            }
        }
        Err(PortError::new(PortErrorKind::Unavailable))
    }

    async fn try_commit(&self, writer: &mut Writer, batch: &[Commit]) -> Result<Answers, Broken> {
        let mut work = Work::new(self.tail.lock().stamp);
        if batch.iter().all(only_appends) {
            self.load(writer, batch, &mut work).await?;
            let answers = self.decide_appends(writer, &mut work, batch).await?;
            if work.rows.len() <= ROWS_MAX {
                // One statement is its own transaction.
                writer.insert(&work.rows).await?;
            } else {
                begin(writer).await?;
                let done = writer.insert(&work.rows).await;
                end(writer, done.map_err(Broken::from)).await?;
            }
            self.keep(work);
            return Ok(answers);
        }
        begin(writer).await?;
        let done = self.write_all(writer, &mut work, batch).await;
        let answers = end(writer, done).await?;
        self.keep(work);
        Ok(answers)
    }

    async fn decide_appends(
        &self,
        writer: &mut Writer,
        work: &mut Work,
        batch: &[Commit],
    ) -> Result<Answers, Broken> {
        let mut answers = Vec::with_capacity(batch.len());
        for commit in batch {
            answers.push(
                match ops::decide(&mut writer.conn, &self.tail, work, commit).await {
                    Ok(Some(duplicate)) => Ok(duplicate),
                    Ok(None) => {
                        let appended = appends(commit)
                            .filter_map(|new| work.append(&commit.conv, new))
                            .collect();
                        let version = work
                            .touched
                            .get(&commit.conv)
                            .map(|it| it.conversation.version);
                        let version = version.unwrap_or_default();
                        Ok(Committed {
                            appended,
                            version,
                            created: false,
                        })
                    }
                    Err(Rejected::Store(error)) if error.is_retryable() => return Err(error.into()),
                    Err(rejected) => Err(rejected),
                },
            );
        }
        Ok(answers)
    }

    async fn write_all(
        &self,
        writer: &mut Writer,
        work: &mut Work,
        batch: &[Commit],
    ) -> Result<Answers, Broken> {
        self.load(writer, batch, work).await?;
        let mut answers = Vec::with_capacity(batch.len());
        for commit in batch {
            answers.push(
                match ops::decide(&mut writer.conn, &self.tail, work, commit).await {
                    Ok(Some(duplicate)) => Ok(duplicate),
                    Ok(None) => Ok(ops::apply(&mut writer.conn, work, commit).await?),
                    Err(Rejected::Store(error)) if error.is_retryable() => return Err(error.into()),
                    Err(rejected) => Err(rejected),
                },
            );
        }
        writer.insert(&work.rows).await?;
        if work.stamp_without_entry {
            let stamp = work.stamp.0 as i64;
            sqlx::query("UPDATE meta SET stamp = ?")
                .bind(stamp)
                .execute(&mut writer.conn)
                .await?;
        }
        Ok(answers)
    }

    /// What the batch must know: the conversations that exist, and earlier sends under its ids.
    async fn load(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
        work: &mut Work,
    ) -> Result<(), Broken> {
        let mut missing: HashSet<&ConversationId> = HashSet::new();
        {
            let tail = self.tail.lock();
            for commit in batch {
                if work.touched.contains_key(&commit.conv) {
                    continue;
                }
                match tail.get(&commit.conv) {
                    Some(known) => {
                        let touched = Touched {
                            no: known.no,
                            conversation: known.conversation.clone(),
                            stamp: known.stamp,
                            new: Vec::new(),
                        };
                        work.touched.insert(commit.conv.clone(), touched);
                    }
                    None => {
                        missing.insert(&commit.conv);
                    }
                }
            }
        }
        let missing: Vec<_> = missing.into_iter().collect();
        for chunk in missing.chunks(ROWS_MAX) {
            let columns = rows::CONVERSATION;
            let text = format!(
                "SELECT {columns} FROM conversation c WHERE c.id IN ({})",
                places(chunk.len().next_power_of_two())
            );
            let mut arguments = SqliteArguments::default();
            for conv in chunk {
                arguments.add(conv.as_str()).map_err(sqlx::Error::Encode)?;
            }
            let found = sqlx::query_with(own(text), arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            for row in &found {
                let (no, conversation, stamp) = rows::conversation(row)?;
                let id = conversation.id.clone();
                work.touched.insert(
                    id,
                    Touched {
                        no,
                        conversation,
                        stamp,
                        new: Vec::new(),
                    },
                );
            }
        }
        self.probe(writer, batch, work).await
    }

    /// Looks up earlier sends in the index, all of the batch at once: those whose ids are not
    /// larger than any before. What is in the tail is found there.
    async fn probe(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
        work: &mut Work,
    ) -> Result<(), Broken> {
        let mut asked = Vec::new();
        let mut strangers = BTreeMap::new();
        {
            let tail = self.tail.lock();
            for commit in batch {
                // Nothing was sent yet where nothing is.
                let touched = work.touched.get(&commit.conv);
                let Some(touched) = touched.filter(|it| it.conversation.head.0 > 0) else {
                    continue;
                };
                for key in appends(commit).filter_map(|entry| sent_key(touched.no, entry)) {
                    match tail.novelty(&key) {
                        Novelty::New => {}
                        Novelty::MaybeSent => asked.push(key),
                        Novelty::UnknownSender => {
                            strangers.insert((key.0, key.1.clone()), commit.conv.clone());
                            asked.push(key);
                        }
                    }
                }
            }
        }
        self.meet(writer, strangers).await?;
        for chunk in asked.chunks(ROWS_MAX) {
            let mut arguments = SqliteArguments::default();
            for (no, user, cm_id) in chunk {
                bind_key(&mut arguments, *no, user, Some(cm_id)).map_err(sqlx::Error::Encode)?;
            }
            let sql = writer.probe.of(chunk.len());
            let found = sqlx::query_with(sql, arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            for row in &found {
                let conv = rows::conv_id(row, 12)?;
                let entry = rows::entry(&conv, row, 1)?;
                let key = sent_key(row.try_get(0)?, &entry);
                work.sent.extend(key.map(|key| (key, Arc::new(entry))));
            }
        }
        Ok(())
    }

    /// Learns the largest ids of senders who have not sent lately.
    async fn meet(
        &self,
        writer: &mut Writer,
        strangers: BTreeMap<(i64, UserId), ConversationId>,
    ) -> Result<(), Broken> {
        let strangers: Vec<_> = strangers.into_iter().collect();
        for chunk in strangers.chunks(ROWS_MAX) {
            let mut arguments = SqliteArguments::default();
            for ((no, user), _) in chunk {
                bind_key(&mut arguments, *no, user, None).map_err(sqlx::Error::Encode)?;
            }
            let sql = writer.newest.of(chunk.len());
            let found = sqlx::query_with(sql, arguments)
                .fetch_all(&mut writer.conn)
                .await?;
            let mut newest = BTreeMap::new();
            for row in &found {
                let cm_id: Option<&str> = row.try_get(2)?;
                let cm_id = cm_id.and_then(|id| CmId::new(id).ok());
                newest.insert((row.try_get::<i64, _>(0)?, rows::user(row, 1)?), cm_id);
            }
            let mut tail = self.tail.lock();
            for (key, conv) in chunk {
                let indexed = newest.remove(key).flatten();
                tail.learn_newest(conv, key.0, key.1.clone(), indexed);
            }
        }
        Ok(())
    }

    /// The batch is committed: readers see it from here on.
    fn keep(&self, work: Work) {
        let mut tail = self.tail.lock();
        tail.stamp = work.stamp;
        for touched in work.touched.into_values() {
            tail.put(touched.no, touched.conversation, touched.stamp, touched.new);
        }
        tail.forget();
    }

    /// Looks for what is in the file and not in memory: what somebody else appended, or a write of
    /// ours whose outcome was unknown.
    pub(super) async fn absorb(&self, writer: &mut Writer) -> Result<(), PortError> {
        let after = self.tail.lock().stamp;
        self.read_tail(&mut writer.conn, after)
            .await
            .map_err(|error| match error {
                crate::error::OpenError::Sql(error) => port_error(error),
                error => PortError::with_source(PortErrorKind::Corrupt, error),
            })?;
        self.suspect.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) async fn enter(&self) -> Result<u64, PortError> {
        let mut writer = self.writer.lock().await;
        let starts: i64 =
            sqlx::query_scalar("UPDATE meta SET starts = starts + 1 RETURNING starts")
                .fetch_one(&mut writer.conn)
                .await
                .map_err(port_error)?;
        Ok(starts.unsigned_abs())
    }
}

pub(super) async fn begin(writer: &mut Writer) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut writer.conn)
        .await
        .map(drop)
}

/// Ends a transaction as its content went.
pub(super) async fn end<T, E: From<sqlx::Error>>(
    writer: &mut Writer,
    done: Result<T, E>,
) -> Result<T, E> {
    match done {
        Ok(value) => {
            let committed = sqlx::query("COMMIT").execute(&mut writer.conn).await;
            if let Err(error) = committed {
                rollback(writer).await;
                return Err(error.into());
            }
            Ok(value)
        }
        Err(error) => {
            rollback(writer).await;
            Err(error)
        }
    }
}

async fn rollback(writer: &mut Writer) {
    // SQLite may have rolled back by itself; then there is nothing to do.
    let _ = sqlx::query("ROLLBACK").execute(&mut writer.conn).await;
}

fn refuse(batch: &[Commit], error: &PortError) -> Answers {
    batch
        .iter()
        .map(|_| Err(Rejected::Store(error.clone())))
        .collect()
}
