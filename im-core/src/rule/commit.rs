//! What a commit does to the conversation that it is for: decided here once, for every store.
//!
//! A store looks up what these ask for, and writes what they say. In this order: [`duplicate`],
//! the commit's records, [`check_facts`], [`check`] (with the row of [`actor_asked`]), the
//! writes, and last, when the commit's entries have their places, [`change_member`] for each
//! change.

use std::collections::BTreeMap;

use super::authorize::may_speak;
use crate::model::{
    CmId, Conversation, ConversationId, ConversationKind, Entry, Epoch, FactKey, Holder, Member,
    MessageId, NewEntry, Role, Seq, Timestamp, UserId,
};
use crate::port::{
    Appended, Commit, Committed, CursorMove, FirstSeq, Hold, MemberChange, MemberOp,
    NewConversation, PortError, PortErrorKind, Put, Rejected, Run, Was, Write,
};

/// An entry that is stored already, as far as a retry of it must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Its time.
    pub at: Timestamp,
    /// What it was made of.
    pub digest: u64,
}

impl From<&Entry> for Stored {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            id: entry.id,
            at: entry.at,
            digest: entry.digest,
        }
    }
}

/// The entries that a commit appends, in order.
pub fn appends(commit: &Commit) -> impl Iterator<Item = &NewEntry> {
    commit.writes.iter().filter_map(|write| match write {
        Write::Append(entry) => Some(entry),
        _ => None,
    })
}

/// The changes of members that a commit brings, in order.
pub fn member_changes(commit: &Commit) -> impl Iterator<Item = &MemberChange> {
    commit.writes.iter().filter_map(|write| match write {
        Write::Member(change) => Some(change),
        _ => None,
    })
}

/// The changes of facts that a commit brings, in order.
pub fn puts(commit: &Commit) -> impl Iterator<Item = &Put> {
    commit.writes.iter().filter_map(|write| match write {
        Write::Put(put) => Some(put),
        _ => None,
    })
}

/// Are the facts that a commit changes what it expects? `value` gives what one is.
///
/// # Errors
/// [`Rejected::Conflict`] when one is something else, and `Internal` for one that is not placed
/// with the commit's conversation, which is a bug of the caller.
pub fn check_facts<'a>(
    commit: &Commit,
    mut value: impl FnMut(&FactKey) -> Option<&'a str>,
) -> Result<(), Rejected> {
    for put in puts(commit) {
        if put.key.place().as_ref() != Some(&commit.conv) {
            return Err(PortError::new(PortErrorKind::Internal).into());
        }
        let is_so = match (&put.was, value(&put.key)) {
            (Was::Any, _) | (Was::Absent, None) => true,
            (Was::Value(was), Some(is)) => was == is,
            (Was::Absent, Some(_)) | (Was::Value(_), None) => false,
        };
        if !is_so {
            return Err(Rejected::Conflict);
        }
    }
    Ok(())
}

/// Whether a commit changes members, title, or who may speak and see: its last entry's place is
/// the version then.
#[must_use]
pub fn changes_rules(commit: &Commit) -> bool {
    let is_rule = |write: &Write| {
        matches!(
            write,
            Write::Member(_) | Write::Title(_) | Write::Speaks(_) | Write::HideHistory(_)
        )
    };
    commit.writes.iter().any(is_rule)
}

/// What the first try got, if the commit was sent before; `None` when it is new. `sent` gives what
/// is stored in the conversation under a sender and a `cm_id`.
///
/// # Errors
/// [`Rejected::CmIdReused`] when an id stands for something else, or only some of them are used.
pub fn duplicate(
    commit: &Commit,
    there: Option<&Conversation>,
    sent: impl FnMut(&UserId, &CmId) -> Option<Stored>,
) -> Result<Option<Committed>, Rejected> {
    match there {
        Some(there) => duplicate_at(commit, there.version, sent),
        None => Ok(None),
    }
}

/// [`duplicate`] for a conversation that exists and has that version.
///
/// # Errors
/// The same.
pub fn duplicate_at(
    commit: &Commit,
    version: Seq,
    mut sent: impl FnMut(&UserId, &CmId) -> Option<Stored>,
) -> Result<Option<Committed>, Rejected> {
    let (mut appended, mut is_new) = (Vec::new(), false);
    for entry in appends(commit) {
        let Some(cm_id) = &entry.cm_id else { continue };
        let Some(first) = sent(&entry.from, cm_id) else {
            is_new = true;
            continue;
        };
        if first.digest != entry.digest {
            return Err(Rejected::CmIdReused);
        }
        appended.push(Appended {
            seq: first.seq,
            id: first.id,
            at: first.at,
            dup: true,
        });
    }
    if appended.is_empty() {
        return Ok(None);
    }
    if is_new {
        return Err(Rejected::CmIdReused);
    }
    Ok(Some(Committed {
        appended,
        version,
        created: false,
    }))
}

/// The member whose row [`check`] looks at, if it does.
#[must_use]
pub fn actor_asked<'a>(commit: &'a Commit, there: Option<&Conversation>) -> Option<&'a UserId> {
    let expected = commit.expect_version?;
    there.filter(|there| there.version != expected)?;
    commit.actor.as_ref()
}

/// May a commit that is no duplicate be applied to what is there?
///
/// # Errors
/// [`Rejected::NotFound`], [`Rejected::Conflict`], `Fenced` when somebody else holds the log, and
/// `Internal` for one that uses a `cm_id` twice, which is a bug of the caller.
pub fn check(
    commit: &Commit,
    there: Option<&Conversation>,
    actor: Option<&Member>,
) -> Result<(), Rejected> {
    let mut exists = there.is_some();
    for write in &commit.writes {
        match write {
            Write::Create(_) => exists = true,
            write if !exists && changes_log(write) => return Err(Rejected::NotFound),
            _ => {}
        }
    }
    check_holder(commit, there)?;
    if conflicts(commit, there, actor) {
        return Err(Rejected::Conflict);
    }
    let ids: Vec<_> = appends(commit)
        .filter_map(|entry| Some((&entry.from, entry.cm_id.as_ref()?)))
        .collect();
    let twice = |(at, id): (usize, _)| ids[..at].contains(id);
    if ids.iter().enumerate().any(twice) {
        return Err(PortError::new(PortErrorKind::Internal).into());
    }
    Ok(())
}

/// Whether a write is one that only the log's holder may bring.
const fn changes_log(write: &Write) -> bool {
    match write {
        Write::Append(_)
        | Write::Member(_)
        | Write::Title(_)
        | Write::Speaks(_)
        | Write::HideHistory(_)
        | Write::Erase(_)
        | Write::Hold(_)
        | Write::Place(_) => true,
        Write::Create(_)
        | Write::Cursor(_)
        | Write::Block { .. }
        | Write::Record(_)
        | Write::Put(_) => false,
    }
}

/// Whether the log is free, or the commit its holder's.
fn check_holder(commit: &Commit, there: Option<&Conversation>) -> Result<(), Rejected> {
    let Some(there) = there.filter(|_| commit.writes.iter().any(changes_log)) else {
        return Ok(());
    };
    let (from, head) = match commit.writes.first() {
        Some(Write::Hold(hold)) => (hold.from, hold.head),
        _ => (Holder(0), None),
    };
    if there.holder != from {
        return Err(PortError::new(PortErrorKind::Fenced).into());
    }
    if head.is_some_and(|head| head != there.head) {
        return Err(Rejected::Conflict);
    }
    Ok(())
}

/// What a write that is a rule of the conversation sets; others set nothing.
pub fn set_rule(conversation: &mut Conversation, write: &Write) {
    match write {
        Write::Title(title) => conversation.title.clone_from(title),
        Write::Speaks(role) => conversation.speaks = *role,
        Write::HideHistory(hide) => conversation.hide_history = *hide,
        _ => {}
    }
}

/// The places that a commit erases, and whether it does so at all.
#[must_use]
pub fn erased(commit: &Commit) -> Option<Vec<Seq>> {
    let erases = commit.writes.iter().filter_map(|write| match write {
        Write::Erase(seqs) => Some(seqs),
        _ => None,
    });
    let all: Vec<Seq> = erases.flatten().copied().collect();
    (!all.is_empty()).then_some(all)
}

/// Takes or gives up a log. Whether it began another epoch, which lists must show.
pub fn hold(conversation: &mut Conversation, hold: &Hold) -> bool {
    conversation.holder = hold.to;
    if hold.lost {
        conversation.epoch = Epoch(conversation.epoch.0 + 1);
    }
    hold.lost
}

/// How many entries of a run stand in the log already, which has `head`; `id_at` gives what stands
/// at a place. The others follow the head.
///
/// # Errors
/// [`Rejected::Conflict`] when the run leaves a gap, or something else stands at a place of it.
pub fn stands(
    run: &Run,
    head: Seq,
    mut id_at: impl FnMut(Seq) -> Option<MessageId>,
) -> Result<usize, Rejected> {
    if run.first.0 == 0 || run.first > head.next() {
        return Err(Rejected::Conflict);
    }
    let there = (head.next().0 - run.first.0).min(run.entries.len() as u64) as usize;
    let same = |(seq, entry): (u64, &NewEntry)| id_at(Seq(seq)) == Some(entry.id);
    if (run.first.0..).zip(&run.entries[..there]).all(same) {
        return Ok(there);
    }
    Err(Rejected::Conflict)
}

/// Whether what the commit was decided on has changed.
#[must_use]
pub fn conflicts(commit: &Commit, there: Option<&Conversation>, actor: Option<&Member>) -> bool {
    let version = there.map_or(Seq(0), |there| there.version);
    let Some(expected) = commit.expect_version.filter(|it| *it != version) else {
        return false;
    };
    let (Some(_), Some(there)) = (&commit.actor, there) else {
        return true;
    };
    // With an actor only their own row counts, and whether such as they still speak: what was
    // decided before everybody was told to be quiet is decided anew.
    actor.is_none_or(|row| {
        !row.is_in() || row.version > expected || !all_may_speak(commit, row.role, there)
    })
}

fn all_may_speak(commit: &Commit, role: Role, there: &Conversation) -> bool {
    appends(commit).all(|entry| may_speak(entry.body.kind(), role, there.speaks))
}

/// A conversation that begins, and its first members, in the order of their ids.
#[must_use]
pub fn begin(conv: &ConversationId, new: &NewConversation) -> (Conversation, Vec<Member>) {
    // Of one who is named twice the last role counts.
    let members: BTreeMap<_, _> = new
        .members
        .iter()
        .map(|(user, role)| (user, *role))
        .collect();
    let conversation = Conversation {
        id: conv.clone(),
        kind: new.kind,
        title: new.title.clone(),
        epoch: Epoch(1),
        head: Seq(0),
        version: Seq(0),
        first_seq: Seq(1),
        member_count: u32::try_from(members.len()).unwrap_or(u32::MAX),
        hide_history: new.hide_history,
        speaks: match new.kind {
            ConversationKind::Channel => Role::Admin,
            _ => Role::Member,
        },
        erasures: 0,
        holder: Holder(0),
    };
    let members = members.into_iter();
    let members = members.map(|(user, role)| newcomer(user, role, Seq(1)));
    (conversation, members.collect())
}

fn newcomer(user: &UserId, role: Role, first_seq: Seq) -> Member {
    Member {
        user: user.clone(),
        role,
        first_seq,
        left_seq: None,
        version: Seq(0),
        muted_until: None,
        delivered: Seq(0),
        read: Seq(0),
    }
}

/// A member's row after a change, when the commit's entries have their places: `first` is the place
/// of the first, the conversation's head that of the last. `None` when nothing changes.
pub fn change_member(
    conversation: &mut Conversation,
    row: Option<Member>,
    change: &MemberChange,
    first: Seq,
) -> Option<Member> {
    let is_in = row.as_ref().is_some_and(Member::is_in);
    let mut member = match (change.op, row) {
        (MemberOp::Add { role, .. }, row) => {
            let mut member = row.unwrap_or_else(|| newcomer(&change.user, role, first));
            member.role = role;
            member
        }
        (_, Some(row)) if is_in => row,
        _ => return None,
    };
    member.version = conversation.head;
    match change.op {
        MemberOp::Add { first: sees, .. } if !is_in => {
            member.first_seq = match sees {
                FirstSeq::All => conversation.first_seq,
                FirstSeq::Here => first,
            };
            member.left_seq = None;
            conversation.member_count += 1;
        }
        MemberOp::Add { .. } => {}
        MemberOp::Remove => {
            member.left_seq = Some(conversation.head);
            conversation.member_count = conversation.member_count.saturating_sub(1);
        }
        MemberOp::Role(role) => member.role = role,
        MemberOp::Mute(until) => member.muted_until = until,
    }
    Some(member)
}

/// How far a move takes the cursors of one who is behind it: `delivered` and `read`.
#[must_use]
pub fn cursor_goal(to: &CursorMove, head: Seq) -> (Seq, Seq) {
    let read = to.read.unwrap_or_default().min(head);
    let delivered = to.delivered.unwrap_or_default().min(head).max(read);
    (delivered, read)
}

#[cfg(test)]
mod tests;
