//! The writing connection, and how a batch becomes a transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_core::port::{Commit, Committed, PortError, PortErrorKind, Rejected};
use im_core::rule::commit::appends;
use sqlx::Arguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::statement::{ROWS_MAX, TEXTS};
use super::tail::TailEntry;
use super::work::{Work, only_appends};
use super::{Shared, ops, sql};
use crate::error::port_error;
use crate::mentions::write_mentions;

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    /// A batch is under way, or was dropped in the middle: then what it left is undone first.
    pub(super) dirty: bool,
}

/// The answers of a batch.
type Answers = Vec<Result<Committed, Rejected>>;

impl Writer {
    pub(super) const fn new(conn: SqliteConnection) -> Self {
        Self { conn, dirty: false }
    }
}

/// Inserts entries, each with its conversation's number, in statements of at most [`ROWS_MAX`].
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    entries: &[(i64, TailEntry)],
) -> Result<(), sqlx::Error> {
    for chunk in entries.chunks(ROWS_MAX) {
        let mut arguments = SqliteArguments::default();
        for (no, row) in chunk {
            bind_entry(&mut arguments, *no, row).map_err(sqlx::Error::Encode)?;
        }
        let (sql, _) = TEXTS.insert.of(chunk.len());
        sqlx::query_with(sql, arguments).execute(&mut *conn).await?;
    }
    Ok(())
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
    to.add(write_mentions(&entry.mentions))?;
    to.add(entry.expires_at.map(|at| at.0))?;
    Ok(())
}

/// What went wrong with a batch as a whole.
pub(super) enum Broken {
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
        if self.suspect.load(Ordering::Acquire) {
            self.absorb(writer).await?;
        }
        let committed = match self.try_commit(writer, batch).await {
            // However often others write, they don't behind the lock.
            Err(Broken::Overtaken) => self.commit_locked(writer, batch).await,
            done => done,
        };
        committed.map_err(|broken| match broken {
            Broken::Sql(error) => port_error(error),
            Broken::Port(error) => error,
            Broken::Overtaken => PortError::new(PortErrorKind::Internal),
        })
    }

    async fn try_commit(&self, writer: &mut Writer, batch: &[Commit]) -> Result<Answers, Broken> {
        let mut work = Work::new(self.tail.lock().stamp);
        if batch.iter().all(only_appends) {
            self.load(writer, batch, &mut work).await?;
            let answers = self.decide_appends(writer, &mut work, batch).await?;
            if work.rows.len() <= ROWS_MAX {
                // One statement is its own transaction.
                insert(&mut writer.conn, &work.rows).await?;
            } else {
                begin(writer).await?;
                let done = insert(&mut writer.conn, &work.rows).await;
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

    /// Takes SQLite's write lock, looks what others have written, and commits.
    async fn commit_locked(
        &self,
        writer: &mut Writer,
        batch: &[Commit],
    ) -> Result<Answers, Broken> {
        self.suspect.store(true, Ordering::Release);
        begin(writer).await?;
        let done = async {
            self.absorb(writer).await?;
            let mut work = Work::new(self.tail.lock().stamp);
            let answers = self.write_all(writer, &mut work, batch).await?;
            Ok((answers, work))
        };
        let done: Result<_, Broken> = done.await;
        let (answers, work) = end(writer, done).await?;
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
        self.check_newest(writer).await?;
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
        insert(&mut writer.conn, &work.rows).await?;
        if work.stamp_without_entry {
            let stamp = work.stamp.0 as i64;
            sqlx::query("UPDATE im_meta SET stamp = ?")
                .bind(stamp)
                .execute(&mut writer.conn)
                .await?;
        }
        Ok(answers)
    }

    /// Inside a transaction: has somebody else appended (`commit_in`)? A batch that appends finds
    /// its next `n` taken; one that does not would give a stamp that somebody else's entry has.
    async fn check_newest(&self, writer: &mut Writer) -> Result<(), Broken> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(n) FROM im_entry")
            .fetch_one(&mut writer.conn)
            .await?;
        if last.unwrap_or(0).unsigned_abs() > self.tail.lock().stamp.0 {
            return Err(Broken::Overtaken);
        }
        Ok(())
    }

    /// The batch is committed: readers see it from here on.
    fn keep(&self, work: Work) {
        let mut tail = self.tail.lock();
        tail.stamp = work.stamp;
        for touched in work.touched.into_values() {
            for seq in &touched.erased {
                tail.erase(&touched.conversation.id, *seq);
            }
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

pub(super) async fn rollback(writer: &mut Writer) {
    // SQLite may have rolled back by itself; then there is nothing to do.
    let _ = sqlx::query("ROLLBACK").execute(&mut writer.conn).await;
}

fn refuse(batch: &[Commit], error: &PortError) -> Answers {
    batch
        .iter()
        .map(|_| Err(Rejected::Store(error.clone())))
        .collect()
}
