//! How a batch becomes a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use im_core::model::{Conversation, ConversationId, Member, Slot, Stamp, UserId};
use im_core::port::{Commit, Committed, PortError, PortErrorKind, Rejected};

use super::dialect::{Conn, Dialect, End};
use super::facts;
use super::fence::{Fence, moved};
use super::load::{Ids, Reads, by_keys, load};
use super::open::port_error;
use super::row;
use super::search;
use super::statement::{
    ANSWER, Arg, BLOCK, BY_ID, CONVERSATION, ENTRY, Longer, MEMBER, NEW_ANSWER, NEW_CONVERSATION,
    Statement, Table,
};
use super::tx::Tx;
use super::work::{At, Held, Work};
use super::{Shared, quick};
use crate::clock::now;

/// Most commits of one transaction.
pub(super) const COMMITS_MAX: usize = 8_000;
/// How often a transaction is run until others are out of its way.
const TRIES_MAX: u32 = 12;
/// The longest wait between two of them.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The answers of a batch.
pub(super) type Answers = Vec<Result<Committed, Rejected>>;

/// What went wrong with a batch as a whole.
#[derive(Debug)]
pub(super) enum Broken {
    /// The database refused.
    Sql(sqlx::Error),
    /// What it gave was no good.
    Port(PortError),
    /// A slot was moved meanwhile.
    Moved,
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<PortError> for Broken {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl<D: Dialect> Shared<D> {
    /// Commits a batch; one that fails for what is in it is split until the culprit fails alone.
    pub(super) async fn commit(&self, batch: &[Commit]) -> Answers {
        // A stack of its own: halves to do, in order.
        let mut todo: Vec<_> = batch.chunks(COMMITS_MAX).rev().collect();
        let mut answers = Vec::with_capacity(batch.len());
        while let Some(part) = todo.pop() {
            if part.is_empty() {
                continue;
            }
            let is_again = AtomicBool::new(false);
            let whole =
                self.again(|| self.try_commit(part, is_again.swap(true, Ordering::Relaxed)));
            match self.within(whole).await {
                Ok(part) => answers.extend(part),
                Err(error) if !error.is_retryable() && part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    todo.push(second);
                    todo.push(first);
                }
                Err(error) => {
                    let refused = |_| Err(Rejected::Store(error.clone()));
                    answers.extend(part.iter().map(refused));
                }
            }
        }
        answers
    }

    /// Runs a transaction, again when another one was in its way.
    pub(super) async fn again<T, F>(&self, run: impl Fn() -> F) -> Result<T, PortError>
    where
        F: Future<Output = Result<T, Broken>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match run().await {
                Ok(done) => return Ok(done),
                Err(Broken::Moved) if tries < TRIES_MAX => {
                    self.is_shard.store(true, Ordering::Release);
                }
                Err(Broken::Moved) => return Err(moved()),
                Err(Broken::Sql(error)) if D::is_in_the_way(&error) && tries < TRIES_MAX => {
                    tracing::debug!(%error, tries, "another transaction was in the way");
                    let wait = Duration::from_millis(1 << tries);
                    tokio::time::sleep(wait.min(WAIT_MAX)).await;
                }
                Err(Broken::Sql(error)) => return Err(port_error::<D>(error)),
                Err(Broken::Port(error)) => return Err(error),
            }
        }
    }

    async fn try_commit(&self, batch: &[Commit], is_again: bool) -> Result<Answers, Broken> {
        let is_shard = self.is_shard.load(Ordering::Acquire);
        let mut conn = self.pool.acquire().await?;
        if !is_shard
            && !is_again
            && let Some(answers) = quick::commit::<D>(&mut conn, batch).await?
        {
            return Ok(answers);
        }
        let ids = if is_again { Ids::Asked } else { Ids::Fresh };
        let mut tx = Tx::<D>::begin(conn).await?;
        match decide_and_write::<D>(tx.conn(), batch, Reads::Plain, ids, is_shard).await {
            Ok((answers, true)) => {
                tx.leave();
                Ok(answers)
            }
            Ok((answers, false)) => {
                tx.commit().await?;
                Ok(answers)
            }
            Err(broken) => {
                tx.roll_back().await;
                Err(broken)
            }
        }
    }
}

/// Whether the transaction has been committed with what was written.
pub(super) type IsEnded = bool;

/// Inside a transaction: what the batch asks for is read, decided and written.
pub(super) async fn decide_and_write<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    reads: Reads,
    ids: Ids,
    is_shard: bool,
) -> Result<(Answers, IsEnded), Broken> {
    let fence = match is_shard {
        true => Fence::of::<D>(conn, batch, reads).await?,
        false => Fence::Alone,
    };
    let mut work = load::<D>(conn, batch, reads, ids).await?;
    let mut answers = decide(&mut work, &fence, batch);
    if ids == Ids::Fresh && answers.iter().any(Result::is_err) {
        // What is refused may be a retry of what is stored, and nothing was written yet.
        work = load::<D>(conn, batch, reads, Ids::Asked).await?;
        answers = decide(&mut work, &fence, batch);
    }
    let is_ended = write::<D>(conn, &mut work, &fence, reads, ids).await?;
    Ok((answers, is_ended))
}

fn decide(work: &mut Work, fence: &Fence, batch: &[Commit]) -> Answers {
    let now = now();
    let decide = |commit| {
        fence.check(commit)?;
        work.apply(commit, now)
    };
    batch.iter().map(decide).collect()
}

/// Writes what a batch has decided. Stamps are taken as late as can be, since nobody else gets one
/// until the transaction ends.
async fn write<D: Dialect>(
    conn: &mut Conn<D>,
    work: &mut Work,
    fence: &Fence,
    reads: Reads,
    ids: Ids,
) -> Result<IsEnded, Broken> {
    begin_conversations::<D>(conn, work).await?;
    let mut entries = Vec::with_capacity(work.entries.len());
    for entry in &work.entries {
        if let Some(no) = work.numbers.get(&entry.conv) {
            entries.push(row::entry(*no, entry));
        }
    }
    answers::<D>(conn, work).await?;
    blocks::<D>(conn, work).await?;
    facts::write::<D>(conn, work).await?;
    let changes = Changes::of(work);
    let longer = match fence {
        Fence::Alone => changes.only_longer(),
        Fence::Shard(_) => None,
    };
    if let (Reads::Plain, Ids::Fresh, Some(longer)) = (reads, ids, &longer) {
        match D::end(conn, work.stamps, &entries, longer).await? {
            End::Done => return Ok(true),
            End::NotSo => {}
            End::Moved => return Err(Broken::Moved),
        }
    }
    rows::<D>(conn, &ENTRY, entries).await?;
    erase::<D>(conn, work).await?;
    if let Some(longer) = longer {
        let stamped = D::stamp_and_lengthen(conn, work.stamps, &longer).await?;
        // Others have made it one of several meanwhile.
        return if stamped {
            Ok(false)
        } else {
            Err(Broken::Moved)
        };
    }
    let base = fence.pass::<D>(conn, work.stamps, reads).await?;
    changes.write::<D>(conn, base).await?;
    Ok(false)
}

/// Takes away what entries say that were there before.
async fn erase<D: Dialect>(conn: &mut Conn<D>, work: &Work) -> Result<(), Broken> {
    let erased = work.erased.iter();
    let keys: Vec<Vec<Arg>> = erased
        .filter_map(|(conv, seq)| Some(vec![(*work.numbers.get(conv)?).into(), (*seq).into()]))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let statement = Statement::new(
        "UPDATE im_entry SET kind = 'erased', body = '{\"kind\":\"erased\"}', reply_to = NULL, \
         mentions = NULL, expires_at = NULL WHERE kind <> 'member' AND ",
    );
    let statement = statement.join(D::any_of(&["conv", "seq"], keys.clone()));
    search::forget::<D>(conn, keys).await?;
    D::fetch(conn, statement).await?;
    Ok(())
}

pub(super) async fn rows<D: Dialect>(
    conn: &mut Conn<D>,
    table: &Table,
    rows: Vec<Vec<Arg>>,
) -> Result<(), Broken> {
    for statement in D::write(table, rows) {
        D::fetch(&mut *conn, statement).await?;
    }
    Ok(())
}

/// What a batch changes of rows that carry stamps.
struct Changes<'a> {
    members: Vec<(i64, &'a Held<Member>)>,
    /// Conversations that got longer, and those of which more has changed.
    longer: Vec<(i64, &'a Held<Conversation>)>,
    anew: Vec<(i64, &'a Held<Conversation>)>,
}

impl<'a> Changes<'a> {
    fn of(work: &'a Work) -> Self {
        let no = |conv| work.numbers.get(conv).copied();
        let members = work.members.iter().filter(|(_, held)| held.changed);
        let convs = work.convs.iter().filter(|(_, held)| held.changed);
        let convs = convs.filter_map(|(conv, held)| Some((no(conv)?, held)));
        let (anew, longer) = convs.partition(|(_, held)| held.anew);
        Self {
            members: members
                .filter_map(|((conv, _), held)| Some((no(conv)?, held)))
                .collect(),
            longer,
            anew,
        }
    }

    /// The conversations, if all that the batch does is to make some longer; their stamps are
    /// counted from the batch's first.
    fn only_longer(&self) -> Option<Vec<Longer>> {
        if !self.members.is_empty() || !self.anew.is_empty() || self.longer.is_empty() {
            return None;
        }
        let longer = self.longer.iter().map(|(no, held)| match held.stamp {
            At::New(count) => Some(longer(*no, &held.row, count)),
            At::Before(_) => None,
        });
        longer.collect()
    }

    /// Writes all, with stamps that follow `base`.
    async fn write<D: Dialect>(&self, conn: &mut Conn<D>, base: i64) -> Result<(), Broken> {
        let stamp = |at: At| match at {
            At::Before(stamp) => stamp,
            At::New(count) => Stamp((base + count).unsigned_abs()),
        };
        let members = self.members.iter();
        let members = members.map(|(no, held)| row::member(*no, &held.row, stamp(held.stamp)));
        rows::<D>(conn, &MEMBER, members.collect()).await?;
        let anew = self.anew.iter().map(|(no, held)| {
            let mut values = vec![Arg::from(*no)];
            values.extend(row::conversation(&held.row, stamp(held.stamp)));
            values
        });
        rows::<D>(conn, &CONVERSATION, anew.collect()).await?;
        let all = self.longer.iter();
        let all = all.map(|(no, held)| longer(*no, &held.row, stamp(held.stamp).0 as i64));
        let all: Vec<_> = all.collect();
        if !all.is_empty() {
            D::fetch(conn, D::lengthen(&all)).await?;
        }
        Ok(())
    }
}

const fn longer(no: i64, row: &Conversation, stamp: i64) -> Longer {
    Longer {
        no,
        head: row.head.0 as i64,
        stamp,
    }
}

/// Conversations that begin get their numbers.
async fn begin_conversations<D: Dialect>(
    conn: &mut Conn<D>,
    work: &mut Work,
) -> Result<(), Broken> {
    let new: Vec<ConversationId> = work
        .convs
        .keys()
        .filter(|conv| !work.numbers.contains_key(*conv))
        .cloned()
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let made = new.iter().filter_map(|conv| work.convs.get(conv));
    let made = made.map(|held| row::conversation(&held.row, Stamp(0)));
    rows::<D>(conn, &NEW_CONVERSATION, made.collect()).await?;
    let keys = new.iter().map(|conv| vec![conv.into()]).collect();
    for mut row in by_keys::<D>(conn, &BY_ID, keys, "").await? {
        let no = row.int()?;
        work.numbers.insert(row.conv()?, no);
    }
    let all = new.iter().all(|conv| work.numbers.contains_key(conv));
    all.then_some(())
        .ok_or_else(|| PortError::new(PortErrorKind::Internal).into())
}

async fn answers<D: Dialect>(conn: &mut Conn<D>, work: &Work) -> Result<(), Broken> {
    let (mut new, mut again) = (Vec::new(), Vec::new());
    for ((user, key), answer) in &work.answers {
        if answer.changed {
            let values = vec![
                Arc::<str>::from(user).into(),
                key.as_str().into(),
                answer.record.value.as_str().into(),
                answer.record.expires_at.0.into(),
                answer.slot.into(),
            ];
            let rows = if answer.is_there {
                &mut again
            } else {
                &mut new
            };
            rows.push(values);
        }
    }
    if !new.is_empty() {
        // Each new one takes a few that have expired with it, so that none pile up.
        D::fetch(&mut *conn, D::expire(now().0)).await?;
    }
    rows::<D>(conn, &NEW_ANSWER, new).await?;
    rows::<D>(conn, &ANSWER, again).await
}

async fn blocks<D: Dialect>(conn: &mut Conn<D>, work: &Work) -> Result<(), Broken> {
    let key = |(user, other): &(UserId, UserId)| {
        let user = Arc::<str>::from(user);
        vec![user.into(), Arc::<str>::from(other).into()]
    };
    let with_slot = |pair: &(UserId, UserId)| {
        let mut values = key(pair);
        let slot = Slot::of_block(&pair.0, &pair.1);
        values.push(i64::from(slot.number()).into());
        values
    };
    let of = |is: bool| {
        let some = work.blocks.iter().filter(move |(_, on)| **on == is);
        some.map(|(pair, _)| pair)
    };
    rows::<D>(conn, &BLOCK, of(true).map(with_slot).collect()).await?;
    let gone: Vec<_> = of(false).map(key).collect();
    if !gone.is_empty() {
        let columns = ["user_id", "other_id"];
        let statement =
            Statement::new("DELETE FROM im_block WHERE ").join(D::any_of(&columns, gone));
        D::fetch(conn, statement).await?;
    }
    Ok(())
}
