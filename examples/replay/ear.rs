//! What a connection heard of each conversation, in the order in which it came.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

use imkit::core::model::{ConversationId, Seq};

/// A conversation, by its place among those that were seen.
pub(crate) type Room = usize;

/// An entry as it stands here: what its bytes hash to, its room and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) mark: u64,
    pub(crate) room: Room,
    pub(crate) seq: Seq,
}

/// What the bytes of a pushed entry say. They are the same for everybody, so one connection
/// reads them for all.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    known: RwLock<HashMap<u64, (Room, Seq), BuildHasherDefault<Marked>>>,
    rooms: RwLock<Vec<ConversationId>>,
}

impl Readings {
    pub(crate) fn get(&self, mark: u64) -> Option<Heard> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (room, seq) = *known.get(&mark)?;
        Some(Heard { mark, room, seq })
    }

    pub(crate) fn put(&self, mark: u64, conv: &ConversationId, seq: Seq) -> Heard {
        let room = self.room(conv);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(mark, (room, seq));
        Heard { mark, room, seq }
    }

    /// A log is done: its entries won't come again.
    pub(crate) fn forget(&self, marks: &[u64]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            known.remove(mark);
        }
    }

    pub(crate) fn room(&self, conv: &ConversationId) -> Room {
        let find = |rooms: &[ConversationId]| rooms.iter().rposition(|known| known == conv);
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = find(&rooms) {
            return room;
        }
        drop(rooms);
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        find(&rooms).unwrap_or_else(|| {
            rooms.push(conv.clone());
            rooms.len() - 1
        })
    }

    pub(crate) fn conv(&self, room: Room) -> Option<ConversationId> {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.get(room).cloned()
    }
}

/// A mark is a hash already.
#[derive(Debug, Default)]
pub(crate) struct Marked(u64);

impl Hasher for Marked {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, mark: u64) {
        self.0 = mark;
    }
}

/// What was heard of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) marks: Vec<u64>,
    first: Option<Seq>,
    pub(crate) last: Seq,
    pub(crate) acked: Seq,
    /// How often it was left behind.
    pub(crate) behind: u64,
    /// Pulls until the end: a lost connection's hole, or what `behind` kept back.
    pull: Option<CatchUp>,
    /// What was pulled on a new connection up to there may be pushed, too: the server read the log
    /// for the one and its room for the other.
    pulled: Seq,
}

/// A pull under way.
#[derive(Debug, Default)]
struct CatchUp {
    /// What is pushed meanwhile.
    pushed: Vec<Heard>,
    /// On a new connection.
    resumes: bool,
    /// Left behind once more meanwhile.
    again: bool,
}

impl Ear {
    /// An entry was pushed.
    pub(crate) fn on_pushed(&mut self, heard: Heard) {
        match &mut self.pull {
            Some(pull) => pull.pushed.push(heard),
            None if heard.seq <= self.pulled => {}
            None => {
                // From here on a repeat is one.
                self.pulled = Seq(0);
                self.take(heard);
            }
        }
    }

    /// The connection is a new one, and a pull went with the old one. Gives after what to pull.
    pub(crate) fn on_resumed(&mut self) -> Seq {
        self.pull = Some(CatchUp {
            resumes: true,
            ..CatchUp::default()
        });
        self.last
    }

    /// The server keeps entries back. Gives after what to pull; none when that is under way
    /// already.
    pub(crate) fn on_behind(&mut self) -> Option<Seq> {
        match &mut self.pull {
            Some(pull) => {
                pull.again = true;
                None
            }
            None => {
                self.pull = Some(CatchUp::default());
                Some(self.last)
            }
        }
    }

    /// This conversation began while there was no connection: what came of it does not begin with
    /// its first entry. Gives whether there is something to pull.
    pub(crate) fn on_begun_unseen(&mut self) -> bool {
        let missed = self.first != Some(Seq(1)) && self.pull.is_none();
        if missed {
            *self = Self::default();
        }
        missed
    }

    /// A page was pulled. Gives after what to pull next, if there is more.
    pub(crate) fn on_page(&mut self, page: Vec<Heard>, more: bool) -> Option<Seq> {
        for heard in page {
            self.take(heard);
        }
        if more {
            return Some(self.last);
        }
        let pull = self.pull.take()?;
        if pull.resumes {
            self.pulled = self.last;
        }
        for heard in pull.pushed {
            self.on_pushed(heard);
        }
        pull.again.then(|| self.on_behind()).flatten()
    }

    fn take(&mut self, heard: Heard) {
        self.first.get_or_insert(heard.seq);
        self.marks.push(heard.mark);
        self.last = self.last.max(heard.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(seqs: std::ops::RangeInclusive<u64>) -> Vec<Heard> {
        let heard = |seq| Heard {
            mark: seq,
            room: 0,
            seq: Seq(seq),
        };
        seqs.map(heard).collect()
    }

    fn push(ear: &mut Ear, seqs: std::ops::RangeInclusive<u64>) {
        heard(seqs)
            .into_iter()
            .for_each(|heard| ear.on_pushed(heard));
    }

    #[test]
    fn what_is_pushed_on_a_new_connection_joins_what_is_pulled() {
        let mut ear = Ear::default();
        push(&mut ear, 1..=3);
        assert_eq!(ear.on_behind(), Some(Seq(3)));
        assert_eq!(ear.on_resumed(), Seq(3));
        push(&mut ear, 7..=8);
        assert_eq!(ear.on_page(heard(4..=5), true), Some(Seq(5)));
        assert_eq!(ear.on_page(heard(6..=9), false), None);
        // The room is later than the log.
        push(&mut ear, 9..=10);
        assert_eq!(ear.marks, (1..=10).collect::<Vec<_>>());
        push(&mut ear, 10..=10);
        assert_eq!(ear.marks.last_chunk(), Some(&[10, 10]));
    }

    #[test]
    fn who_is_left_behind_while_pulling_pulls_again() {
        let mut ear = Ear::default();
        assert_eq!(ear.on_behind(), Some(Seq(0)));
        assert_eq!(ear.on_behind(), None);
        assert_eq!(ear.on_page(heard(1..=2), false), Some(Seq(2)));
        assert_eq!(ear.on_page(heard(3..=4), false), None);
        assert_eq!(ear.marks, [1, 2, 3, 4]);
    }

    #[test]
    fn what_the_server_pushes_twice_or_leaves_out_is_not_hidden() {
        let mut ear = Ear::default();
        push(&mut ear, 1..=2);
        push(&mut ear, 2..=2);
        push(&mut ear, 4..=4);
        assert_eq!(ear.marks, [1, 2, 2, 4]);
    }

    #[test]
    fn a_conversation_that_began_unseen_is_pulled_from_its_start() {
        let mut ear = Ear::default();
        push(&mut ear, 3..=4);
        assert!(ear.on_begun_unseen());
        assert_eq!(ear.on_resumed(), Seq(0));
        assert!(!ear.on_begun_unseen());
    }
}
