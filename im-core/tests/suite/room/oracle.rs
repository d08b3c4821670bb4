//! What the room says, checked against the log: what each user must get, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use im_core::machine::RoomEvent;
use im_core::model::{Entry, Seq, UserId};
use im_core::rule::{MemberEvent, MemberEventOp};

use super::world::{Place, USERS, User, World, take};

impl World {
    /// Polls until there is nothing, and checks every output against the log.
    pub(super) fn drain(&mut self) {
        while let Some(event) = self.room.poll_event() {
            let leaving = self.users.iter().any(|user| user.place == Place::Leaving);
            assert!(
                !leaving || matches!(event, RoomEvent::Left(_)),
                "the removed are gone before anything else: {event:?}"
            );
            match event {
                RoomEvent::Push(entry) => self.on_push(&entry),
                RoomEvent::Joined(users) => self.on_joined(&users),
                RoomEvent::Left(id) => {
                    let user = self.users.iter_mut().find(|user| user.id == id).unwrap();
                    assert_eq!(user.place, Place::Leaving, "only the removed leave");
                    user.place = Place::Out;
                }
                RoomEvent::Lost(users) => self.on_lost(&users),
                RoomEvent::Gap => {
                    assert!(self.may_lose, "nothing is gone");
                    self.read_memberships_of_those_out();
                }
            }
        }
        if let Some(read) = self.room.poll_read() {
            let reading = self.ask(read);
            self.readings.push(reading);
        }
        assert!(
            self.readings.len() <= 3,
            "reads are few: {:?}",
            self.readings
        );
        assert!(self.room.poll_read().is_none(), "one read at a time");
    }

    fn on_push(&mut self, entry: &Entry) {
        let seq = entry.seq;
        assert_eq!(
            *self.log[seq.0 as usize - 1],
            *entry,
            "what is pushed is in the log"
        );
        let to: BTreeSet<u64> = self.room.recipients(seq).copied().collect();
        let event = MemberEvent::of(&entry.body);
        for user in &mut self.users {
            let got = to.contains(&user.handle);
            if user.place == Place::Joining {
                let event = event.as_ref().expect("a member entry");
                assert!(matches!(event.op, MemberEventOp::Add | MemberEventOp::Join));
                assert!(event.users.contains(&user.id), "it made them a member");
                user.place = Place::In(Seq(seq.0 - 1));
            }
            match user.place {
                Place::In(cursor) if cursor < seq => {
                    assert_eq!(cursor.next(), seq, "no hole for {}", user.id);
                    assert!(got, "{} gets {seq}", user.id);
                    user.place = Place::In(seq);
                    let gone = event.as_ref().is_some_and(|event| {
                        matches!(event.op, MemberEventOp::Remove | MemberEventOp::Leave)
                            && event.users.contains(&user.id)
                    });
                    if gone {
                        user.place = Place::Leaving;
                    }
                }
                _ => assert!(!got, "{} must not get {seq}", user.id),
            }
        }
    }

    fn on_joined(&mut self, users: &[UserId]) {
        for user in 0..USERS {
            if !users.contains(&self.users[user].id) || !self.users[user].connected {
                continue;
            }
            if !self.joins_at_once {
                self.read_membership(user, false);
                continue;
            }
            // A shell that does not ask who is here already.
            self.next_handle += 1;
            let user = &mut self.users[user];
            user.handle = self.next_handle;
            if user.place == Place::Out {
                user.place = Place::Joining;
            }
            let head = self.room.head().expect("the head is known");
            self.room.handle_join(user.id.clone(), user.handle, head);
        }
    }

    fn on_lost(&mut self, users: &[UserId]) {
        assert!(self.may_lose, "nobody is lost");
        for id in users {
            let user = self.users.iter().position(|user| user.id == *id).unwrap();
            assert!(
                matches!(self.users[user].place, Place::In(_)),
                "{id} was here"
            );
            self.users[user].place = Place::Out;
            self.read_membership(user, false);
        }
    }

    pub(super) fn read_memberships_of_those_out(&mut self) {
        for user in 0..USERS {
            if self.users[user].connected && self.users[user].place == Place::Out {
                self.read_membership(user, false);
            }
        }
    }

    pub(super) fn check(&self) {
        self.room.assert_invariants();
        let here = |user: &&User| matches!(user.place, Place::In(_));
        assert_eq!(self.room.len(), self.users.iter().filter(here).count());
        for user in self.users.iter().filter(here) {
            assert_eq!(
                self.room.get(&user.id),
                Some(&user.handle),
                "{} is here",
                user.id
            );
        }
        if let Some(recent) = self.room.recent(self.room_head_minus(10), 5) {
            let first = recent[0].seq.0 as usize - 1;
            assert!(recent.len() <= 5, "as many as asked");
            assert_eq!(
                recent,
                self.log[first..first + recent.len()],
                "the ring is the log"
            );
        }
    }

    fn room_head_minus(&self, back: u64) -> Seq {
        Seq(self.room.head().unwrap_or_default().0.saturating_sub(back))
    }

    /// Reads succeed now, and nothing else comes: what was told of is applied, then, with a sweep,
    /// everything is.
    pub(super) fn settle(&mut self) {
        self.run_dry();
        if self.told > Seq(0) {
            assert!(
                self.room.head() >= Some(self.told),
                "what was told of is applied"
            );
        }
        self.sweep();
        self.run_dry();
        let head = self.head();
        assert_eq!(self.room.head(), Some(head), "the room is at the head");
        for user in 0..USERS {
            let expected = if self.users[user].connected && self.is_member(user) {
                Place::In(head)
            } else {
                Place::Out
            };
            assert_eq!(
                self.users[user].place, expected,
                "{} at the end",
                self.users[user].id
            );
        }
    }

    fn run_dry(&mut self) {
        // Each read brings an entry at least, and each membership needs few.
        for _ in 0..10 * (self.log.len() + 100) {
            self.wait(Duration::from_secs(1));
            self.drain();
            self.begin();
            if let Some(membership) = take(&mut self.arriving, 0, false) {
                self.arrive(membership);
            } else if !self.readings.is_empty() {
                self.answer(0, true, None);
            } else {
                return self.check();
            }
            self.drain();
            self.check();
        }
        panic!("the room does not come to rest");
    }
}
