//! A batch under way: every commit decided against what the ones before it did, in memory.

use std::collections::{BTreeMap, HashMap};

use im_core::model::{
    CmId, Conversation, ConversationId, Entry, FactKey, Member, MessageId, NewEntry, Seq, Slot,
    Stamp, Timestamp, UserId,
};
use im_core::port::{
    Appended, Commit, Committed, CursorMove, Hold, MemberChange, NewConversation, Record,
    RecordKey, Rejected, Run, Write,
};
use im_core::rule::commit as rule;

use super::facts::HeldFact;

/// A stamp: one that was given before, or one that the batch will get, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Before(Stamp),
    New(i64),
}

/// A row, and whether the batch has changed it.
#[derive(Debug, Clone)]
pub(super) struct Held<T> {
    pub(super) row: T,
    pub(super) stamp: At,
    pub(super) changed: bool,
    /// Of a conversation: more than its head and its stamp.
    pub(super) anew: bool,
}

impl<T> Held<T> {
    pub(super) const fn found(row: T, stamp: Stamp) -> Self {
        Self {
            row,
            stamp: At::Before(stamp),
            changed: false,
            anew: false,
        }
    }

    const fn made(row: T, stamp: i64) -> Self {
        Self {
            row,
            stamp: At::New(stamp),
            changed: true,
            anew: false,
        }
    }
}

/// An answer that is kept.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) record: Record,
    /// The number of the slot that it goes with.
    pub(super) slot: i64,
    /// A row with that key is in the table.
    pub(super) is_there: bool,
    pub(super) changed: bool,
}

/// See the [module](self). Everything that the commits ask for is loaded before.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) convs: BTreeMap<ConversationId, Held<Conversation>>,
    /// The numbers of those that the database has.
    pub(super) numbers: HashMap<ConversationId, i64>,
    pub(super) sent: HashMap<(ConversationId, UserId, CmId), rule::Stored>,
    /// What stands at places of runs.
    pub(super) standing: HashMap<(ConversationId, Seq), MessageId>,
    pub(super) members: BTreeMap<(ConversationId, UserId), Held<Member>>,
    pub(super) answers: BTreeMap<(UserId, String), Answer>,
    pub(super) blocks: BTreeMap<(UserId, UserId), bool>,
    pub(super) facts: BTreeMap<FactKey, HeldFact>,
    pub(super) entries: Vec<Entry>,
    /// Entries of the table whose bodies go.
    pub(super) erased: Vec<(ConversationId, Seq)>,
    /// How many stamps the batch needs.
    pub(super) stamps: i64,
}

impl Work {
    /// Decides and applies one commit.
    pub(super) fn apply(&mut self, commit: &Commit, now: Timestamp) -> Result<Committed, Rejected> {
        let there = self.convs.get(&commit.conv).map(|held| &held.row);
        let sent = |from: &UserId, cm_id: &CmId| {
            let key = (commit.conv.clone(), from.clone(), cm_id.clone());
            self.sent.get(&key).copied()
        };
        if let Some(duplicate) = rule::duplicate(commit, there, sent)? {
            return Ok(duplicate);
        }
        self.check(commit, now)?;
        let first = there.map_or(Seq(0), |there| there.head).next();
        let mut step = Step { first, stamp: None };
        let mut done = Committed {
            appended: Vec::new(),
            version: Seq(0),
            created: false,
        };
        for write in &commit.writes {
            match write {
                Write::Create(new) => done.created |= self.create(&commit.conv, new, &mut step),
                Write::Append(entry) => done.appended.extend(self.append(&commit.conv, entry)),
                Write::Title(_) | Write::Speaks(_) | Write::HideHistory(_) => {
                    if let Some(held) = self.convs.get_mut(&commit.conv) {
                        rule::set_rule(&mut held.row, write);
                    }
                }
                Write::Cursor(to) => self.cursor(&commit.conv, to, &mut step),
                Write::Block { user, other, on } => {
                    self.blocks.insert((user.clone(), other.clone()), *on);
                }
                Write::Record(record) => self.keep(&commit.conv, record),
                Write::Put(put) => self.put(put),
                Write::Hold(hold) => self.hold(&commit.conv, hold, &mut step),
                Write::Place(run) => done.appended.extend(self.place(&commit.conv, run)),
                // After the last entry is known.
                Write::Member(_) | Write::Erase(_) => {}
            }
        }
        self.finish(commit, step, &mut done);
        Ok(done)
    }

    fn check(&self, commit: &Commit, now: Timestamp) -> Result<(), Rejected> {
        for write in &commit.writes {
            if let Write::Record(record) = write
                && let Some(key) = answer_key(&record.key)
                && let Some(there) = self.answers.get(&key)
                && there.record.expires_at > now
            {
                return Err(Rejected::Done(there.record.value.clone()));
            }
        }
        rule::check_facts(commit, |key| {
            let fact = self.facts.get(key)?.fact.as_ref()?;
            Some(fact.value.as_str())
        })?;
        let there = self.convs.get(&commit.conv).map(|held| &held.row);
        let actor = rule::actor_asked(commit, there);
        let row = actor.and_then(|actor| self.members.get(&(commit.conv.clone(), actor.clone())));
        rule::check(commit, there, row.map(|held| &held.row))?;
        for write in &commit.writes {
            if let (Write::Place(run), Some(there)) = (write, there) {
                let id_at = |seq| self.standing.get(&(commit.conv.clone(), seq)).copied();
                rule::stands(run, there.head, id_at)?;
            }
        }
        Ok(())
    }

    fn create(&mut self, conv: &ConversationId, new: &NewConversation, step: &mut Step) -> bool {
        if self.convs.contains_key(conv) {
            return false;
        }
        let stamp = step.stamp(&mut self.stamps);
        let (conversation, first) = rule::begin(conv, new);
        for member in first {
            let key = (conv.clone(), member.user.clone());
            self.members.insert(key, Held::made(member, stamp));
        }
        self.convs
            .insert(conv.clone(), Held::made(conversation, stamp));
        true
    }

    fn append(&mut self, conv: &ConversationId, new: &NewEntry) -> Option<Appended> {
        let held = self.convs.get_mut(conv)?;
        let seq = held.row.head.next();
        held.row.head = seq;
        let entry = new.at(conv.clone(), seq);
        self.standing.insert((conv.clone(), seq), new.id);
        if let Some(cm_id) = &new.cm_id {
            let key = (conv.clone(), new.from.clone(), cm_id.clone());
            self.sent.insert(key, rule::Stored::from(&entry));
        }
        self.entries.push(entry);
        Some(Appended {
            seq,
            id: new.id,
            at: new.at,
            dup: false,
        })
    }

    fn hold(&mut self, conv: &ConversationId, hold: &Hold, step: &mut Step) {
        let Some(held) = self.convs.get_mut(conv) else {
            return;
        };
        let before = (held.row.holder, held.row.epoch);
        let is_lost = rule::hold(&mut held.row, hold);
        if before != (held.row.holder, held.row.epoch) {
            (held.changed, held.anew) = (true, true);
        }
        if is_lost {
            held.stamp = At::New(step.stamp(&mut self.stamps));
        }
    }

    /// What stands already is passed over.
    fn place(&mut self, conv: &ConversationId, run: &Run) -> Vec<Appended> {
        let head = self.convs.get(conv).map_or(Seq(0), |held| held.row.head);
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

    fn cursor(&mut self, conv: &ConversationId, to: &CursorMove, step: &mut Step) {
        let head = self.convs.get(conv).map(|held| held.row.head);
        let held = self.members.get_mut(&(conv.clone(), to.user.clone()));
        let (Some(head), Some(held)) = (head, held.filter(|held| held.row.is_in())) else {
            return;
        };
        let (delivered, read) = rule::cursor_goal(to, head);
        if delivered > held.row.delivered {
            held.row.delivered = delivered;
            held.changed = true;
        }
        if read > held.row.read {
            held.row.read = read;
            held.changed = true;
            held.stamp = At::New(step.stamp(&mut self.stamps));
        }
    }

    fn keep(&mut self, conv: &ConversationId, record: &Record) {
        let Some(key) = answer_key(&record.key) else {
            return;
        };
        let is_there = self.answers.get(&key).is_some_and(|it| it.is_there);
        let answer = Answer {
            record: record.clone(),
            slot: Slot::of(conv).number().into(),
            is_there,
            changed: true,
        };
        self.answers.insert(key, answer);
    }

    /// What depends on the commit's last entry: members, version, the order of changes.
    fn finish(&mut self, commit: &Commit, mut step: Step, done: &mut Committed) {
        for change in rule::member_changes(commit) {
            self.member(&commit.conv, change, &mut step);
        }
        let erased = rule::erased(commit);
        self.erase(&commit.conv, erased.as_deref().unwrap_or_default());
        let Some(held) = self.convs.get_mut(&commit.conv) else {
            return;
        };
        let rules = rule::changes_rules(commit);
        if rules && !done.appended.is_empty() {
            held.row.version = held.row.head;
        }
        held.row.erasures += u64::from(erased.is_some());
        held.anew |= rules || erased.is_some();
        done.version = held.row.version;
        let is_longer = done.appended.iter().any(|it| !it.dup);
        if rules || done.created || is_longer || erased.is_some() {
            held.stamp = At::New(step.stamp(&mut self.stamps));
            held.changed = true;
        }
    }

    /// Takes away what entries say: those of the batch itself here, the others in the table.
    fn erase(&mut self, conv: &ConversationId, seqs: &[Seq]) {
        for seq in seqs {
            let is_it = |entry: &&mut Entry| entry.seq == *seq && entry.conv == *conv;
            match self.entries.iter_mut().find(is_it) {
                Some(entry) => entry.new.erase(),
                None => self.erased.push((conv.clone(), *seq)),
            }
        }
    }

    fn member(&mut self, conv: &ConversationId, change: &MemberChange, step: &mut Step) {
        let key = (conv.clone(), change.user.clone());
        let row = self.members.get(&key).map(|held| held.row.clone());
        let Some(held) = self.convs.get_mut(conv) else {
            return;
        };
        let changed = rule::change_member(&mut held.row, row, change, step.first);
        if let Some(member) = changed {
            let stamp = step.stamp(&mut self.stamps);
            self.members.insert(key, Held::made(member, stamp));
        }
    }
}

/// The key of a record that is an answer; blocks are kept otherwise.
pub(super) fn answer_key(key: &RecordKey) -> Option<(UserId, String)> {
    match key {
        RecordKey::Answer { user, key } => Some((user.clone(), key.clone())),
        RecordKey::Block { .. } => None,
    }
}

/// What one commit's writes share.
struct Step {
    /// The place of its first entry.
    first: Seq,
    /// Its stamp, if a list shows any change of it. One for all: no two lines of a user's list
    /// share it, since a commit writes to one conversation.
    stamp: Option<i64>,
}

impl Step {
    fn stamp(&mut self, given: &mut i64) -> i64 {
        *self.stamp.get_or_insert_with(|| {
            *given += 1;
            *given
        })
    }
}
