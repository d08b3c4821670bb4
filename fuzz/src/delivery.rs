//! The delivery machine under any order of inputs, beside a model of what the client has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use im_core::machine::{Delivery, DeliveryEvent, Push};
use im_core::model::Seq;

const CONVS: u8 = 4;
const WINDOW: usize = 8;
const ACK_AFTER: Duration = Duration::from_secs(30);

#[derive(Arbitrary, Debug)]
pub enum Operation {
    /// The next entry of a conversation.
    Entry(u8),
    /// An ack: so far from the last entry, above it too.
    Ack(u8, i8),
    /// A pull that reached the end.
    CaughtUp(u8),
    /// The user is no member any more.
    Left(u8),
    /// Time passes.
    Wait(u16),
}

pub fn run(operations: &[Operation]) {
    let mut now = Instant::now();
    let mut delivery = Delivery::new(WINDOW, ACK_AFTER);
    let mut heads: BTreeMap<u8, u64> = BTreeMap::new();
    for operation in operations {
        match *operation {
            Operation::Entry(conv) => {
                let conv = conv % CONVS;
                let head = heads.entry(conv).or_insert(0);
                *head += 1;
                let was_behind = delivery.is_behind(conv);
                let was_full = delivery.in_window() == WINDOW;
                match delivery.handle_entry(now, conv, Seq(*head)) {
                    Push::Send => assert!(!was_behind && !was_full),
                    Push::Skip => assert!(was_behind),
                    Push::Behind => assert!(!was_behind && was_full),
                }
            }
            Operation::Ack(conv, from_head) => {
                let conv = conv % CONVS;
                let head = heads.get(&conv).copied().unwrap_or(0);
                let seq = head.saturating_add_signed(i64::from(from_head));
                let before = delivery.in_window();
                delivery.handle_ack(conv, Seq(seq));
                assert!(delivery.in_window() <= before);
            }
            Operation::CaughtUp(conv) => {
                let conv = conv % CONVS;
                let head = heads.get(&conv).copied().unwrap_or(0);
                delivery.handle_caught_up(conv, Seq(head));
                assert!(!delivery.is_behind(conv));
            }
            Operation::Left(conv) => {
                delivery.handle_left(conv % CONVS);
                assert!(!delivery.is_behind(conv % CONVS));
            }
            Operation::Wait(ms) => {
                now += Duration::from_millis(u64::from(ms));
                delivery.handle_timeout(now);
                while let Some(DeliveryEvent::Behind(conv)) = delivery.poll_event() {
                    assert!(delivery.is_behind(conv));
                }
                assert!(delivery.poll_timeout().is_none_or(|(at, _)| at > now));
            }
        }
        delivery.assert_invariants();
    }
    now += ACK_AFTER;
    delivery.handle_timeout(now);
    assert_eq!(delivery.in_window(), 0, "nothing stays un-acked for longer");
}
