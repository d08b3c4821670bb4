//! The room machine: a node's live view of one conversation.
//!
//! Entries reach it from this node's commits, from the bus and from the store, late, doubled and
//! in any order; it applies them at head + 1 only, each once, with what they change in the
//! membership, so that a stale node can't push to somebody who was removed.
//!
//! Inputs: [`handle_head`](Room::handle_head) (a head that the store is known to have),
//! [`handle_entry`](Room::handle_entry), [`handle_read`](Room::handle_read) and
//! [`handle_read_failed`](Room::handle_read_failed) (answers to [`poll_read`](Room::poll_read)),
//! [`handle_join`](Room::handle_join), [`handle_part`](Room::handle_part),
//! [`handle_timeout`](Room::handle_timeout). Outputs: [`poll_event`](Room::poll_event), drained
//! until `None` after every input, then [`poll_read`](Room::poll_read). On
//! [`RoomEvent::Joined`] the shell calls `handle_join` for those of the users that are connected
//! here, before it polls on; on [`RoomEvent::Push`] it sends to [`recipients`](Room::recipients).
//!
//! `H` is the shell's handle of a user's connections on this node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Entry, Seq, UserId};
use crate::rule::{MemberEvent, MemberEventOp};

/// Recent entries kept for pulls of the tail.
const RING_MAX: usize = 64;
/// Entries kept that came before their turn; more are dropped, and read from the store in time.
const PENDING_MAX: usize = 1_024;
/// How long a failed read waits before the next.
const READ_RETRY: Duration = Duration::from_millis(200);
/// Entries asked of the store at once.
const READ_LIMIT: usize = 200;

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// These users became members with the entry that follows.
    Joined(Vec<UserId>),
    /// The next entry: send it to the recipients.
    Push(Arc<Entry>),
    /// This user is no member any more and no recipient; the entry before was their last. (So a
    /// shell that gathers entries sends them before it polls on after a `member` entry.)
    Left(UserId),
}

/// What the room must know from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomRead {
    /// The conversation's head.
    Head,
    /// Entries above a place.
    After {
        /// The place.
        seq: Seq,
        /// The most entries.
        limit: usize,
    },
}

#[derive(Debug)]
struct Here<H> {
    handle: H,
    /// Entries up to there were in the store when the user's membership was read: not pushed, and
    /// what they changed is known.
    after: Seq,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Room<H> {
    /// The last entry applied; unknown until the store was asked.
    head: Option<Seq>,
    /// The furthest entry heard of.
    known: Seq,
    pending: BTreeMap<Seq, Arc<Entry>>,
    ring: VecDeque<Arc<Entry>>,
    here: BTreeMap<UserId, Here<H>>,
    leaving: VecDeque<UserId>,
    joined: Option<Arc<Entry>>,
    reading: bool,
    retry_at: Option<Instant>,
}

impl<H> Default for Room<H> {
    fn default() -> Self {
        Self {
            head: None,
            known: Seq(0),
            pending: BTreeMap::new(),
            ring: VecDeque::new(),
            here: BTreeMap::new(),
            leaving: VecDeque::new(),
            joined: None,
            reading: false,
            retry_at: None,
        }
    }
}

impl<H> Room<H> {
    /// The last entry applied; `None` until the head is known.
    #[must_use]
    pub const fn head(&self) -> Option<Seq> {
        self.head
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.here.is_empty()
    }

    /// How many users are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.here.len()
    }

    /// A user who is here.
    #[must_use]
    pub fn get(&self, user: &UserId) -> Option<&H> {
        self.here.get(user).map(|here| &here.handle)
    }

    /// Everybody who is here.
    pub fn users(&self) -> impl Iterator<Item = (&UserId, &H)> {
        self.here.iter().map(|(user, here)| (user, &here.handle))
    }

    /// Who gets an entry.
    pub fn recipients(&self, seq: Seq) -> impl Iterator<Item = &H> {
        self.here
            .values()
            .filter(move |here| here.after < seq)
            .map(|here| &here.handle)
    }

    /// Everybody who gets entries, with the place above which they do.
    pub fn recipients_after(&self) -> impl Iterator<Item = (&H, Seq)> {
        self.here.values().map(|here| (&here.handle, here.after))
    }

    /// The entries above `after` up to the head, if all of them are still at hand.
    #[must_use]
    pub fn recent(&self, after: Seq, limit: usize) -> Option<Vec<Arc<Entry>>> {
        let head = self.head?;
        let first = self.ring.front()?.seq;
        if after >= head || after.next() < first {
            return None;
        }
        let skip = (after.0 + 1 - first.0) as usize;
        Some(self.ring.iter().skip(skip).take(limit).cloned().collect())
    }

    /// The store has entries up to `head` at least.
    pub fn handle_head(&mut self, head: Seq) {
        self.known = self.known.max(head);
        if self.head.is_none() {
            self.head = Some(head);
            self.reading = false;
            self.pending = self.pending.split_off(&head.next());
        }
    }

    /// An entry, from wherever.
    pub fn handle_entry(&mut self, entry: Arc<Entry>) {
        if self.head.is_some_and(|head| entry.seq <= head) {
            return;
        }
        self.known = self.known.max(entry.seq);
        self.pending.insert(entry.seq, entry);
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_last();
        }
    }

    /// What the store has above the place asked: entries without a gap, ascending; none when it
    /// has none.
    pub fn handle_read(&mut self, entries: Vec<Arc<Entry>>) {
        self.reading = false;
        if entries.is_empty() {
            // Whoever told of more was wrong; the store is the truth.
            self.known = self.head.unwrap_or_default();
            self.pending.clear();
        }
        for entry in entries {
            self.handle_entry(entry);
        }
    }

    /// The store did not answer.
    pub fn handle_read_failed(&mut self, now: Instant) {
        self.reading = false;
        self.retry_at = Some(now + READ_RETRY);
    }

    /// A member is connected here. `after` is the conversation's head when their membership was
    /// read.
    pub fn handle_join(&mut self, user: UserId, handle: H, after: Seq) {
        self.known = self.known.max(after);
        self.here.insert(user, Here { handle, after });
    }

    /// A user has no connection here any more. Gives the handle back.
    pub fn handle_part(&mut self, user: &UserId) -> Option<H> {
        self.here.remove(user).map(|here| here.handle)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
    }

    /// What to do next.
    pub fn poll_event(&mut self) -> Option<RoomEvent> {
        if let Some(user) = self.leaving.pop_front() {
            self.here.remove(&user);
            return Some(RoomEvent::Left(user));
        }
        if let Some(entry) = self.joined.take() {
            return Some(self.on_apply(entry));
        }
        let next = self.head?.next();
        let entry = self.pending.remove(&next)?;
        match MemberEvent::of(&entry.body) {
            Some(MemberEvent {
                op: MemberEventOp::Add | MemberEventOp::Join,
                users,
            }) => {
                self.joined = Some(entry);
                Some(RoomEvent::Joined(users))
            }
            Some(MemberEvent {
                op: MemberEventOp::Remove | MemberEventOp::Leave,
                users,
            }) => {
                self.on_leaving(users, entry.seq);
                Some(self.on_apply(entry))
            }
            _ => Some(self.on_apply(entry)),
        }
    }

    /// What to ask of the store; answered by `handle_head`, `handle_read` or `handle_read_failed`.
    pub fn poll_read(&mut self) -> Option<RoomRead> {
        if self.reading || self.retry_at.is_some() {
            return None;
        }
        let read = match self.head {
            None => RoomRead::Head,
            Some(head) if self.known > head => RoomRead::After {
                seq: head,
                limit: READ_LIMIT,
            },
            Some(_) => return None,
        };
        self.reading = true;
        Some(read)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.retry_at.map(|at| (at, "a read failed"))
    }

    fn on_leaving(&mut self, users: Vec<UserId>, seq: Seq) {
        for user in users {
            // One who came back since is known to be a member as of `after`.
            if self.here.get(&user).is_some_and(|here| here.after < seq) {
                self.leaving.push_back(user);
            }
        }
    }

    fn on_apply(&mut self, entry: Arc<Entry>) -> RoomEvent {
        self.head = Some(entry.seq);
        if self.ring.len() == RING_MAX {
            self.ring.pop_front();
        }
        self.ring.push_back(Arc::clone(&entry));
        RoomEvent::Push(entry)
    }

    /// Panics when the state is not one that the machine may be in. For tests; call it after the
    /// outputs were drained.
    pub fn assert_invariants(&self) {
        assert!(self.pending.len() <= PENDING_MAX, "pending is bounded");
        assert!(self.ring.len() <= RING_MAX, "the ring is bounded");
        assert!(
            self.leaving.is_empty() && self.joined.is_none(),
            "outputs were drained"
        );
        let Some(head) = self.head else {
            assert!(
                self.ring.is_empty(),
                "nothing is applied before the head is known"
            );
            return;
        };
        assert!(self.known >= head);
        assert!(
            self.pending.keys().all(|seq| *seq > head.next()),
            "what can be applied is"
        );
        let seqs: Vec<u64> = self.ring.iter().map(|entry| entry.seq.0).collect();
        assert!(
            seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "the ring has no hole"
        );
        assert!(
            seqs.last().is_none_or(|last| *last == head.0),
            "the ring ends at the head"
        );
    }
}
