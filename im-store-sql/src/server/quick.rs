//! A batch that only appends, as nearly all of them do: where the database can, one statement
//! locks, decides and writes it, and is a transaction of its own.
//!
//! It takes the plain case alone: every conversation is there, nobody holds its log, it has the
//! version that was expected, and no `cm_id` was used before. Otherwise it writes nothing, and the
//! batch goes the long way, which decides by the core's rule.

use std::collections::BTreeMap;

use im_core::model::{ConversationId, NewEntry, Seq};
use im_core::port::{Appended, Commit, Committed, Write};

use super::commit::{Answers, Broken};
use super::dialect::{Conn, Dialect};
use super::row::{self, Fields};
use super::statement::{Appends, Arg};

/// What a batch does to a conversation.
#[derive(Debug, Default)]
struct Run {
    /// Its place among the batch's conversations, from 1.
    at: i64,
    version: Option<Seq>,
    count: i64,
    /// The number of the last commit to it, from 1: each takes a stamp.
    stamp: i64,
}

/// Commits the batch if it is a plain case and the database can: its answers, or nothing if
/// nothing was written.
pub(super) async fn commit<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
) -> Result<Option<Answers>, Broken> {
    let Some(runs) = runs(batch) else {
        return Ok(None);
    };
    let Some(statement) = D::append(appends(batch, &runs)) else {
        return Ok(None);
    };
    match D::fetch(conn, statement).await {
        Ok(rows) if rows.len() == runs.len() => answers(batch, &runs, rows).map(Some),
        // What the server refuses, it has undone: an id that was used before, a deadlock. Whatever
        // else it is, the long way meets it again, and says so.
        Ok(_) | Err(sqlx::Error::Database(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The batch's conversations, if it only appends.
fn runs(batch: &[Commit]) -> Option<BTreeMap<&ConversationId, Run>> {
    let mut runs = BTreeMap::<_, Run>::new();
    for (stamp, commit) in (1..).zip(batch) {
        let run = runs.entry(&commit.conv).or_default();
        let expected = commit.expect_version.or(run.version);
        if commit.writes.is_empty() || expected != run.version.or(expected) {
            return None;
        }
        run.version = expected;
        run.stamp = stamp;
        for write in &commit.writes {
            let Write::Append(_) = write else {
                return None;
            };
            run.count += 1;
        }
    }
    for (at, run) in (1..).zip(runs.values_mut()) {
        run.at = at;
    }
    Some(runs)
}

/// Each entry of the batch, with its conversation and its place after the head, from 1.
fn places<'a>(
    batch: &'a [Commit],
    runs: &'a BTreeMap<&ConversationId, Run>,
) -> impl Iterator<Item = Vec<(i64, i64, &'a NewEntry)>> {
    let mut counts = vec![0; runs.len() + 1];
    batch.iter().map(move |commit| {
        let at = runs.get(&commit.conv).map_or(0, |run| run.at);
        let entries = im_core::rule::commit::appends(commit);
        let places = entries.map(|new| {
            let count = &mut counts[at as usize];
            *count += 1;
            (at, *count, new)
        });
        places.collect()
    })
}

fn appends(batch: &[Commit], runs: &BTreeMap<&ConversationId, Run>) -> Appends {
    let ints = |of: fn(&Run) -> Option<i64>| Arg::Ints(runs.values().map(of).collect());
    let entries = places(batch, runs).flatten();
    Appends {
        conversations: runs.len() as i64,
        ids: Arg::Texts(runs.keys().map(|id| Some((*id).into())).collect()),
        versions: ints(|run| run.version.map(|version| version.0 as i64)),
        counts: ints(|run| Some(run.count)),
        stamps: ints(|run| Some(run.stamp)),
        entries: entries
            .map(|(at, count, new)| row::new_entry(at, Seq(count.unsigned_abs()), new))
            .collect(),
    }
}

/// What the statement gave is the conversations' heads and versions.
fn answers(
    batch: &[Commit],
    runs: &BTreeMap<&ConversationId, Run>,
    rows: Vec<row::Row>,
) -> Result<Answers, Broken> {
    let mut found = vec![(Seq(0), Seq(0)); runs.len() + 1];
    for row in rows {
        let mut row = Fields::from(row);
        let at = row.number()? as usize;
        if let Some(found) = found.get_mut(at) {
            *found = (row.seq()?, row.seq()?);
        }
    }
    let answer = |(commit, entries): (&Commit, Vec<(i64, i64, &NewEntry)>)| {
        let at = runs.get(&commit.conv).map_or(0, |run| run.at);
        let (head, version) = found[at as usize];
        let appended = entries.into_iter().map(|(_, count, new)| Appended {
            seq: Seq(head.0 + count.unsigned_abs()),
            id: new.id,
            at: new.at,
            dup: false,
        });
        Ok(Committed {
            appended: appended.collect(),
            version,
            created: false,
        })
    };
    Ok(batch.iter().zip(places(batch, runs)).map(answer).collect())
}
