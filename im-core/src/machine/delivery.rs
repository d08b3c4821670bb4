//! The delivery machine of one connection: which entries are pushed, which conversations are
//! behind, and never more un-acked than the window.
//!
//! Inputs: [`handle_entry`](Delivery::handle_entry) for the next entry of a conversation (in the
//! order of `seq`), [`handle_ack`](Delivery::handle_ack), [`handle_caught_up`](
//! Delivery::handle_caught_up) when a pull reached the end, [`handle_left`](Delivery::handle_left),
//! [`handle_lost`](Delivery::handle_lost), [`handle_timeout`](Delivery::handle_timeout). Outputs:
//! what `handle_entry` answers, and [`poll_event`](Delivery::poll_event), drained until `None`
//! after `handle_timeout`.
//!
//! `K` names a conversation cheaply on this node. An idle connection holds nothing here: state is
//! kept only while entries are un-acked, a conversation is behind, or the connection has read
//! ahead of the room.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::Seq;

/// How finely the age of un-acked entries is kept: in this many steps of `ack_ms`. An entry may be
/// taken for up to one step older than it is.
const AGE_STEPS: u32 = 8;

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// Send it.
    Send,
    /// Don't: the client has it or will pull it.
    Skip,
    /// Don't, and tell the client that the conversation is behind from now on.
    Behind,
}

/// What happened by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEvent<K> {
    /// Tell the client that this conversation is behind from now on.
    Behind(K),
}

#[derive(Debug)]
struct Conv {
    /// Nothing is pushed until the client has pulled to the end.
    behind: bool,
    /// The last entry pushed or given by the final page of a pull.
    pushed: Seq,
    /// Everything up to there needs no ack any more.
    acked: Seq,
    /// When un-acked entries were pushed: (first seq, time), at most `AGE_STEPS` + 1 of them.
    ages: VecDeque<(Seq, Instant)>,
}

impl Conv {
    const fn at(seq: Seq) -> Self {
        Self {
            behind: false,
            pushed: seq,
            acked: seq,
            ages: VecDeque::new(),
        }
    }

    const fn unacked(&self) -> usize {
        (self.pushed.0 - self.acked.0) as usize
    }

    /// When the oldest un-acked entry is too old.
    fn deadline(&self, ack_after: Duration) -> Option<Instant> {
        self.ages.front().map(|(_, at)| *at + ack_after)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Delivery<K> {
    window: usize,
    ack_after: Duration,
    convs: BTreeMap<K, Conv>,
    in_window: usize,
    events: VecDeque<DeliveryEvent<K>>,
}

impl<K: Ord + Copy> Delivery<K> {
    /// A machine with a window of so many entries, each to be acked in that time.
    #[must_use]
    pub const fn new(window: usize, ack_after: Duration) -> Self {
        Self {
            window,
            ack_after,
            convs: BTreeMap::new(),
            in_window: 0,
            events: VecDeque::new(),
        }
    }

    /// How many pushed entries are un-acked, over all conversations.
    #[must_use]
    pub const fn in_window(&self) -> usize {
        self.in_window
    }

    /// For how many conversations anything is kept: 0 for an idle connection, except one each that
    /// it has caught up with and not acked an entry of since.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.convs.len()
    }

    /// Whether a conversation is behind.
    #[must_use]
    pub fn is_behind(&self, key: K) -> bool {
        self.convs.get(&key).is_some_and(|conv| conv.behind)
    }

    /// The next entry of a conversation. Entries of one conversation come in the order of `seq`,
    /// without a hole; behind one that is there nothing is pushed until the client has pulled.
    pub fn handle_entry(&mut self, now: Instant, key: K, seq: Seq) -> Push {
        let full = self.in_window >= self.window;
        #[cfg(feature = "planted")]
        let full = full && !crate::planted::has(crate::planted::Bug::WindowIgnored);
        let conv = self
            .convs
            .entry(key)
            .or_insert_with(|| Conv::at(Seq(seq.0.saturating_sub(1))));
        if conv.behind || seq <= conv.pushed {
            return Push::Skip;
        }
        let late = conv.deadline(self.ack_after).is_some_and(|at| at <= now);
        if full || late || seq > conv.pushed.next() {
            self.on_behind(key);
            return Push::Behind;
        }
        conv.pushed = seq;
        self.in_window += 1;
        let step = self.ack_after / AGE_STEPS;
        match conv.ages.back() {
            Some((_, at)) if now.saturating_duration_since(*at) < step => {}
            // So short a time that its steps round to nothing.
            _ if conv.ages.len() > AGE_STEPS as usize => {}
            _ => conv.ages.push_back((seq, now)),
        }
        Push::Send
    }

    /// Everything up to `seq` has arrived.
    pub fn handle_ack(&mut self, key: K, seq: Seq) {
        let Some(conv) = self.convs.get_mut(&key) else {
            return;
        };
        if conv.behind {
            return;
        }
        let seq = seq.min(conv.pushed);
        if seq <= conv.acked {
            return;
        }
        self.in_window -= (seq.0 - conv.acked.0) as usize;
        conv.acked = seq;
        if conv.acked == conv.pushed {
            self.convs.remove(&key);
            return;
        }
        // The age that covers the first un-acked entry stays.
        let oldest = seq.next();
        while conv.ages.get(1).is_some_and(|(from, _)| *from <= oldest) {
            conv.ages.pop_front();
        }
    }

    /// A pull of the conversation reached its end: the log has nothing above `last` now (of an
    /// empty page, the head, whatever place the client named). The next entry to push is the one
    /// after it. Call it in the same breath in which the room was seen to have applied nothing
    /// above `last`.
    pub fn handle_caught_up(&mut self, key: K, last: Seq) {
        if let Some(conv) = self.convs.get_mut(&key).filter(|conv| conv.behind) {
            conv.behind = false;
            // The room may lag behind the log: what it still brings up to `last` is skipped. In
            // another epoch `last` may be below what was pushed in the one before.
            conv.pushed = last;
            conv.acked = last;
        }
    }

    /// The user is no member any more: nothing is owed.
    pub fn handle_left(&mut self, key: K) {
        if let Some(conv) = self.convs.remove(&key) {
            self.in_window -= conv.unacked();
        }
    }

    /// Entries that should have been pushed are not to be had, or the log began another epoch:
    /// tell the client that the conversation is behind (again, if it is: its epoch may be new).
    pub fn handle_lost(&mut self, key: K) {
        self.convs.entry(key).or_insert_with(|| Conv::at(Seq(0)));
        self.on_behind(key);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late: Vec<K> = self
            .convs
            .iter()
            .filter(|(_, conv)| conv.deadline(self.ack_after).is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.on_behind(key);
            self.events.push_back(DeliveryEvent::Behind(key));
        }
    }

    /// What time brought.
    pub fn poll_event(&mut self) -> Option<DeliveryEvent<K>> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let soonest = self
            .convs
            .values()
            .filter_map(|conv| conv.deadline(self.ack_after))
            .min();
        soonest.map(|at| (at, "an entry is un-acked for too long"))
    }

    fn on_behind(&mut self, key: K) {
        if let Some(conv) = self.convs.get_mut(&key) {
            self.in_window -= conv.unacked();
            conv.behind = true;
            conv.acked = conv.pushed;
            conv.ages.clear();
        }
    }

    /// Panics when the state is not one that the machine may be in. For tests.
    pub fn assert_invariants(&self) {
        let sum: usize = self.convs.values().map(Conv::unacked).sum();
        assert_eq!(sum, self.in_window, "the window counts what is un-acked");
        assert!(self.in_window <= self.window, "never more than the window");
        for conv in self.convs.values() {
            assert!(conv.acked <= conv.pushed);
            assert!(
                conv.ages.len() <= AGE_STEPS as usize + 2,
                "ages are bounded"
            );
            assert_eq!(
                conv.ages.is_empty(),
                conv.unacked() == 0,
                "each un-acked has an age"
            );
            if let Some((from, _)) = conv.ages.front() {
                assert!(*from <= conv.acked.next(), "the oldest un-acked has an age");
            }
            assert!(
                !conv.behind || conv.unacked() == 0,
                "what is behind owes no ack"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: Duration = Duration::from_millis(800);

    fn push(
        machine: &mut Delivery<u32>,
        now: Instant,
        key: u32,
        seqs: std::ops::RangeInclusive<u64>,
    ) -> Vec<Push> {
        let pushes = seqs
            .map(|seq| machine.handle_entry(now, key, Seq(seq)))
            .collect();
        machine.assert_invariants();
        pushes
    }

    #[test]
    fn a_full_window_puts_the_conversation_behind_once_and_the_others_go_on() {
        let now = crate::machine::test_start();
        let mut machine = Delivery::new(4, ACK);
        assert_eq!(push(&mut machine, now, 1, 11..=14), [Push::Send; 4]);
        assert_eq!(
            push(&mut machine, now, 2, 1..=2),
            [Push::Behind, Push::Skip]
        );
        assert_eq!(
            push(&mut machine, now, 1, 15..=16),
            [Push::Behind, Push::Skip]
        );
        assert_eq!(push(&mut machine, now, 3, 1..=1), [Push::Send]);
        machine.handle_ack(1, Seq(14));
        assert_eq!(push(&mut machine, now, 1, 17..=17), [Push::Skip]);
    }

    #[test]
    fn after_catching_up_the_next_pushed_is_the_one_after_the_page() {
        let now = crate::machine::test_start();
        let mut machine = Delivery::new(1, ACK);
        assert_eq!(
            push(&mut machine, now, 1, 1..=2),
            [Push::Send, Push::Behind]
        );
        // The log is at 5, the room still at 2.
        machine.handle_caught_up(1, Seq(5));
        assert_eq!(push(&mut machine, now, 1, 3..=5), [Push::Skip; 3]);
        assert_eq!(push(&mut machine, now, 1, 6..=6), [Push::Send]);
        // A pull to the end by one who is not behind changes nothing.
        machine.handle_caught_up(1, Seq(9));
        machine.handle_ack(1, Seq(6));
        assert_eq!(push(&mut machine, now, 1, 7..=7), [Push::Send]);
    }

    #[test]
    fn what_stays_un_acked_too_long_puts_its_conversation_behind() {
        let start = crate::machine::test_start();
        let mut machine = Delivery::new(100, ACK);
        push(&mut machine, start, 1, 1..=1);
        push(&mut machine, start + ACK / 2, 1, 2..=2);
        push(&mut machine, start + ACK / 2, 2, 1..=1);
        machine.handle_ack(1, Seq(1));
        assert_eq!(machine.poll_timeout().unwrap().0, start + ACK / 2 + ACK);
        machine.handle_timeout(start + ACK);
        assert_eq!(machine.poll_event(), None);
        machine.handle_ack(2, Seq(1));
        machine.handle_timeout(start + ACK / 2 + ACK);
        assert_eq!(machine.poll_event(), Some(DeliveryEvent::Behind(1)));
        assert_eq!(machine.poll_event(), None);
        assert_eq!(machine.poll_timeout(), None);
        machine.assert_invariants();
    }

    #[test]
    fn an_idle_connection_holds_nothing() {
        let now = crate::machine::test_start();
        let mut machine = Delivery::new(100, ACK);
        for key in 0..50 {
            push(&mut machine, now, key, 1..=2);
            machine.handle_ack(key, Seq(u64::MAX));
        }
        machine.handle_left(7);
        assert!(machine.convs.is_empty() && machine.in_window() == 0);
    }
}
