//! Applies one commit: everything that can refuse it is looked at first, so that what follows
//! happens as a whole.

use std::collections::BTreeMap;

use im_core::model::{Conversation, ConversationId, Epoch, Member, Role, Seq, Stamp, Timestamp};
use im_core::model::{NewEntry, UserId};
use im_core::port::{
    Appended, Commit, Committed, CursorMove, FirstSeq, MemberChange, MemberOp, NewConversation,
    PortError, PortErrorKind, Record, RecordKey, Rejected, Write,
};

use super::state::{Log, Row, State};

impl State {
    pub(super) fn apply(&mut self, commit: &Commit, now: Timestamp) -> Result<Committed, Rejected> {
        if let Some(duplicate) = self.duplicate(commit)? {
            return Ok(duplicate);
        }
        self.check(commit, now)?;
        // One stamp a commit: no two lines of one user's list share it, since a commit writes to
        // one conversation. It is kept only if something that lists show has changed.
        let step = Step {
            stamp: Stamp(self.stamp.0 + 1),
            first: self.head(&commit.conv).next(),
        };
        let mut done = Committed {
            appended: Vec::new(),
            version: Seq(0),
            created: false,
        };
        for write in &commit.writes {
            match write {
                Write::Create(new) => done.created |= self.create(&commit.conv, new, step.stamp),
                Write::Append(entry) => done.appended.extend(self.append(&commit.conv, entry)),
                Write::Title(title) => self.title(&commit.conv, title),
                Write::Cursor(to) => self.cursor(&commit.conv, to, step.stamp),
                Write::Block { user, other, on } => self.block(user, other, *on),
                Write::Record(record) => {
                    self.records.insert(record.key.clone(), record.clone());
                }
                // After the last entry is known.
                Write::Member(_) => {}
            }
        }
        self.finish(commit, step, &mut done);
        Ok(done)
    }

    /// What an earlier commit with the same `cm_id` got.
    fn duplicate(&self, commit: &Commit) -> Result<Option<Committed>, Rejected> {
        let mut appended = Vec::new();
        let Some(log) = self.convs.get(&commit.conv) else {
            return Ok(None);
        };
        for entry in appends(commit) {
            let Some(cm_id) = &entry.cm_id else { continue };
            let seq = log.sent.get(&(entry.from.clone(), cm_id.clone()));
            let Some(first) = seq.and_then(|seq| log.entries.get(seq.0 as usize - 1)) else {
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
        Ok((!appended.is_empty()).then_some(Committed {
            appended,
            version: log.conversation.version,
            created: false,
        }))
    }

    fn check(&self, commit: &Commit, now: Timestamp) -> Result<(), Rejected> {
        for write in &commit.writes {
            if let Write::Record(record) = write
                && let Some(there) = self.record(&record.key, now)
            {
                return Err(Rejected::Done(there.value.clone()));
            }
        }
        let log = self.convs.get(&commit.conv);
        let mut exists = log.is_some();
        for write in &commit.writes {
            match write {
                Write::Create(_) => exists = true,
                Write::Append(_) | Write::Member(_) | Write::Title(_) if !exists => {
                    return Err(Rejected::NotFound);
                }
                _ => {}
            }
        }
        if conflicts(commit, log) {
            return Err(Rejected::Conflict);
        }
        check_own_ids(commit)
    }

    fn head(&self, conv: &ConversationId) -> Seq {
        self.convs
            .get(conv)
            .map_or(Seq(0), |log| log.conversation.head)
    }

    fn create(&mut self, conv: &ConversationId, new: &NewConversation, stamp: Stamp) -> bool {
        if self.convs.contains_key(conv) {
            return false;
        }
        let mut members = BTreeMap::new();
        for (user, role) in &new.members {
            let row = Row {
                member: newcomer(user, *role, Seq(1)),
                stamp,
            };
            members.insert(user.clone(), row);
            self.enlist(user, conv);
        }
        let conversation = Conversation {
            id: conv.clone(),
            kind: new.kind,
            title: new.title.clone(),
            epoch: Epoch(1),
            head: Seq(0),
            version: Seq(0),
            first_seq: Seq(1),
            member_count: members.len() as u32,
            hide_history: new.hide_history,
        };
        let log = Log {
            conversation,
            entries: Vec::new(),
            members,
            sent: BTreeMap::new(),
            stamp: Stamp(0),
        };
        self.convs.insert(conv.clone(), log);
        true
    }

    fn append(&mut self, conv: &ConversationId, entry: &NewEntry) -> Option<Appended> {
        let log = self.convs.get_mut(conv)?;
        let seq = log.conversation.head.next();
        log.conversation.head = seq;
        log.entries.push(entry.at(conv.clone(), seq));
        if let Some(cm_id) = &entry.cm_id {
            log.sent.insert((entry.from.clone(), cm_id.clone()), seq);
        }
        Some(Appended {
            seq,
            id: entry.id,
            at: entry.at,
            dup: false,
        })
    }

    fn title(&mut self, conv: &ConversationId, title: &Option<String>) {
        if let Some(log) = self.convs.get_mut(conv) {
            log.conversation.title.clone_from(title);
        }
    }

    fn cursor(&mut self, conv: &ConversationId, to: &CursorMove, stamp: Stamp) {
        let Some(log) = self.convs.get_mut(conv) else {
            return;
        };
        let head = log.conversation.head;
        let Some(row) = log.members.get_mut(&to.user) else {
            return;
        };
        let member = &mut row.member;
        if !member.is_in() {
            return;
        }
        let read = to.read.unwrap_or_default().min(head);
        let delivered = to.delivered.unwrap_or_default().min(head).max(read);
        member.delivered = member.delivered.max(delivered);
        if read > member.read {
            member.read = read;
            row.stamp = stamp;
            self.stamp = stamp;
        }
    }

    fn block(&mut self, user: &UserId, other: &UserId, on: bool) {
        let key = RecordKey::Block {
            user: user.clone(),
            other: other.clone(),
        };
        if on {
            let record = Record {
                key: key.clone(),
                value: "true".to_owned(),
                expires_at: Timestamp(i64::MAX),
            };
            self.records.insert(key, record);
        } else {
            self.records.remove(&key);
        }
    }

    /// What depends on the commit's last entry: members, version, the order of changes.
    fn finish(&mut self, commit: &Commit, step: Step, done: &mut Committed) {
        for write in &commit.writes {
            if let Write::Member(change) = write {
                self.member(&commit.conv, change, step);
            }
        }
        let Some(log) = self.convs.get_mut(&commit.conv) else {
            return;
        };
        let is_rule = |write: &Write| matches!(write, Write::Member(_) | Write::Title(_));
        let rules = commit.writes.iter().any(is_rule);
        if rules && !done.appended.is_empty() {
            log.conversation.version = log.conversation.head;
        }
        done.version = log.conversation.version;
        if rules || done.created || !done.appended.is_empty() {
            self.changes.remove(&log.stamp);
            log.stamp = step.stamp;
            self.changes.insert(step.stamp, commit.conv.clone());
            self.stamp = step.stamp;
        }
    }

    fn member(&mut self, conv: &ConversationId, change: &MemberChange, step: Step) {
        let Some(log) = self.convs.get_mut(conv) else {
            return;
        };
        let user = &change.user;
        if let MemberOp::Add { role, first } = change.op {
            let first = match first {
                FirstSeq::All => log.conversation.first_seq,
                FirstSeq::Here => step.first,
            };
            let row = log.members.entry(user.clone()).or_insert_with(|| Row {
                member: Member {
                    left_seq: Some(Seq(0)),
                    ..newcomer(user, role, first)
                },
                stamp: step.stamp,
            });
            row.stamp = step.stamp;
            row.member.version = log.conversation.head;
            row.member.role = role;
            if !row.member.is_in() {
                row.member.first_seq = first;
                row.member.left_seq = None;
                log.conversation.member_count += 1;
            }
            self.enlist(user, conv);
            return;
        }
        let Some(row) = log.members.get_mut(user).filter(|row| row.member.is_in()) else {
            return;
        };
        row.stamp = step.stamp;
        row.member.version = log.conversation.head;
        match change.op {
            MemberOp::Remove => {
                row.member.left_seq = Some(log.conversation.head);
                log.conversation.member_count -= 1;
            }
            MemberOp::Role(role) => row.member.role = role,
            MemberOp::Mute(until) => row.member.muted_until = until,
            MemberOp::Add { .. } => {}
        }
    }

    fn enlist(&mut self, user: &UserId, conv: &ConversationId) {
        self.lists
            .entry(user.clone())
            .or_default()
            .insert(conv.clone());
    }
}

/// What one commit's writes share.
#[derive(Clone, Copy)]
struct Step {
    /// The stamp of its changes.
    stamp: Stamp,
    /// The place of its first entry.
    first: Seq,
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

/// Whether what the commit was decided on has changed.
fn conflicts(commit: &Commit, log: Option<&Log>) -> bool {
    let version = log.map_or(Seq(0), |log| log.conversation.version);
    let Some(expected) = commit.expect_version.filter(|it| *it != version) else {
        return false;
    };
    let Some(actor) = &commit.actor else {
        return true;
    };
    let row = log.and_then(|log| log.members.get(actor));
    row.is_none_or(|row| !row.member.is_in() || row.member.version > expected)
}

fn appends(commit: &Commit) -> impl Iterator<Item = &NewEntry> {
    commit.writes.iter().filter_map(|write| match write {
        Write::Append(entry) => Some(entry),
        _ => None,
    })
}

/// One commit that uses a `cm_id` twice is a bug of the caller.
fn check_own_ids(commit: &Commit) -> Result<(), Rejected> {
    let ids: Vec<_> = appends(commit)
        .filter_map(|entry| Some((&entry.from, entry.cm_id.as_ref()?)))
        .collect();
    for (at, id) in ids.iter().enumerate() {
        if ids[..at].contains(id) {
            return Err(PortError::new(PortErrorKind::Internal).into());
        }
    }
    Ok(())
}
