//! What a log's messages say by now: the log, replayed.

use std::collections::{BTreeMap, BTreeSet};

use super::mark::Change;
use crate::model::{Body, Entry, Epoch, Family, Kind, Seq, Timestamp, UserId};

/// Who did something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// Who.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
}

/// A message as it is by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub from: UserId,
    /// When.
    pub at: Timestamp,
    /// What it says: of an edited text the last one, of a recalled message
    /// [nothing](Kind::Erased).
    pub body: Body,
    /// The last edit.
    pub edited: Option<Stamped>,
    /// That it was recalled.
    pub recalled: Option<Stamped>,
    /// That it is pinned.
    pub pinned: Option<Stamped>,
    /// Who reacted with what.
    pub reactions: BTreeMap<String, BTreeSet<UserId>>,
}

/// The messages of one log, or of the part of it that was [applied](Self::apply), from its first
/// entry on or from a later one. After any prefix, what it holds is what the messages say then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    epoch: Option<Epoch>,
    messages: BTreeMap<Seq, Message>,
    head: Seq,
}

impl Timeline {
    /// A log's life began anew: what was known of another one is dropped.
    pub fn begin(&mut self, epoch: Epoch) {
        if self.epoch.is_some_and(|known| known != epoch) {
            *self = Self::default();
        }
        self.epoch = Some(epoch);
    }

    /// The next entry, in the order of the log. One that was applied before is passed over.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.seq <= self.head {
            return;
        }
        self.head = entry.seq;
        if entry.body.kind().family() == Family::Say || entry.body.kind() == Kind::Erased {
            self.messages.insert(entry.seq, message(entry));
            return;
        }
        let Some((target, change)) = Change::of(&entry.body) else {
            return;
        };
        // Of what lies before the part that is known nothing is to be shown.
        if let Some(message) = self.messages.get_mut(&target) {
            message.change(change, &entry.from, entry.at);
        }
    }

    /// The message at a place; `None` for what is no message, or was not applied.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<&Message> {
        self.messages.get(&seq)
    }

    /// All messages, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Seq, &Message)> {
        self.messages.iter().map(|(seq, message)| (*seq, message))
    }

    /// The last entry applied.
    #[must_use]
    pub const fn head(&self) -> Seq {
        self.head
    }
}

fn message(entry: &Entry) -> Message {
    Message {
        from: entry.from.clone(),
        at: entry.at,
        body: entry.body.clone(),
        edited: None,
        recalled: None,
        pinned: None,
        reactions: BTreeMap::new(),
    }
}

impl Message {
    fn change(&mut self, change: Change, by: &UserId, at: Timestamp) {
        let stamped = || Stamped { by: by.clone(), at };
        match change {
            Change::Edit(text) if self.body.kind() == Kind::Text => {
                self.body = Body::text(text);
                self.edited = Some(stamped());
            }
            Change::Edit(_) => {}
            Change::Recall => {
                self.body = Body::of(Kind::Erased, []);
                self.recalled = Some(stamped());
                (self.edited, self.pinned) = (None, None);
                self.reactions.clear();
            }
            // What is taken back has no more to be reacted to, whoever was too late to know.
            _ if self.body.kind() == Kind::Erased => {}
            Change::React { emoji, on: true } => {
                self.reactions.entry(emoji).or_default().insert(by.clone());
            }
            Change::React { emoji, on: false } => {
                if let Some(users) = self.reactions.get_mut(&emoji) {
                    users.remove(by);
                    if users.is_empty() {
                        self.reactions.remove(&emoji);
                    }
                }
            }
            Change::Pin(on) => self.pinned = on.then(stamped),
        }
    }
}
