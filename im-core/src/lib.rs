//! The domain of imkit: what a chat is, and every decision in it that is hard.
//!
//! Nothing here opens a socket, reads a clock, spawns a task or draws a random number: time comes
//! in as an argument and randomness as a seed, so an hour of retries is tested in a millisecond and
//! every failure replays from its seed.
//!
//! # A short tour
//! | module | holds |
//! | --- | --- |
//! | [`model`] | plain data: a conversation's log of entries, its members, their cursors |
//! | [`frame`] | the wire: frames, both codecs, error and close codes |
//! | [`rule`] | pure decisions: may this user do that, what does a `member` entry tell |
//! | [`machine`] | state machines: what must hold whatever is lost, doubled, late or slow |
//! | [`port`] | what the world must provide: a store, a bus, a registry, a clock … |
//!
//! The store is the truth and the bus is a hint. A [`Room`](machine::Room) turns hints and reads
//! into one gapless order per conversation; a [`Delivery`](machine::Delivery) decides for one
//! connection what of it is pushed, so that no queue grows.
//!
//! # What a machine's run loop looks like
//! A shell feeds a machine whatever happened (`handle_*`), then does what it asks for (`poll_*`)
//! until it asks for nothing. The shell owns the sockets, the store and the time; the machine owns
//! the decision. Here the bus brings entry 3 before entry 2 was heard of:
//!
//! ```
//! use std::sync::Arc;
//! # use im_core::model::*;
//! use im_core::machine::{Room, RoomEvent, RoomRead};
//! # fn entry(seq: u64) -> Arc<Entry> {
//! #     let new = NewEntry {
//! #         id: MessageId(seq), from: UserId::new("ann").unwrap(), at: Timestamp(0), cm_id: None,
//! #         digest: 0, body: Body::text("hi"), reply_to: None, mentions: Mentions::None,
//! #         expires_at: None,
//! #     };
//! #     Arc::new(new.at(ConversationId::new("c").unwrap(), Seq(seq)))
//! # }
//!
//! /// Does everything that the room asks for. `sent` stands for the sockets, `log` for the store.
//! fn drain(room: &mut Room<&'static str>, log: &[Arc<Entry>], sent: &mut Vec<(&str, Seq)>) {
//!     loop {
//!         while let Some(event) = room.poll_event() {
//!             match event {
//!                 RoomEvent::Push(entry) => {
//!                     sent.extend(room.recipients(entry.seq).map(|to| (*to, entry.seq)));
//!                 }
//!                 // Those of them that are connected here: `room.handle_join(…)`.
//!                 RoomEvent::Joined(_users) => {}
//!                 // Forget what their connections keep of this conversation.
//!                 RoomEvent::Left(_user) => {}
//!                 // Tell them `behind`, read their membership, let members join again.
//!                 RoomEvent::Lost(_users) => {}
//!                 // Look for members among all who are connected here.
//!                 RoomEvent::Gap => {}
//!             }
//!         }
//!         match room.poll_read() {
//!             Some(RoomRead::Head) => room.handle_head(Seq(log.len() as u64)),
//!             Some(RoomRead::After { seq, limit }) => {
//!                 let above = log.iter().filter(|entry| entry.seq > seq);
//!                 room.handle_read(above.take(limit).cloned().collect());
//!             }
//!             None => return,
//!         }
//!     }
//! }
//!
//! let mut log = vec![entry(1)];
//! let (mut room, mut sent) = (Room::default(), Vec::new());
//! room.handle_join(UserId::new("bo").unwrap(), "bo's sockets", Seq(1));
//! drain(&mut room, &log, &mut sent);
//! assert_eq!(sent, [], "nothing older than the join is pushed");
//!
//! log.extend([entry(2), entry(3)]);
//! room.handle_entry(entry(3));
//! drain(&mut room, &log, &mut sent);
//! assert_eq!(sent, [("bo's sockets", Seq(2)), ("bo's sockets", Seq(3))]);
//! ```
//!
//! And where time decides, it comes in with the input; `poll_timeout` says when to come back:
//!
//! ```
//! use im_core::machine::{Delivery, DeliveryEvent, Push};
//! use im_core::model::Seq;
//! use std::time::{Duration, Instant};
//!
//! let now = Instant::now();
//! let mut delivery = Delivery::new(256, Duration::from_secs(30));
//! assert_eq!(delivery.handle_entry(now, "c", Seq(7)), Push::Send);
//!
//! // No ack comes: the client is told that the conversation is behind, and pulls when it can.
//! let (at, why) = delivery.poll_timeout().unwrap();
//! assert_eq!((at, why), (now + Duration::from_secs(30), "an entry is un-acked for too long"));
//! delivery.handle_timeout(at);
//! assert_eq!(delivery.poll_event(), Some(DeliveryEvent::Behind("c")));
//! assert_eq!(delivery.handle_entry(at, "c", Seq(8)), Push::Skip);
//!
//! // Its pull reached the end of the log: the next entry is pushed again.
//! delivery.handle_caught_up("c", Seq(8));
//! assert_eq!(delivery.handle_entry(at, "c", Seq(9)), Push::Send);
//! ```

pub mod frame;
pub mod machine;
pub mod model;
mod named;
#[cfg(feature = "planted")]
pub mod planted;
pub mod port;
pub mod rule;
