//! The room machine: a node's live view of one conversation.
//!
//! Entries reach it from this node's commits, from the bus and from the store, late, doubled and
//! in any order; it applies them at head + 1 only, each once, with what they change in the
//! membership, so that a stale node can't push to somebody who was removed.
//!
//! Inputs: [`handle_head`](Room::handle_head) or [`handle_epoch`](Room::handle_epoch) (a head that
//! the store is known to have), [`handle_entry`](Room::handle_entry),
//! [`handle_read`](Room::handle_read) and [`handle_read_failed`](Room::handle_read_failed)
//! (answers to [`poll_read`](Room::poll_read)), [`handle_join`](Room::handle_join),
//! [`handle_part`](Room::handle_part), [`handle_timeout`](Room::handle_timeout). Outputs:
//! [`poll_event`](Room::poll_event), drained until `None` after every input, then
//! [`poll_read`](Room::poll_read). On [`RoomEvent::Push`] the shell sends to
//! [`recipients`](Room::recipients).
//!
//! `H` is the shell's handle of a user's connections on this node, all of them: one more
//! connection of somebody who is here needs no join.

mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Entry, Epoch, Seq, UserId};
use crate::rule::{MemberEvent, MemberEventOp};

/// Recent entries kept for pulls of the tail, and for those who join late.
const RING_MAX: usize = 64;
/// How far a room goes back for one who joins late. Who comes later than that is lost, and pulls:
/// everybody else waits while a room goes back.
const LATE_MAX: u64 = 1_024;
/// Entries kept that came before their turn; more are dropped, and read from the store in time.
const PENDING_MAX: usize = 1_024;
/// How long a failed read waits before the next.
const READ_RETRY: Duration = Duration::from_millis(200);
/// Entries asked of the store at once.
const READ_LIMIT: usize = 200;

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// These users became members with the entry that follows. Those of them that are connected
    /// here join: at once, before the next poll, and the entry is the first that they get,
    /// whatever `after` says; or later, when their membership was read.
    Joined(Vec<UserId>),
    /// The next entry: send it to the recipients.
    Push(Arc<Entry>),
    /// This user is no member any more and no recipient; the entry before was their last. (So a
    /// shell that gathers entries sends them before it polls on after a `member` entry.)
    Left(UserId),
    /// These users are not here any more, because entries that they should have got are gone for
    /// good (a trimmed log, another epoch), or they joined too late. Whether they still are
    /// members is not known: tell their connections `behind`
    /// ([`Delivery::handle_lost`](super::Delivery::handle_lost)), read their membership, and let
    /// those who are members join again.
    Lost(Vec<UserId>),
    /// Entries are gone for good that the room never saw. Whom they made members was not told:
    /// look for members among all users that are connected here.
    Gap,
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

#[derive(Debug)]
struct Pending {
    entry: Arc<Entry>,
    /// How many reads had been asked when it came.
    reads: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Room<H> {
    epoch: Option<Epoch>,
    /// The last entry applied; unknown until the store was asked.
    head: Option<Seq>,
    /// The head, or below it while the room goes back for one who joined late.
    cursor: Seq,
    /// The furthest entry heard of.
    known: Seq,
    /// The furthest entry heard of since the last read was asked: no answer of it denies that one.
    heard: Seq,
    pending: BTreeMap<Seq, Pending>,
    ring: VecDeque<Arc<Entry>>,
    here: BTreeMap<UserId, Here<H>>,
    leaving: VecDeque<UserId>,
    /// Those who left, and with which entry, on the way back to the head.
    gone: BTreeMap<UserId, Seq>,
    lost: Vec<UserId>,
    gap: bool,
    joined: Option<Arc<Entry>>,
    reading: Option<RoomRead>,
    /// The answer to the read in flight is of another epoch.
    void: bool,
    reads: u64,
    retry_at: Option<Instant>,
}

impl<H> Default for Room<H> {
    fn default() -> Self {
        Self {
            epoch: None,
            head: None,
            cursor: Seq(0),
            known: Seq(0),
            heard: Seq(0),
            pending: BTreeMap::new(),
            ring: VecDeque::new(),
            here: BTreeMap::new(),
            leaving: VecDeque::new(),
            gone: BTreeMap::new(),
            lost: Vec::new(),
            gap: false,
            joined: None,
            reading: None,
            void: false,
            reads: 0,
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

    /// The epoch of the log; `None` until [`handle_epoch`](Self::handle_epoch) told.
    #[must_use]
    pub const fn epoch(&self) -> Option<Epoch> {
        self.epoch
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
        self.on_heard(head);
        if self.head.is_none() {
            self.on_first_head(head);
        }
        if self.reading == Some(RoomRead::Head) {
            self.reading = None;
        }
    }

    /// The store has the log in this epoch, with entries up to `head` at least. In a later epoch
    /// than before nothing that was heard holds, and everybody here is
    /// [lost](RoomEvent::Lost). False if the epoch is an earlier one: whatever was read with it is
    /// void. (Entries from the bus carry no epoch: those of an earlier one must not come here.)
    pub fn handle_epoch(&mut self, epoch: Epoch, head: Seq) -> bool {
        match self.epoch {
            Some(known) if epoch < known => return false,
            Some(known) if known < epoch => self.on_new_epoch(),
            Some(_) => {}
            // Of which epoch the entries were that came before isn't known; the store has them.
            None => self.pending.clear(),
        }
        self.epoch = Some(epoch);
        self.handle_head(head);
        true
    }

    /// An entry, from wherever.
    pub fn handle_entry(&mut self, entry: Arc<Entry>) {
        let seq = entry.seq;
        if seq <= self.cursor {
            return;
        }
        self.on_heard(seq);
        let reads = self.reads;
        self.pending.insert(seq, Pending { entry, reads });
        if self.pending.len() > PENDING_MAX {
            self.pending.pop_last();
        }
    }

    /// What the store has above the place asked: the first entries there, ascending; none when it
    /// has none. Entries that are missing in front of the first are gone for good.
    pub fn handle_read(&mut self, entries: Vec<Arc<Entry>>) {
        let was = self.reading.take();
        if std::mem::take(&mut self.void) {
            return;
        }
        if let Some(RoomRead::After { seq: asked, .. }) = was {
            // A room that went back meanwhile will ask for what is between.
            let judged = self.cursor >= asked;
            match entries.first() {
                None if judged => self.on_nothing_above(),
                Some(first) if judged && first.seq > self.cursor.next() => self.on_gap(first.seq),
                _ => {}
            }
        }
        for entry in entries {
            self.handle_entry(entry);
        }
    }

    /// The store did not answer.
    pub fn handle_read_failed(&mut self, now: Instant) {
        self.reading = None;
        self.void = false;
        self.retry_at = Some(now + READ_RETRY);
    }

    /// A member is connected here. `after` is the conversation's head when their membership was
    /// read, or before; what came since is pushed to them, and if they were removed since, that
    /// entry is their last. Of one who is here already, the handle is replaced.
    pub fn handle_join(&mut self, user: UserId, handle: H, after: Seq) {
        self.on_heard(after);
        let joined = self.joined.is_some();
        if let Some(here) = self.here.get_mut(&user) {
            here.handle = handle;
            // The entry that made them a member again is an old one to somebody who is here.
            if !joined {
                // What was applied was pushed to them.
                here.after = here.after.min(after.max(self.head.unwrap_or_default()));
            }
            return;
        }
        let after = if joined { self.cursor } else { after };
        if let Some(head) = self.head.filter(|_| after < self.cursor) {
            if head.0 - after.0 > LATE_MAX {
                self.lost.push(user);
                return;
            }
            self.on_late(after);
        }
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
        while let Some(user) = self.leaving.pop_front() {
            if self.here.remove(&user).is_some() {
                if self.head > Some(self.cursor) {
                    self.gone.insert(user.clone(), self.cursor);
                }
                return Some(RoomEvent::Left(user));
            }
        }
        if std::mem::take(&mut self.gap) {
            return Some(RoomEvent::Gap);
        }
        if !self.lost.is_empty() {
            return Some(RoomEvent::Lost(std::mem::take(&mut self.lost)));
        }
        if let Some(entry) = self.joined.take() {
            return Some(self.on_apply(entry));
        }
        let head = self.head?;
        let next = self.cursor.next();
        #[cfg(feature = "planted")]
        let next = if crate::planted::has(crate::planted::Bug::RoomIgnoresGaps) {
            *self.pending.keys().next()?
        } else {
            next
        };
        let Pending { entry, .. } = self.pending.remove(&next)?;
        match MemberEvent::of(&entry.body) {
            Some(MemberEvent {
                op: MemberEventOp::Add | MemberEventOp::Join,
                mut users,
            }) => {
                if entry.seq <= head {
                    self.on_told_before(&mut users, entry.seq);
                }
                if users.is_empty() {
                    return Some(self.on_apply(entry));
                }
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

    /// What to ask of the store; answered once, by `handle_head` (or `handle_epoch`),
    /// `handle_read` or `handle_read_failed`. One at a time, except that a head that came from
    /// elsewhere answers a read of it that is in flight.
    pub fn poll_read(&mut self) -> Option<RoomRead> {
        if self.reading.is_some() || self.retry_at.is_some() {
            return None;
        }
        let read = match self.head {
            None => RoomRead::Head,
            Some(_) if self.known > self.cursor => RoomRead::After {
                seq: self.cursor,
                limit: READ_LIMIT,
            },
            Some(_) => return None,
        };
        self.reading = Some(read);
        self.reads += 1;
        self.heard = Seq(0);
        Some(read)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.retry_at.map(|at| (at, "a read failed"))
    }
}
