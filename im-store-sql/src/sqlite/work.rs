//! A batch under way: every commit decided against what the ones before it did.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use im_core::model::{Conversation, ConversationId, Entry, NewEntry, Seq, Stamp};
use im_core::port::{Appended, Commit, Committed, Rejected, Write};
use im_core::rule::commit::{Stored, duplicate};

use super::tail::{SentKey, Tail, TailEntry};

/// A conversation that the batch has touched.
#[derive(Debug, Clone)]
pub(super) struct Touched {
    pub(super) no: i64,
    pub(super) conversation: Conversation,
    pub(super) stamp: Stamp,
    pub(super) new: Vec<TailEntry>,
    /// Entries from before whose bodies go.
    pub(super) erased: Vec<Seq>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) touched: HashMap<ConversationId, Touched>,
    /// What the batch itself has sent, and what was found of earlier sends.
    pub(super) sent: HashMap<SentKey, Arc<Entry>>,
    /// The last stamp given.
    pub(super) stamp: Stamp,
    /// The entries of the batch in the order of their `n`, each with its conversation's number.
    pub(super) rows: Vec<(i64, TailEntry)>,
    /// A stamp was given that no entry has: it must be kept otherwise.
    pub(super) stamp_without_entry: bool,
    /// Stamps that were set aside for entries.
    for_entries: Range<u64>,
}

impl Work {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            ..Self::default()
        }
    }

    /// Its first entries get the stamps right after `stamp`, whatever else it gives stamps to: so
    /// the next `n` of the log is taken, and who counts on it sees that somebody else has written.
    pub(super) fn entries_first(stamp: Stamp, entries: usize) -> Self {
        let last = stamp.0 + entries as u64;
        Self {
            for_entries: stamp.0 + 1..last + 1,
            ..Self::new(Stamp(last))
        }
    }

    fn next_stamp(&mut self) -> Stamp {
        self.stamp = Stamp(self.stamp.0 + 1);
        self.stamp
    }

    /// What an earlier commit with the same `cm_id` got.
    pub(super) fn duplicate(
        &self,
        tail: Mutexed<'_>,
        commit: &Commit,
    ) -> Result<Option<Committed>, Rejected> {
        let Some(touched) = self.touched.get(&commit.conv) else {
            return Ok(None);
        };
        duplicate(commit, Some(&touched.conversation), |from, cm_id| {
            let key = (touched.no, from.clone(), cm_id.clone());
            match self.sent.get(&key) {
                Some(first) => Some(Stored::from(&**first)),
                None => tail.lock().sent(&key).map(|first| Stored::from(&**first)),
            }
        })
    }

    /// Appends an entry to a conversation that was touched.
    pub(super) fn append(&mut self, conv: &ConversationId, new: &NewEntry) -> Option<Appended> {
        let stamp = match self.for_entries.next() {
            Some(stamp) => Stamp(stamp),
            None => self.next_stamp(),
        };
        let touched = self.touched.get_mut(conv)?;
        let seq = touched.conversation.head.next();
        touched.conversation.head = seq;
        touched.stamp = touched.stamp.max(stamp);
        let entry = Arc::new(new.at(conv.clone(), seq));
        let row = TailEntry {
            n: stamp.0 as i64,
            entry: Arc::clone(&entry),
        };
        touched.new.push(row.clone());
        self.rows.push((touched.no, row));
        if let Some(key) = sent_key(touched.no, new) {
            self.sent.insert(key, entry);
        }
        Some(Appended {
            seq,
            id: new.id,
            at: new.at,
            dup: false,
        })
    }

    /// Takes away what an entry says. Whether it is one of the batch's own.
    pub(super) fn erase(&mut self, conv: &ConversationId, seq: Seq) -> bool {
        let Some(touched) = self.touched.get_mut(conv) else {
            return false;
        };
        let Some(row) = touched.new.iter_mut().find(|row| row.entry.seq == seq) else {
            touched.erased.push(seq);
            return false;
        };
        row.erase();
        let n = row.n;
        if let Some((_, row)) = self.rows.iter_mut().find(|(_, row)| row.n == n) {
            row.erase();
        }
        true
    }

    /// A stamp for a change that is no entry.
    pub(super) fn stamp_alone(&mut self) -> Stamp {
        self.stamp_without_entry = true;
        self.next_stamp()
    }
}

/// The tail's lock, as the decisions see it.
pub(super) type Mutexed<'a> = &'a parking_lot::Mutex<Tail>;

pub(super) fn sent_key(no: i64, entry: &NewEntry) -> Option<SentKey> {
    Some((no, entry.from.clone(), entry.cm_id.clone()?))
}

/// Whether a commit only appends: then nothing but entries is written.
pub(super) fn only_appends(commit: &Commit) -> bool {
    commit
        .writes
        .iter()
        .all(|write| matches!(write, Write::Append(_)))
}

/// Where the next entry of a conversation would stand.
pub(super) fn next_seq(touched: Option<&Touched>) -> Seq {
    touched.map_or(Seq(1), |touched| touched.conversation.head.next())
}
