//! What a commit does to the conversation that it is for: decided here once, for every store.
//!
//! A store looks up what these ask for, and writes what they say. In this order: [`duplicate`],
//! the commit's records, [`check_facts`], [`check`] (with the row of [`actor_asked`]), the
//! writes, and last, when the commit's entries have their places, [`change_member`] for each
//! change.

use std::collections::BTreeMap;

use crate::model::{
    CmId, Conversation, ConversationId, Entry, Epoch, FactKey, Holder, Member, MessageId, NewEntry,
    Role, Seq, Timestamp, UserId,
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

/// Whether a commit changes members or title: its last entry's place is the version then.
#[must_use]
pub fn changes_rules(commit: &Commit) -> bool {
    let is_rule = |write: &Write| matches!(write, Write::Member(_) | Write::Title(_));
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
    // With an actor only their own row counts.
    commit.actor.is_none() || actor.is_none_or(|row| !row.is_in() || row.version > expected)
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
mod tests {
    use super::*;
    use crate::model::ConversationKind;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    fn group(head: u64, version: u64) -> Conversation {
        let new = NewConversation {
            kind: ConversationKind::Group,
            title: None,
            hide_history: false,
            members: vec![(user("b"), Role::Member), (user("a"), Role::Owner)],
        };
        let (mut conversation, members) = begin(&ConversationId::new("g").unwrap(), &new);
        let names: Vec<_> = members.iter().map(|it| it.user.as_str()).collect();
        assert_eq!((names, conversation.member_count), (vec!["a", "b"], 2));
        conversation.head = Seq(head);
        conversation.version = Seq(version);
        conversation
    }

    fn commit(expected: Option<u64>, actor: Option<&str>) -> Commit {
        Commit {
            conv: ConversationId::new("g").unwrap(),
            expect_version: expected.map(Seq),
            actor: actor.map(user),
            writes: vec![Write::Title(None)],
        }
    }

    #[test]
    fn a_version_conflicts_unless_it_is_the_actors_own_row_that_counts() {
        let there = group(9, 7);
        let mut row = newcomer(&user("a"), Role::Member, Seq(1));
        row.version = Seq(5);
        let verdict =
            |commit: &Commit, row: Option<&Member>| check(commit, Some(&there), row).is_ok();
        assert!(verdict(&commit(None, None), None));
        assert!(verdict(&commit(Some(7), None), None));
        assert!(!verdict(&commit(Some(6), None), Some(&row)));
        assert!(verdict(&commit(Some(6), Some("a")), Some(&row)));
        assert!(verdict(&commit(Some(5), Some("a")), Some(&row)));
        assert!(!verdict(&commit(Some(4), Some("a")), Some(&row)));
        assert!(!verdict(&commit(Some(6), Some("a")), None));
        let gone = Member {
            left_seq: Some(Seq(5)),
            ..row
        };
        assert!(!verdict(&commit(Some(6), Some("a")), Some(&gone)));
        // The row is asked for exactly when it decides.
        let asked = |commit: &Commit| actor_asked(commit, Some(&there)).is_some();
        assert!(asked(&commit(Some(6), Some("a"))));
        assert!(!asked(&commit(Some(7), Some("a"))) && !asked(&commit(Some(6), None)));
    }

    #[test]
    fn only_the_holder_changes_a_log() {
        let mut there = group(9, 0);
        let hold = |from, to, head| {
            Write::Hold(Hold {
                from: Holder(from),
                to: Holder(to),
                head,
                lost: false,
            })
        };
        let verdict = |there: &Conversation, writes: &[Write]| {
            let commit = Commit {
                writes: writes.to_vec(),
                ..commit(None, None)
            };
            check(&commit, Some(there), None).map_err(|rejected| rejected.to_string())
        };
        let title = Write::Title(None);
        let fenced = Err("no longer the owner".to_owned());
        assert_eq!(verdict(&there, &[hold(7, 7, None), title.clone()]), fenced);
        assert_eq!(verdict(&there, &[hold(0, 7, Some(Seq(9)))]), Ok(()));
        let moved = verdict(&there, &[hold(0, 7, Some(Seq(8)))]);
        assert_eq!(moved, Err(Rejected::Conflict.to_string()));
        there.holder = Holder(7);
        assert_eq!(verdict(&there, std::slice::from_ref(&title)), fenced);
        assert_eq!(verdict(&there, &[title.clone(), hold(7, 7, None)]), fenced);
        assert_eq!(verdict(&there, &[hold(7, 0, None), title]), Ok(()));
        let cursor = Write::Cursor(CursorMove {
            user: user("a"),
            delivered: None,
            read: Some(Seq(1)),
        });
        assert_eq!(verdict(&there, &[cursor]), Ok(()));
    }

    #[test]
    fn a_change_does_what_it_says_to_whom_it_can() {
        let change = |op| MemberChange {
            user: user("a"),
            op,
        };
        let add = |first| {
            let role = Role::Admin;
            change(MemberOp::Add { role, first })
        };
        let mut there = group(9, 0);
        let new = change_member(&mut there, None, &add(FirstSeq::Here), Seq(8)).unwrap();
        assert_eq!(
            (new.first_seq, new.left_seq, new.version),
            (Seq(8), None, Seq(9))
        );
        assert_eq!((new.role, there.member_count), (Role::Admin, 3));
        // Of one who is in: the role alone.
        let again = change_member(&mut there, Some(new), &add(FirstSeq::All), Seq(9)).unwrap();
        assert_eq!((again.first_seq, there.member_count), (Seq(8), 3));
        there.head = Seq(12);
        let gone = change_member(&mut there, Some(again), &change(MemberOp::Remove), Seq(12));
        let gone = gone.unwrap();
        assert_eq!((gone.left_seq, there.member_count), (Some(Seq(12)), 2));
        for op in [
            MemberOp::Remove,
            MemberOp::Role(Role::Owner),
            MemberOp::Mute(None),
        ] {
            for row in [None, Some(gone.clone())] {
                assert_eq!(change_member(&mut there, row, &change(op), Seq(13)), None);
            }
        }
        let back = change_member(&mut there, Some(gone), &add(FirstSeq::All), Seq(12)).unwrap();
        assert_eq!((back.first_seq, there.member_count), (Seq(1), 3));
    }
}
