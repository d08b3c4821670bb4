//! What a batch asks for, read inside its transaction, behind the locks of its conversations.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use im_core::model::{ConversationId, MessageId, Seq, Timestamp, UserId};
use im_core::port::{Commit, Record, RecordKey, Write};
use im_core::rule::commit::{Stored, actor_asked, appends, changes_rules, member_changes};

use super::commit::Broken;
use super::dialect::{Conn, Dialect};
use super::facts;
use super::row::{CONVERSATION, Fields, MEMBER};
use super::statement::{Arg, BY_ID, Look};
use super::work::{Answer, Held, Work, answer_key};

/// Most keys of one look-up, so that no statement grows with what a batch happens to hold.
const KEYS_MAX: usize = 4_096;

/// How rows are read behind the locks of their conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// As each statement finds them: the transaction is ours, and reads what is committed.
    Plain,
    /// Locked themselves, so that they are what is committed also where the transaction shows what
    /// was there when it began.
    Locked,
}

impl Reads {
    pub(super) const fn clause(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Locked => " FOR UPDATE",
        }
    }
}

/// What is thought of the `cm_id`s that a batch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// None was used before, as is so nearly always: if one was, its key refuses the entry, and the
    /// batch runs again. Whoever decides so must ask before a commit is refused.
    Fresh,
    /// Each is looked up.
    Asked,
}

/// Locks the batch's conversations, and reads what its commits ask for.
pub(super) async fn load<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    reads: Reads,
    ids: Ids,
) -> Result<Work, Broken> {
    let mut work = Work::default();
    conversations::<D>(conn, batch, &mut work).await?;
    if ids == Ids::Asked {
        sent::<D>(conn, batch, reads, &mut work).await?;
    }
    standing::<D>(conn, batch, reads, &mut work).await?;
    members::<D>(conn, batch, reads, &mut work).await?;
    answers::<D>(conn, batch, &mut work).await?;
    facts::load::<D>(conn, batch, &mut work).await?;
    Ok(work)
}

/// The rows that the keys find and the condition lets through, in as few statements as the keys
/// allow.
pub(super) async fn by_keys<D: Dialect>(
    conn: &mut Conn<D>,
    look: &Look<'_>,
    keys: Vec<Vec<Arg>>,
    then: &str,
) -> Result<Vec<Fields>, sqlx::Error> {
    let mut found = Vec::new();
    let mut keys = keys.into_iter();
    loop {
        let some: Vec<_> = keys.by_ref().take(KEYS_MAX).collect();
        if some.is_empty() {
            return Ok(found);
        }
        let statement = D::look_up(look, some).then(then);
        let rows = D::fetch(&mut *conn, statement).await?;
        found.extend(rows.into_iter().map(Fields::from));
    }
}

async fn conversations<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    work: &mut Work,
) -> Result<(), Broken> {
    let ids: BTreeSet<&ConversationId> = batch
        .iter()
        .filter(|commit| asks_for_conversation(commit))
        .map(|commit| &commit.conv)
        .collect();
    let keys = ids.into_iter().map(|id| vec![id.into()]).collect();
    let look = Look {
        what: CONVERSATION,
        ..BY_ID
    };
    // Everybody takes the locks in the same order.
    let then = D::lock_in_order("c.id");
    for mut row in by_keys::<D>(conn, &look, keys, &then).await? {
        let (no, conversation, stamp) = row.conversation()?;
        work.numbers.insert(conversation.id.clone(), no);
        let id = conversation.id.clone();
        work.convs.insert(id, Held::found(conversation, stamp));
    }
    Ok(())
}

/// Blocks, records and facts alone need no conversation.
fn asks_for_conversation(commit: &Commit) -> bool {
    let alone = |write: &Write| {
        matches!(
            write,
            Write::Block { .. } | Write::Record(_) | Write::Put(_)
        )
    };
    commit.expect_version.is_some() || !commit.writes.iter().all(alone)
}

async fn sent<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    reads: Reads,
    work: &mut Work,
) -> Result<(), Broken> {
    let mut keys = Vec::new();
    for commit in batch {
        let Some(no) = work.numbers.get(&commit.conv) else {
            continue;
        };
        for new in appends(commit) {
            if let Some(cm_id) = &new.cm_id {
                let from = Arc::<str>::from(&new.from);
                keys.push(vec![
                    (*no).into(),
                    from.into(),
                    Arc::<str>::from(cm_id).into(),
                ]);
            }
        }
    }
    let ids = by_number(work);
    let look = Look {
        what: "e.conv, e.sender, e.cm_id, e.seq, e.id, e.at, e.digest",
        table: "im_entry e",
        index: "im_entry_cm",
        columns: &["e.conv", "e.sender", "e.cm_id"],
    };
    for mut row in by_keys::<D>(conn, &look, keys, reads.clause()).await? {
        let (no, from, cm_id) = (row.int()?, row.user()?, row.cm_id()?);
        let stored = Stored {
            seq: row.seq()?,
            id: MessageId(row.int()? as u64),
            at: Timestamp(row.int()?),
            digest: row.int()? as u64,
        };
        if let (Some(conv), Some(cm_id)) = (ids.get(&no), cm_id) {
            work.sent.insert((conv.clone(), from, cm_id), stored);
        }
    }
    Ok(())
}

/// What stands at the places of runs that were written before, in part or as a whole.
async fn standing<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    reads: Reads,
    work: &mut Work,
) -> Result<(), Broken> {
    let mut keys = Vec::new();
    for commit in batch {
        let (Some(no), Some(held)) = (work.numbers.get(&commit.conv), work.convs.get(&commit.conv))
        else {
            continue;
        };
        for write in &commit.writes {
            if let Write::Place(run) = write {
                let last = run.first.0.saturating_add(run.entries.len() as u64);
                let there = run.first.0..last.min(held.row.head.next().0);
                keys.extend(there.map(|seq| vec![(*no).into(), Seq(seq).into()]));
            }
        }
    }
    let ids = by_number(work);
    let look = Look {
        what: "e.conv, e.seq, e.id",
        table: "im_entry e",
        index: "PRIMARY",
        columns: &["e.conv", "e.seq"],
    };
    for mut row in by_keys::<D>(conn, &look, keys, reads.clause()).await? {
        let (no, seq, id) = (row.int()?, row.seq()?, row.int()? as u64);
        if let Some(conv) = ids.get(&no) {
            work.standing.insert((conv.clone(), seq), MessageId(id));
        }
    }
    Ok(())
}

fn by_number(work: &Work) -> HashMap<i64, ConversationId> {
    let numbers = work.numbers.iter();
    numbers.map(|(conv, no)| (*no, conv.clone())).collect()
}

async fn members<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    reads: Reads,
    work: &mut Work,
) -> Result<(), Broken> {
    let mut asked: BTreeSet<(i64, &UserId)> = BTreeSet::new();
    let rules: BTreeSet<_> = batch
        .iter()
        .filter(|commit| changes_rules(commit))
        .map(|commit| &commit.conv)
        .collect();
    for commit in batch {
        let (Some(no), Some(held)) = (work.numbers.get(&commit.conv), work.convs.get(&commit.conv))
        else {
            continue;
        };
        // Their row counts when the version is another one, or will be by the batch's own doing.
        let counts = actor_asked(commit, Some(&held.row));
        let will = commit
            .actor
            .as_ref()
            .filter(|_| rules.contains(&commit.conv));
        asked.extend(counts.or(will).map(|user| (*no, user)));
        asked.extend(member_changes(commit).map(|change| (*no, &change.user)));
        for write in &commit.writes {
            if let Write::Cursor(to) = write {
                asked.insert((*no, &to.user));
            }
        }
    }
    let ids = by_number(work);
    let keys = asked.into_iter();
    let keys = keys.map(|(no, user)| vec![no.into(), Arc::<str>::from(user).into()]);
    let what = format!("m.conv, {MEMBER}");
    let look = Look {
        what: &what,
        table: "im_member m",
        index: "PRIMARY",
        columns: &["m.conv", "m.user_id"],
    };
    for mut row in by_keys::<D>(conn, &look, keys.collect(), reads.clause()).await? {
        let no = row.int()?;
        let (member, stamp) = row.member()?;
        if let Some(conv) = ids.get(&no) {
            let key = (conv.clone(), member.user.clone());
            work.members.insert(key, Held::found(member, stamp));
        }
    }
    Ok(())
}

async fn answers<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    work: &mut Work,
) -> Result<(), Broken> {
    let writes = batch.iter().flat_map(|commit| &commit.writes);
    let keys: BTreeSet<_> = writes
        .filter_map(|write| match write {
            Write::Record(record) => answer_key(&record.key),
            _ => None,
        })
        .collect();
    let keys = keys
        .iter()
        .map(|(user, key)| vec![Arc::<str>::from(user).into(), key.as_str().into()]);
    let look = Look {
        what: "a.user_id, a.request_key, a.value, a.expires_at",
        table: "im_answer a",
        index: "PRIMARY",
        columns: &["a.user_id", "a.request_key"],
    };
    let then = D::lock_in_order("a.user_id, a.request_key");
    for mut row in by_keys::<D>(conn, &look, keys.collect(), &then).await? {
        let (user, key) = (row.user()?, row.text()?);
        let record = Record {
            key: RecordKey::Answer {
                user: user.clone(),
                key: key.clone(),
            },
            value: row.text()?,
            expires_at: Timestamp(row.int()?),
        };
        let answer = Answer {
            record,
            // Written over with the record, if it is.
            slot: 0,
            is_there: true,
            changed: false,
        };
        work.answers.insert((user, key), answer);
    }
    Ok(())
}
