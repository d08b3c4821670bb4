//! The room machine between a log that grows, a bus that loses, doubles and reorders, a store whose
//! answers are late or cut, and users who come and go; in the end all faults stop, and the members
//! who are connected must be here and have everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use im_core::machine::{Room, RoomEvent, RoomRead};
use im_core::model::{
    Body, ConversationId, Entry, Mentions, MessageId, NewEntry, Seq, Timestamp, UserId,
};
use im_core::rule::{MemberEvent, MemberEventOp};

const USERS: u8 = 4;
/// Reads that a heal may take.
const READS_MAX: usize = 1_000;

#[derive(Arbitrary, Debug)]
pub enum Operation {
    /// Somebody says something.
    Say,
    /// A user joins or is added.
    Join { user: u8, added: bool },
    /// A user leaves or is removed.
    Leave { user: u8, removed: bool },
    /// An entry of the log arrives, so far from its end.
    Deliver(u8),
    /// The store's head is told, or an older one.
    Head(u8),
    /// An entry is told of that the log does not have.
    Forge(u8),
    /// The read in flight is answered with at most so many entries (0: it fails).
    Answer(u8),
    /// A user connects, and their membership is read.
    Connect(u8),
    /// A membership that was read arrives.
    Arrive(u8),
    /// A user's last connection ends.
    Part(u8),
    /// Time passes.
    Wait(u16),
}

/// What a user's connections have got: everything up to there.
type Got = Option<Seq>;

struct World {
    room: Room<u32>,
    now: Instant,
    log: Vec<Arc<Entry>>,
    /// The members after each entry, from before the first.
    members: Vec<BTreeSet<UserId>>,
    /// Who is connected, since which connection.
    connected: BTreeMap<UserId, u32>,
    connections: u32,
    /// Memberships on their way: of which user and connection, and the head when they were read.
    arriving: Vec<(UserId, u32, Seq)>,
    reading: Option<RoomRead>,
    /// By handle, each given once; `None` before the first entry.
    got: BTreeMap<u32, Got>,
    next_handle: u32,
    begun: bool,
}

/// Runs a list of operations, then heals.
pub fn run(operations: &[Operation]) {
    let mut world = World {
        room: Room::default(),
        now: Instant::now(),
        log: Vec::new(),
        members: vec![BTreeSet::new()],
        connected: BTreeMap::new(),
        connections: 0,
        arriving: Vec::new(),
        reading: None,
        got: BTreeMap::new(),
        next_handle: 0,
        begun: false,
    };
    for operation in operations {
        world.step(operation);
        world.drain();
    }
    world.heal();
}

fn user(number: u8) -> UserId {
    UserId::new(format!("u{}", number % USERS)).expect("an id")
}

impl World {
    fn head(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    fn entry(seq: Seq, body: Body) -> Arc<Entry> {
        let entry = NewEntry {
            id: MessageId(seq.0),
            from: user(0),
            at: Timestamp(0),
            cm_id: None,
            digest: 0,
            body,
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        Arc::new(entry.at(ConversationId::new("c").expect("an id"), seq))
    }

    fn append(&mut self, body: Body, members: BTreeSet<UserId>) {
        self.log.push(Self::entry(self.head().next(), body));
        self.members.push(members);
    }

    fn is_member(&self, user: &UserId, after: Seq) -> bool {
        self.members[after.0 as usize].contains(user)
    }

    fn change(&mut self, op: MemberEventOp, user: UserId, is_in: bool) {
        let mut members = self.members[self.head().0 as usize].clone();
        let changed = if is_in {
            members.insert(user.clone())
        } else {
            members.remove(&user)
        };
        if changed {
            let users = vec![user];
            self.append(MemberEvent { op, users }.to_body(), members);
        }
    }

    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Say => {
                let members = self.members[self.head().0 as usize].clone();
                self.append(Body::text("x"), members);
            }
            Operation::Join {
                user: number,
                added,
            } => {
                let op = if added {
                    MemberEventOp::Add
                } else {
                    MemberEventOp::Join
                };
                self.change(op, user(number), true);
            }
            Operation::Leave {
                user: number,
                removed,
            } => {
                let op = if removed {
                    MemberEventOp::Remove
                } else {
                    MemberEventOp::Leave
                };
                self.change(op, user(number), false);
            }
            Operation::Deliver(from_end) => {
                let at = self.log.len().checked_sub(1 + usize::from(from_end));
                if let Some(at) = at {
                    self.room.handle_entry(Arc::clone(&self.log[at]));
                }
            }
            Operation::Head(ago) => {
                let head = Seq(self.head().0.saturating_sub(u64::from(ago)));
                self.tell_head(head);
            }
            Operation::Forge(above) => {
                // Far enough that no real entry of this run gets its place.
                let seq = Seq(self.head().0 + 100_000 + u64::from(above));
                self.room
                    .handle_entry(Self::entry(seq, Body::text("forged")));
            }
            Operation::Answer(limit) => self.answer(usize::from(limit)),
            Operation::Connect(number) => {
                // First seen as connected, then read, or somebody is missed.
                self.connections += 1;
                let connection = *self
                    .connected
                    .entry(user(number))
                    .or_insert(self.connections);
                let read = (user(number), connection, self.head());
                self.arriving.push(read);
            }
            Operation::Arrive(which) if !self.arriving.is_empty() => {
                let which = usize::from(which) % self.arriving.len();
                self.arrive(which);
            }
            Operation::Arrive(_) => {}
            Operation::Part(number) => {
                self.connected.remove(&user(number));
                self.room.handle_part(&user(number));
                assert!(self.room.get(&user(number)).is_none());
            }
            Operation::Wait(ms) => {
                self.now += Duration::from_millis(u64::from(ms));
                self.room.handle_timeout(self.now);
                assert!(self.room.poll_timeout().is_none_or(|(at, _)| at > self.now));
            }
        }
    }

    fn arrive(&mut self, which: usize) {
        let (user, connection, after) = self.arriving.swap_remove(which);
        let is_connected = self.connected.get(&user) == Some(&connection);
        if is_connected && self.is_member(&user, after) {
            self.tell_head(after);
            self.join(user, Some(after));
        }
    }

    fn tell_head(&mut self, head: Seq) {
        self.reading = self.reading.filter(|read| *read != RoomRead::Head);
        self.room.handle_head(head);
    }

    /// One who is here already needs no join.
    fn join(&mut self, user: UserId, after: Got) {
        if self.room.get(&user).is_none() {
            let handle = self.next_handle;
            self.next_handle += 1;
            self.got.insert(handle, after);
            self.room
                .handle_join(user, handle, after.unwrap_or_default());
        }
    }

    fn answer(&mut self, cut: usize) {
        match self.reading.take() {
            None => {}
            Some(_) if cut == 0 => self.room.handle_read_failed(self.now),
            Some(RoomRead::Head) => self.room.handle_head(self.head()),
            Some(RoomRead::After { seq, limit }) => {
                let entries = self.log.iter().filter(|entry| entry.seq > seq);
                let entries = entries.take(limit.min(cut)).cloned().collect();
                self.room.handle_read(entries);
            }
        }
    }

    fn drain(&mut self) {
        self.poll_events();
        // Who was made a member before the room began is found by the shell.
        if !self.begun && self.room.head().is_some() {
            self.begun = true;
            let head = self.head();
            for user in self.connected.keys().cloned().collect::<Vec<_>>() {
                if self.is_member(&user, head) {
                    self.join(user, Some(head));
                }
            }
            self.poll_events();
        }
        if let Some(read) = self.room.poll_read() {
            assert!(self.reading.is_none(), "one read at a time");
            self.reading = Some(read);
        }
        self.room.assert_invariants();
    }

    fn poll_events(&mut self) {
        while let Some(event) = self.room.poll_event() {
            match event {
                RoomEvent::Joined(users) => {
                    for user in users {
                        if self.connected.contains_key(&user) {
                            self.join(user, None);
                        }
                    }
                }
                RoomEvent::Push(entry) => {
                    let at = entry.seq.0 as usize - 1;
                    assert_eq!(Some(&entry), self.log.get(at), "what the log has");
                    for handle in self.room.recipients(entry.seq) {
                        let got = self.got.get_mut(handle).expect("a handle that was given");
                        let next = got.map_or(entry.seq, Seq::next);
                        assert_eq!(entry.seq, next, "in order, each once");
                        *got = Some(entry.seq);
                    }
                }
                RoomEvent::Left(user) => assert!(self.room.get(&user).is_none()),
                RoomEvent::Lost(_) | RoomEvent::Gap => panic!("the log has everything"),
            }
        }
    }

    fn heal(&mut self) {
        self.now += Duration::from_secs(60);
        self.room.handle_timeout(self.now);
        while !self.arriving.is_empty() {
            self.arrive(0);
            self.drain();
        }
        // The sweep.
        self.tell_head(self.head());
        self.drain();
        for _ in 0..READS_MAX {
            if self.reading.is_none() {
                break;
            }
            self.answer(usize::MAX);
            self.drain();
        }
        let head = self.head();
        assert_eq!(self.room.head(), Some(head), "the whole log is applied");
        for (user, handle) in self.room.users() {
            assert!(self.is_member(user, head), "the removed get nothing");
            assert_eq!(self.got[handle], Some(head), "who is here has everything");
        }
        for user in self.connected.keys() {
            let is_here = self.room.get(user).is_some();
            assert_eq!(is_here, self.is_member(user, head), "every member is here");
        }
    }
}
