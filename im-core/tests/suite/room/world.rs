//! A room machine between a log, a bus that loses, doubles and reorders, a store whose reads are
//! late, short or fail, and users who come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::machine::{Room, RoomRead};
use im_core::model::{
    Body, ConversationId, Entry, Epoch, Mentions, MessageId, NewEntry, Seq, Timestamp, UserId,
};
use im_core::rule::{MemberEvent, MemberEventOp};

pub(super) const USERS: usize = 4;

/// What happens next. Numbers choose among what there is, so that every list of steps makes sense.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Somebody says something. `own`: this node committed it and tells the room at once.
    Say { own: bool },
    /// A member of this number comes (if not in) or goes (if in).
    Change {
        user: usize,
        by_self: bool,
        own: bool,
    },
    /// Many entries at once, of which the room hears all but the first.
    Burst { count: usize },
    /// A message of the bus arrives, and perhaps stays to arrive again.
    Bus { which: usize, doubled: bool },
    /// A message of the bus is lost.
    Lose { which: usize },
    /// A user's first connection; their membership is read at once and arrives now or later.
    Connect { user: usize, now: bool },
    /// A membership that was read arrives.
    Arrive { which: usize },
    /// A user's last connection ends.
    Part { user: usize },
    /// The store answers the read in flight, with what it had then or has now.
    Answer {
        which: usize,
        fresh: bool,
        short: Option<usize>,
    },
    /// The read in flight fails.
    Fail,
    /// The sweep tells of the store's head.
    Sweep,
    /// The bus tells of an entry that does not exist.
    Forge { above: u64 },
    /// Time passes.
    Wait { ms: u64 },
    /// The log forgets its first entries.
    Trim { keep: usize },
    /// The log loses its last entries and begins another epoch.
    Restore { lost: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Gets nothing.
    Out,
    /// Got everything up to there that is theirs, and gets what comes next.
    In(Seq),
    /// Joined, and gets the entry that follows.
    Joining,
    /// Got their removal's own entry.
    Leaving,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) connected: bool,
    /// Grows with each connection: an answer for an earlier one is void.
    pub(super) connection: u64,
    pub(super) place: Place,
    /// The handle that the room must hold.
    pub(super) handle: u64,
}

/// A membership as it was read, on its way to the room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    pub(super) user: usize,
    pub(super) connection: u64,
    pub(super) member: bool,
    pub(super) head: Seq,
    pub(super) epoch: Epoch,
}

/// The read in flight, and what the store had when it was asked.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) read: RoomRead,
    pub(super) head: Seq,
    pub(super) epoch: Epoch,
    pub(super) entries: Vec<Arc<Entry>>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) room: Room<u64>,
    pub(super) now: Instant,
    pub(super) log: Vec<Arc<Entry>>,
    /// Entries that the log has forgotten, from the first.
    pub(super) trimmed: usize,
    pub(super) epoch: Epoch,
    pub(super) users: Vec<User>,
    pub(super) bus: Vec<Arc<Entry>>,
    pub(super) arriving: Vec<Membership>,
    /// Reads in flight: one, or more where the head came from elsewhere than its read.
    pub(super) readings: Vec<Reading>,
    /// The furthest entry that was truly told of to the room.
    pub(super) told: Seq,
    /// Whether somebody may be lost to the room.
    pub(super) may_lose: bool,
    /// Whether the shell joins those who were added at once, or after reading their membership.
    pub(super) joins_at_once: bool,
    pub(super) next_handle: u64,
    pub(super) begun: bool,
}

impl World {
    pub(super) fn new(now: Instant, joins_at_once: bool) -> Self {
        let user = |n| User {
            id: UserId::new(format!("u{n}")).unwrap(),
            connected: false,
            connection: 0,
            place: Place::Out,
            handle: 0,
        };
        Self {
            room: Room::default(),
            now,
            log: Vec::new(),
            trimmed: 0,
            epoch: Epoch(1),
            users: (0..USERS).map(user).collect(),
            bus: Vec::new(),
            arriving: Vec::new(),
            readings: Vec::new(),
            told: Seq(0),
            may_lose: false,
            joins_at_once,
            next_handle: 0,
            begun: false,
        }
    }

    pub(super) fn head(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    /// The step, then everything that it leads to, then every check.
    pub(super) fn step(&mut self, step: &Step) {
        self.input(step);
        self.drain();
        self.begin();
        self.check();
    }

    /// Who was made a member before the room began is found by the shell.
    pub(super) fn begin(&mut self) {
        if !self.begun && self.room.head().is_some() {
            self.begun = true;
            self.read_memberships_of_those_out();
        }
    }

    fn input(&mut self, step: &Step) {
        match *step {
            Step::Say { own } => self.commit(Body::text("x"), own),
            Step::Change { user, by_self, own } => {
                let user = user % USERS;
                let op = match (self.is_member(user), by_self) {
                    (false, false) => MemberEventOp::Add,
                    (false, true) => MemberEventOp::Join,
                    (true, false) => MemberEventOp::Remove,
                    (true, true) => MemberEventOp::Leave,
                };
                let users = vec![self.users[user].id.clone()];
                self.commit(MemberEvent { op, users }.to_body(), own);
            }
            Step::Burst { count } => self.burst(count),
            Step::Bus { which, doubled } => {
                if let Some(entry) = take(&mut self.bus, which, doubled) {
                    self.tell(entry);
                }
            }
            Step::Lose { which } => drop(take(&mut self.bus, which, false)),
            Step::Connect { user, now } => self.connect(user % USERS, now),
            Step::Arrive { which } => {
                if let Some(membership) = take(&mut self.arriving, which, false) {
                    self.arrive(membership);
                }
            }
            Step::Part { user } => self.part(user % USERS),
            Step::Answer {
                which,
                fresh,
                short,
            } => self.answer(which, fresh, short),
            Step::Fail => {
                if self.readings.pop().is_some() {
                    self.room.handle_read_failed(self.now);
                }
            }
            Step::Sweep => self.sweep(),
            Step::Forge { above } => {
                let seq = Seq(self.head().0 + above);
                self.room.handle_entry(entry(seq, Body::text("forged"), 0));
            }
            Step::Wait { ms } => self.wait(Duration::from_millis(ms)),
            Step::Trim { keep } => {
                self.trimmed = self.trimmed.max(self.log.len().saturating_sub(keep));
                self.may_lose = true;
            }
            Step::Restore { lost } => self.restore(lost),
        }
    }

    fn commit(&mut self, body: Body, own: bool) {
        let seq = self.head().next();
        let entry = entry(seq, body, self.epoch.0);
        self.log.push(Arc::clone(&entry));
        self.bus.push(Arc::clone(&entry));
        if own {
            self.tell(entry);
        }
    }

    fn burst(&mut self, count: usize) {
        for n in 0..count {
            self.commit(Body::text("b"), n > 0);
            self.bus.pop();
        }
    }

    fn tell(&mut self, entry: Arc<Entry>) {
        self.told = self.told.max(entry.seq);
        self.room.handle_entry(entry);
    }

    /// Whether the log says so, as of now.
    pub(super) fn is_member(&self, user: usize) -> bool {
        let id = &self.users[user].id;
        let changes = self.log.iter().rev().filter_map(|entry| {
            let event = MemberEvent::of(&entry.body)?;
            event.users.contains(id).then_some(event.op)
        });
        matches!(
            changes.take(1).next(),
            Some(MemberEventOp::Add | MemberEventOp::Join)
        )
    }

    fn connect(&mut self, user: usize, now: bool) {
        if !self.users[user].connected {
            self.users[user].connected = true;
            self.users[user].connection += 1;
        }
        self.read_membership(user, now);
    }

    pub(super) fn read_membership(&mut self, user: usize, now: bool) {
        let membership = Membership {
            user,
            connection: self.users[user].connection,
            member: self.is_member(user),
            head: self.head(),
            epoch: self.epoch,
        };
        if now {
            self.arrive(membership);
        } else {
            self.arriving.push(membership);
        }
    }

    pub(super) fn arrive(&mut self, membership: Membership) {
        let Membership {
            user,
            connection,
            member,
            head,
            epoch,
        } = membership;
        let known = &self.users[user];
        if !known.connected || known.connection != connection {
            return;
        }
        if !self.room.handle_epoch(epoch, head) {
            // Read in an earlier epoch: read again.
            return self.read_membership(user, false);
        }
        self.told = self.told.max(head);
        if member {
            self.drain();
            self.join(user, head);
        }
    }

    fn join(&mut self, user: usize, after: Seq) {
        self.next_handle += 1;
        let applied = self.room.head().unwrap_or_default();
        let user = &mut self.users[user];
        user.handle = self.next_handle;
        user.place = match user.place {
            // The earlier of both joins counts, as far as the room can still do it.
            Place::In(cursor) => Place::In(cursor.min(after.max(applied))),
            _ => Place::In(after),
        };
        self.may_lose |= applied.0 > after.0 + 1_000;
        self.room.handle_join(user.id.clone(), user.handle, after);
    }

    /// A join whose membership told the room of no epoch and no head.
    pub(super) fn join_unasked(&mut self, user: usize, after: Seq) {
        self.users[user].connected = true;
        self.join(user, after);
        self.drain();
    }

    fn part(&mut self, user: usize) {
        let user = &mut self.users[user];
        let handle = self.room.handle_part(&user.id);
        let expected = matches!(user.place, Place::In(_)).then_some(user.handle);
        assert_eq!(handle, expected, "who parts gets their handle back");
        user.connected = false;
        user.place = Place::Out;
    }

    pub(super) fn answer(&mut self, which: usize, fresh: bool, short: Option<usize>) {
        let Some(mut reading) = take(&mut self.readings, which, false) else {
            return;
        };
        if fresh {
            reading = self.ask(reading.read);
        }
        match reading.read {
            RoomRead::Head => {
                if self.room.handle_epoch(reading.epoch, reading.head) {
                    self.told = self.told.max(reading.head);
                }
            }
            RoomRead::After { .. } => {
                let length = reading.entries.len();
                reading
                    .entries
                    .truncate(short.map_or(length, |short| short.max(1)));
                self.room.handle_read(reading.entries);
            }
        }
    }

    /// What the store has now.
    pub(super) fn ask(&self, read: RoomRead) -> Reading {
        let entries = match read {
            RoomRead::Head => Vec::new(),
            RoomRead::After { seq, limit } => {
                let from = self.trimmed.max(seq.0 as usize);
                self.log.iter().skip(from).take(limit).cloned().collect()
            }
        };
        Reading {
            read,
            head: self.head(),
            epoch: self.epoch,
            entries,
        }
    }

    pub(super) fn sweep(&mut self) {
        assert!(self.room.handle_epoch(self.epoch, self.head()));
        self.told = self.head();
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        if self
            .room
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.room.handle_timeout(self.now);
            assert_eq!(self.room.poll_timeout(), None, "a timeout is dealt with");
        }
    }

    fn restore(&mut self, lost: usize) {
        self.log.truncate(self.log.len().saturating_sub(lost));
        self.trimmed = self.trimmed.min(self.log.len().saturating_sub(1));
        self.epoch = Epoch(self.epoch.0 + 1);
        self.may_lose = true;
        self.told = Seq(0);
        // The shell drops what the bus brings of an earlier epoch.
        self.bus.clear();
        self.sweep();
    }
}

pub(super) fn take<T: Clone>(from: &mut Vec<T>, which: usize, stays: bool) -> Option<T> {
    if from.is_empty() {
        return None;
    }
    let which = which % from.len();
    Some(if stays {
        from[which].clone()
    } else {
        from.remove(which)
    })
}

pub(super) fn entry(seq: Seq, body: Body, id: u64) -> Arc<Entry> {
    let new = NewEntry {
        id: MessageId(id),
        from: UserId::new("u0").unwrap(),
        at: Timestamp(0),
        cm_id: None,
        digest: 0,
        body,
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Arc::new(new.at(ConversationId::new("c").unwrap(), seq))
}
