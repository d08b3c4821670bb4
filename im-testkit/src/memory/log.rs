//! Reads of one log.

use im_core::model::{ConversationId, Entry, MessageId, Seq};
use im_core::port::LogQuery;

use super::state::{Log, State};

impl State {
    pub(super) fn log(&self, conv: &ConversationId, query: &LogQuery) -> Vec<Entry> {
        self.convs
            .get(conv)
            .map_or_else(Vec::new, |log| log.read(query))
    }
}

impl Log {
    /// Takes away what entries say.
    pub(super) fn erase(&mut self, seqs: &[Seq]) {
        self.conversation.erasures += 1;
        for seq in seqs {
            let at = usize::try_from(seq.0).unwrap_or(usize::MAX);
            if let Some(entry) = at.checked_sub(1).and_then(|at| self.entries.get_mut(at)) {
                entry.new.erase();
            }
        }
    }

    fn read(&self, query: &LogQuery) -> Vec<Entry> {
        match query {
            LogQuery::After { seq, limit, bytes } => {
                let from = self.place(seq.0);
                take(self.entries[from..].iter(), *limit, *bytes)
            }
            LogQuery::Before { seq, limit, bytes } => {
                let to = self.place(seq.0.saturating_sub(1));
                let mut found = take(self.entries[..to].iter().rev(), *limit, *bytes);
                found.reverse();
                found
            }
            LogQuery::Sent { sender, cm_id } => {
                let seq = self.sent.get(&(sender.clone(), cm_id.clone()));
                let entry = seq.and_then(|seq| self.entries.get(seq.0 as usize - 1));
                entry.cloned().into_iter().collect()
            }
            LogQuery::Newest { sender } => {
                let theirs = self.sent.iter().filter(|((from, _), _)| from == sender);
                let seq = theirs.max_by_key(|(key, _)| *key).map(|(_, seq)| *seq);
                let entry = seq.and_then(|seq| self.entries.get(seq.0 as usize - 1));
                entry.cloned().into_iter().collect()
            }
        }
    }

    /// The entry's id at a place.
    pub(super) fn id_at(&self, seq: Seq) -> Option<MessageId> {
        let at = usize::try_from(seq.0.checked_sub(1)?).ok()?;
        self.entries.get(at).map(|entry| entry.id)
    }

    /// How many entries stand up to a place.
    fn place(&self, seq: u64) -> usize {
        (seq.min(self.entries.len() as u64)) as usize
    }
}

/// The first entries of an order, at most so many and so many bytes of bodies, but one at least.
pub(super) fn take<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    limit: usize,
    bytes: usize,
) -> Vec<Entry> {
    let mut left = bytes;
    let mut found: Vec<Entry> = Vec::new();
    for entry in entries.take(limit) {
        let size = entry.body.json().len();
        if size > left && !found.is_empty() {
            break;
        }
        left = left.saturating_sub(size);
        found.push(entry.clone());
    }
    found
}
