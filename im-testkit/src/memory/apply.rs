//! Applies one commit: everything that can refuse it is looked at first, so that what follows
//! happens as a whole.

use std::collections::BTreeMap;

use im_core::model::{ConversationId, FactKey, NewEntry, Seq, Slot, Stamp, Timestamp, UserId};
use im_core::port::{
    Appended, Commit, Committed, CursorMove, Hold, MemberChange, NewConversation, Record,
    RecordKey, Rejected, Run, Write,
};
use im_core::rule::commit as rule;

use super::state::{Kept, Log, Row, State};

impl State {
    pub(super) fn apply(&mut self, commit: &Commit, now: Timestamp) -> Result<Committed, Rejected> {
        self.fence(&commit.conv)?;
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
        let mut restarted = false;
        for write in &commit.writes {
            match write {
                Write::Create(new) => done.created |= self.create(&commit.conv, new, step.stamp),
                Write::Append(entry) => done.appended.extend(self.append(&commit.conv, entry)),
                Write::Title(_) | Write::Speaks(_) | Write::HideHistory(_) => {
                    if let Some(log) = self.convs.get_mut(&commit.conv) {
                        rule::set_rule(&mut log.conversation, write);
                    }
                }
                Write::Cursor(to) => self.cursor(&commit.conv, to, step.stamp),
                Write::Block { user, other, on } => self.block(user, other, *on),
                Write::Record(record) => {
                    let kept = Kept {
                        slot: Slot::of(&commit.conv),
                        record: record.clone(),
                    };
                    self.records.insert(record.key.clone(), kept);
                }
                Write::Put(put) => self.put(put),
                Write::Hold(hold) => restarted |= self.hold(&commit.conv, hold),
                Write::Place(run) => done.appended.extend(self.place(&commit.conv, run)),
                // After the last entry is known.
                Write::Member(_) | Write::Erase(_) => {}
            }
        }
        self.finish(commit, step, restarted, &mut done);
        Ok(done)
    }

    /// What an earlier commit with the same `cm_id` got.
    fn duplicate(&self, commit: &Commit) -> Result<Option<Committed>, Rejected> {
        let log = self.convs.get(&commit.conv);
        rule::duplicate(commit, log.map(|log| &log.conversation), |from, cm_id| {
            let log = log?;
            let seq = log.sent.get(&(from.clone(), cm_id.clone()))?;
            log.entries.get(seq.0 as usize - 1).map(rule::Stored::from)
        })
    }

    fn check(&self, commit: &Commit, now: Timestamp) -> Result<(), Rejected> {
        for write in &commit.writes {
            if let Write::Record(record) = write
                && let Some(there) = self.record(&record.key, now)
            {
                return Err(Rejected::Done(there.value.clone()));
            }
        }
        let value = |key: &FactKey| self.facts.get(key).map(|fact| fact.value.as_str());
        rule::check_facts(commit, value)?;
        let log = self.convs.get(&commit.conv);
        let there = log.map(|log| &log.conversation);
        let actor = rule::actor_asked(commit, there);
        let row = actor.and_then(|actor| log?.members.get(actor));
        rule::check(commit, there, row.map(|row| &row.member))?;
        for write in &commit.writes {
            if let (Write::Place(run), Some(log)) = (write, log) {
                rule::stands(run, log.conversation.head, |seq| log.id_at(seq))?;
            }
        }
        Ok(())
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
        let (conversation, first) = rule::begin(conv, new);
        let mut members = BTreeMap::new();
        for member in first {
            self.enlist(&member.user, conv);
            members.insert(member.user.clone(), Row { member, stamp });
        }
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

    fn hold(&mut self, conv: &ConversationId, hold: &Hold) -> bool {
        let log = self.convs.get_mut(conv);
        log.is_some_and(|log| rule::hold(&mut log.conversation, hold))
    }

    fn place(&mut self, conv: &ConversationId, run: &Run) -> Vec<Appended> {
        let head = self.head(conv);
        let places = (run.first.0..).map(Seq).zip(&run.entries);
        let place = |(seq, entry): (Seq, &NewEntry)| {
            if seq > head {
                return self.append(conv, entry);
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
        let (delivered, read) = rule::cursor_goal(to, head);
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
            let slot = Slot::of_block(user, other);
            self.records.insert(key, Kept { slot, record });
        } else {
            self.records.remove(&key);
        }
    }

    /// What depends on the commit's last entry: members, version, the order of changes.
    fn finish(&mut self, commit: &Commit, step: Step, restarted: bool, done: &mut Committed) {
        for change in rule::member_changes(commit) {
            self.member(&commit.conv, change, step);
        }
        let Some(log) = self.convs.get_mut(&commit.conv) else {
            return;
        };
        let rules = rule::changes_rules(commit);
        let erased = rule::erased(commit);
        if let Some(seqs) = &erased {
            log.erase(seqs);
        }
        if rules && !done.appended.is_empty() {
            log.conversation.version = log.conversation.head;
        }
        done.version = log.conversation.version;
        let is_longer = done.appended.iter().any(|it| !it.dup);
        if rules || done.created || restarted || is_longer || erased.is_some() {
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
        let row = log.members.get(&change.user).map(|row| row.member.clone());
        let changed = rule::change_member(&mut log.conversation, row, change, step.first);
        if let Some(member) = changed {
            let stamp = step.stamp;
            log.members
                .insert(change.user.clone(), Row { member, stamp });
            self.enlist(&change.user, conv);
        }
    }

    pub(super) fn enlist(&mut self, user: &UserId, conv: &ConversationId) {
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
