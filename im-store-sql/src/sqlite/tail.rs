//! The tail: what is committed and not yet in the indexes, and what is known of conversations.
//!
//! Every reader combines tables and tail. The rule that keeps them one: a merge commits to the
//! tables first and lets go of the tail after; a reader looks at the tail first and at the tables
//! after, and takes from the tables only what lies before the tail it saw.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use im_core::model::{CmId, Conversation, ConversationId, Entry, Seq, Stamp, UserId};

use super::work::sent_key;

/// Conversations remembered beyond those with a tail; the longest unchanged are let go first.
const KNOWN_MAX: usize = 100_000;

/// Senders whose largest id is remembered; beyond it all are forgotten and asked for again.
const SENDERS_MAX: usize = 200_000;

/// See [`Tail::novelty`].
/// Conversations, each with its number, its stamp and what of it is not in the indexes.
pub(super) type Slice = Vec<(Conversation, i64, Stamp, Vec<TailEntry>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// It is new.
    New,
    /// The index must be asked.
    MaybeSent,
    /// The index must be asked for the sender's largest id first.
    UnknownSender,
}

/// A committed entry and its number in the order of commits.
#[derive(Debug, Clone)]
pub(super) struct TailEntry {
    pub(super) n: i64,
    pub(super) entry: Arc<Entry>,
}

impl TailEntry {
    /// Takes away what it says.
    pub(super) fn erase(&mut self) {
        Arc::make_mut(&mut self.entry).new.erase();
    }
}

/// What is known of a conversation.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) no: i64,
    /// As of the last commit.
    pub(super) conversation: Conversation,
    /// Its last change.
    pub(super) stamp: Stamp,
    /// Its entries that are not in the indexes, without a gap, up to the head.
    pub(super) entries: VecDeque<TailEntry>,
}

impl Known {
    /// The first entry that is not in the indexes; above the head when all are.
    pub(super) fn first_in_tail(&self) -> Seq {
        self.entries
            .front()
            .map_or_else(|| self.conversation.head.next(), |first| first.entry.seq)
    }

    /// Entries of the tail within a range of places, both ends included.
    pub(super) fn range(&self, from: Seq, to: Seq) -> impl Iterator<Item = &Arc<Entry>> {
        let first = self.first_in_tail();
        let skip = from.0.saturating_sub(first.0) as usize;
        self.entries
            .iter()
            .skip(skip)
            .map(|entry| &entry.entry)
            .take_while(move |entry| entry.seq <= to)
            .filter(move |entry| entry.seq >= from)
    }
}

/// Under which an entry is found again: conversation, sender, `cm_id`.
pub(super) type SentKey = (i64, UserId, CmId);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tail {
    known: HashMap<ConversationId, Known>,
    /// Conversations by their last change.
    by_stamp: BTreeMap<Stamp, ConversationId>,
    sent: HashMap<SentKey, Arc<Entry>>,
    /// The largest `cm_id` that a sender has used in a conversation, of those who sent lately. A
    /// larger one is new for sure, so clients whose ids grow cost no look-up.
    newest: HashMap<(i64, UserId), Option<CmId>>,
    /// The last stamp given; also the last `n`.
    pub(super) stamp: Stamp,
    /// Every conversation that changed after this is in `by_stamp`.
    pub(super) complete_after: Stamp,
    /// How many entries are not in the indexes.
    pub(super) len: usize,
}

impl Tail {
    pub(super) fn get(&self, conv: &ConversationId) -> Option<&Known> {
        self.known.get(conv)
    }

    pub(super) fn sent(&self, key: &SentKey) -> Option<&Arc<Entry>> {
        self.sent.get(key)
    }

    /// Whether an id is new, as far as that is known without asking the index.
    pub(super) fn novelty(&self, key: &SentKey) -> Novelty {
        let sender = (key.0, key.1.clone());
        match self.newest.get(&sender) {
            None => Novelty::UnknownSender,
            Some(newest) if newest.as_ref().is_none_or(|newest| *newest < key.2) => Novelty::New,
            Some(_) => Novelty::MaybeSent,
        }
    }

    /// The largest id of a sender, from the index; what is in the tail is looked at here.
    pub(super) fn learn_newest(
        &mut self,
        conv: &ConversationId,
        no: i64,
        user: UserId,
        indexed: Option<CmId>,
    ) {
        if self.newest.len() >= SENDERS_MAX {
            self.newest.clear();
        }
        let entries = self.known.get(conv).map(|known| known.entries.iter());
        let in_tail = entries
            .into_iter()
            .flatten()
            .filter(|entry| entry.entry.from == user)
            .filter_map(|entry| entry.entry.cm_id.clone())
            .max();
        self.newest.insert((no, user), indexed.max(in_tail));
    }

    /// Takes away what an entry says.
    pub(super) fn erase(&mut self, conv: &ConversationId, seq: Seq) {
        let Some(known) = self.known.get_mut(conv) else {
            return;
        };
        let is_it = |row: &&mut TailEntry| row.entry.seq == seq;
        let Some(row) = known.entries.iter_mut().find(is_it) else {
            return;
        };
        row.erase();
        if let Some(key) = sent_key(known.no, &row.entry) {
            self.sent.insert(key, Arc::clone(&row.entry));
        }
    }

    /// Conversations that changed after a stamp, in the order of change.
    pub(super) fn changed_after(&self, since: Stamp) -> impl Iterator<Item = (Stamp, &Known)> {
        self.by_stamp
            .range(Stamp(since.0 + 1)..)
            .filter_map(|(stamp, conv)| Some((*stamp, self.known.get(conv)?)))
    }

    /// A conversation as a commit left it (or as the tables have it, if it is not known yet),
    /// with entries that follow those of the tail.
    pub(super) fn put(
        &mut self,
        no: i64,
        conversation: Conversation,
        stamp: Stamp,
        new: Vec<TailEntry>,
    ) {
        let id = conversation.id.clone();
        let known = self.known.entry(id.clone()).or_insert_with(|| Known {
            no,
            conversation: conversation.clone(),
            stamp: Stamp(0),
            entries: VecDeque::new(),
        });
        known.conversation = conversation;
        if stamp > known.stamp {
            self.by_stamp.remove(&known.stamp);
            known.stamp = stamp;
            self.by_stamp.insert(stamp, id);
        }
        self.len += new.len();
        for entry in &new {
            if let Some(cm_id) = &entry.entry.cm_id {
                if let Some(newest) = self.newest.get_mut(&(no, entry.entry.from.clone())) {
                    *newest = newest.take().max(Some(cm_id.clone()));
                }
                let key = (no, entry.entry.from.clone(), cm_id.clone());
                self.sent.insert(key, Arc::clone(&entry.entry));
            }
        }
        known.entries.extend(new);
    }

    /// The conversations that a pass of the merge takes, in the order of their numbers.
    pub(super) fn with_entries(&self) -> Vec<ConversationId> {
        let known = self.known.iter();
        let mut convs: Vec<_> = known
            .filter(|(_, known)| !known.entries.is_empty())
            .map(|(conv, known)| (known.no, conv.clone()))
            .collect();
        convs.sort_unstable_by_key(|(no, _)| *no);
        convs.into_iter().map(|(_, conv)| conv).collect()
    }

    /// What the next slice of a pass takes from the rest of its conversations: whole ones, of at
    /// least `rows` entries together if there are so many.
    pub(super) fn slice(&self, rest: &mut &[ConversationId], rows: usize) -> Slice {
        let mut taken = 0;
        let mut slice = Vec::new();
        while taken < rows
            && let Some((conv, others)) = rest.split_first()
        {
            *rest = others;
            let known = self.known.get(conv);
            let Some(known) = known.filter(|known| !known.entries.is_empty()) else {
                continue;
            };
            taken += known.entries.len();
            let entries = known.entries.iter().cloned().collect();
            slice.push((known.conversation.clone(), known.no, known.stamp, entries));
        }
        slice
    }

    /// Entries up to `head` are in the indexes now.
    pub(super) fn merged(&mut self, conv: &ConversationId, head: Seq) {
        let Some(known) = self.known.get_mut(conv) else {
            return;
        };
        while known
            .entries
            .front()
            .is_some_and(|first| first.entry.seq <= head)
        {
            let Some(TailEntry { entry, .. }) = known.entries.pop_front() else {
                break;
            };
            self.len -= 1;
            if let Some(cm_id) = &entry.cm_id {
                self.sent
                    .remove(&(known.no, entry.from.clone(), cm_id.clone()));
            }
        }
        if known.entries.is_empty() {
            known.entries.shrink_to_fit();
        }
    }

    /// The smallest `n` that is not in the indexes.
    pub(super) fn first_n(&self) -> Option<i64> {
        let firsts = self
            .known
            .values()
            .filter_map(|known| known.entries.front());
        firsts.map(|first| first.n).min()
    }

    /// Lets go of conversations that have long not changed.
    pub(super) fn forget(&mut self) {
        while self.known.len() > KNOWN_MAX {
            let oldest = self.by_stamp.iter().find(|(_, conv)| {
                self.known
                    .get(*conv)
                    .is_some_and(|known| known.entries.is_empty())
            });
            let Some((stamp, conv)) = oldest.map(|(stamp, conv)| (*stamp, conv.clone())) else {
                return;
            };
            self.complete_after = self.complete_after.max(stamp);
            self.by_stamp.remove(&stamp);
            self.known.remove(&conv);
        }
    }
}
