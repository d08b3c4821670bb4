//! Commits that do more than append: decided and applied inside the batch's transaction.

use std::collections::BTreeMap;

use im_core::model::{ConversationId, NewEntry, Seq};
use im_core::port::{Appended, Commit, Committed, Hold, PortError, Rejected, Run, Write};
use im_core::rule::commit::{
    actor_asked, change_member, changes_rules, check, erased, hold, member_changes, set_rule,
    stands,
};
use sqlx::sqlite::SqliteConnection;

use super::work::{Mutexed, Touched, Work, next_seq};
use super::{conversations, facts, log, members, records};

/// What a commit that was sent before got; `None` when this one may be applied.
pub(super) async fn decide(
    conn: &mut SqliteConnection,
    tail: Mutexed<'_>,
    work: &Work,
    commit: &Commit,
) -> Result<Option<Committed>, Rejected> {
    if let Some(duplicate) = work.duplicate(tail, commit)? {
        return Ok(Some(duplicate));
    }
    records::check(conn, commit).await?;
    facts::check(conn, commit).await?;
    let touched = work.touched.get(&commit.conv);
    let there = touched.map(|touched| &touched.conversation);
    let actor = match (touched, actor_asked(commit, there)) {
        (Some(touched), Some(actor)) => {
            let users = std::slice::from_ref(actor);
            members::read(conn, touched.no, users).await?.remove(actor)
        }
        _ => None,
    };
    check(commit, there, actor.as_ref().map(|(member, _)| member))?;
    if let Some(touched) = touched {
        for write in &commit.writes {
            if let Write::Place(run) = write {
                check_places(conn, tail, touched, run).await?;
            }
        }
    }
    Ok(None)
}

/// Whether a run fits behind the log, or is in it.
async fn check_places(
    conn: &mut SqliteConnection,
    tail: Mutexed<'_>,
    touched: &Touched,
    run: &Run,
) -> Result<(), Rejected> {
    let head = touched.conversation.head;
    let mut ids = BTreeMap::new();
    if run.first <= head {
        let last = Seq(run.first.0.saturating_add(run.entries.len() as u64));
        ids.extend(log::ids(conn, touched.no, run.first, last.min(head)).await?);
        let tail = tail.lock();
        let known = tail.get(&touched.conversation.id);
        let known = known.into_iter().flat_map(|it| it.range(run.first, head));
        ids.extend(known.map(|entry| (entry.seq, entry.id)));
        ids.extend(touched.new.iter().map(|it| (it.entry.seq, it.entry.id)));
    }
    stands(run, head, |seq| ids.get(&seq).copied()).map(drop)
}

/// Writes a commit that was decided on, but for its entries, which stay in the work.
pub(super) async fn apply(
    conn: &mut SqliteConnection,
    work: &mut Work,
    commit: &Commit,
) -> Result<Committed, PortError> {
    let conv = &commit.conv;
    let first = next_seq(work.touched.get(conv));
    let mut done = Committed {
        appended: Vec::new(),
        version: Seq(0),
        created: false,
    };
    for write in &commit.writes {
        match write {
            Write::Create(new) => {
                if !work.touched.contains_key(conv) {
                    conversations::create(conn, work, conv, new).await?;
                    done.created = true;
                }
            }
            Write::Append(new) => done.appended.extend(work.append(conv, new)),
            Write::Title(_) | Write::Speaks(_) | Write::HideHistory(_) => {
                if let Some(touched) = work.touched.get_mut(conv) {
                    set_rule(&mut touched.conversation, write);
                }
            }
            Write::Cursor(to) => members::move_cursor(conn, work, conv, to).await?,
            Write::Block { user, other, on } => {
                records::block(conn, user, other, *on).await?;
            }
            Write::Record(record) => records::keep(conn, record).await?,
            Write::Put(put) => facts::put(conn, put).await?,
            Write::Hold(to) => take_hold(conn, work, conv, to).await?,
            Write::Place(run) => done.appended.extend(place(work, conv, run)),
            // After the last entry is known.
            Write::Member(_) | Write::Erase(_) => {}
        }
    }
    finish(conn, work, commit, first, &mut done).await?;
    Ok(done)
}

async fn take_hold(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    to: &Hold,
) -> Result<(), PortError> {
    let stamp = to.lost.then(|| work.stamp_alone());
    let Some(touched) = work.touched.get_mut(conv) else {
        return Ok(());
    };
    hold(&mut touched.conversation, to);
    touched.stamp = stamp.unwrap_or(touched.stamp);
    conversations::write(conn, touched).await
}

/// Appends what of a run is not in the log.
fn place(work: &mut Work, conv: &ConversationId, run: &Run) -> Vec<Appended> {
    let head = work.touched.get(conv).map(|it| it.conversation.head);
    let head = head.unwrap_or_default();
    let places = (run.first.0..).map(Seq).zip(&run.entries);
    let place = |(seq, entry): (Seq, &NewEntry)| {
        if seq > head {
            return work.append(conv, entry);
        }
        Some(Appended {
            seq,
            id: entry.id,
            at: entry.at,
            dup: true,
        })
    };
    places.filter_map(place).collect()
}

/// Takes away what entries say: those of the batch here, the others in the table.
async fn erase(
    conn: &mut SqliteConnection,
    work: &mut Work,
    conv: &ConversationId,
    seqs: &[Seq],
) -> Result<(), PortError> {
    let Some(touched) = work.touched.get_mut(conv) else {
        return Ok(());
    };
    touched.conversation.erasures += 1;
    let no = touched.no;
    for seq in seqs {
        if !work.erase(conv, *seq) {
            log::erase(conn, no, *seq).await?;
        }
    }
    Ok(())
}

/// What depends on the commit's last entry: members, version, the conversation's row.
async fn finish(
    conn: &mut SqliteConnection,
    work: &mut Work,
    commit: &Commit,
    first: Seq,
    done: &mut Committed,
) -> Result<(), PortError> {
    let rules = changes_rules(commit);
    let erased = erased(commit);
    if let Some(seqs) = &erased {
        erase(conn, work, &commit.conv, seqs).await?;
    }
    if (rules || erased.is_some()) && done.appended.is_empty() {
        let stamp = work.stamp_alone();
        if let Some(touched) = work.touched.get_mut(&commit.conv) {
            touched.stamp = stamp;
        }
    }
    let Some(touched) = work.touched.get_mut(&commit.conv) else {
        return Ok(());
    };
    let users: Vec<_> = member_changes(commit)
        .map(|change| change.user.clone())
        .collect();
    if !users.is_empty() {
        let mut rows = members::read(conn, touched.no, &users).await?;
        let stamp = touched.stamp;
        for change in member_changes(commit) {
            let row = rows.get(&change.user).map(|(member, _)| member.clone());
            let changed = change_member(&mut touched.conversation, row, change, first);
            rows.extend(changed.map(|member| (member.user.clone(), (member, stamp))));
        }
        let changed: Vec<_> = rows.into_values().filter(|(_, at)| *at == stamp).collect();
        members::write(conn, touched.no, &changed).await?;
    }
    if rules && !done.appended.is_empty() {
        touched.conversation.version = touched.conversation.head;
    }
    done.version = touched.conversation.version;
    if rules || erased.is_some() {
        conversations::write(conn, touched).await?;
    }
    Ok(())
}
