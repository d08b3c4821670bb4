//! The delivery machine of one connection beside a model that remembers everything.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use im_core::machine::{Delivery, DeliveryEvent, Push};
use im_core::model::Seq;
use proptest::collection::vec;
use proptest::prelude::*;

const CONVS: usize = 4;
const ACK: Duration = Duration::from_millis(800);
/// How much older than it is an entry may be taken for.
const STEP: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
enum Step {
    /// The log grows; the room hears of it later.
    Commit { conv: usize, count: u64 },
    /// The room applies what it lags behind, at most so many.
    Apply { conv: usize, count: u64 },
    /// The client acks, so far behind the last entry that it got (negative: beyond it).
    Ack { conv: usize, back: i64 },
    /// Time passes; the shell is prompt, or does nothing meanwhile.
    Wait { ms: u64, prompt: bool },
    /// The client asks for a page: the store answers now, the page goes out later.
    Pull { conv: usize, limit: u64 },
    /// The page goes out.
    Page { conv: usize },
    /// The user is removed; what comes later is a membership of its own.
    Leave { conv: usize },
    /// Entries are gone; perhaps the log begins another life with fewer.
    Lose { conv: usize, fewer: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    let conv = || 0..CONVS;
    prop_oneof![
        5 => (conv(), 1_u64..6).prop_map(|(conv, count)| Step::Commit { conv, count }),
        8 => (conv(), 1_u64..6).prop_map(|(conv, count)| Step::Apply { conv, count }),
        6 => (conv(), -2_i64..4).prop_map(|(conv, back)| Step::Ack { conv, back }),
        4 => (1_u64..500, any::<bool>()).prop_map(|(ms, prompt)| Step::Wait { ms, prompt }),
        4 => (conv(), 1_u64..9).prop_map(|(conv, limit)| Step::Pull { conv, limit }),
        5 => conv().prop_map(|conv| Step::Page { conv }),
        1 => conv().prop_map(|conv| Step::Leave { conv }),
        1 => (conv(), 0_u64..4).prop_map(|(conv, fewer)| Step::Lose { conv, fewer }),
    ]
}

/// What the machine must know of a conversation, spelled out.
#[derive(Debug, Default)]
struct Kept {
    behind: bool,
    /// What the final page of a pull gave, until an entry above it was pushed and acked.
    caught_up: Option<Seq>,
    unacked: VecDeque<(Seq, Instant)>,
}

impl Kept {
    fn is_idle(&self) -> bool {
        !self.behind && self.caught_up.is_none() && self.unacked.is_empty()
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        self.unacked.front().map(|(_, at)| now.duration_since(*at))
    }

    fn fall_behind(&mut self) {
        *self = Self {
            behind: true,
            ..Self::default()
        };
    }
}

/// A conversation from the log to the client.
#[derive(Debug, Default)]
struct Conv {
    log: Seq,
    room: Seq,
    /// The client has everything up to there; unknown until the first entry.
    client: Option<Seq>,
    /// The page on its way: where it ends, and where the log ended when it was read.
    page: Option<(Seq, Seq)>,
    kept: Kept,
}

#[derive(Debug)]
struct World {
    machine: Delivery<usize>,
    window: usize,
    now: Instant,
    convs: [Conv; CONVS],
}

impl World {
    fn new(window: usize) -> Self {
        Self {
            machine: Delivery::new(window, ACK),
            window,
            now: crate::start(),
            convs: Default::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit { conv, count } => self.convs[conv].log.0 += count,
            Step::Apply { conv, count } => self.apply(conv, count),
            Step::Ack { conv, back } => self.ack(conv, back),
            Step::Wait { ms, prompt } => self.wait(Duration::from_millis(ms), prompt),
            Step::Pull { conv, limit } => {
                let conv = &mut self.convs[conv];
                let after = conv.client.unwrap_or(conv.room).min(conv.log);
                conv.page = Some((Seq(conv.log.0.min(after.0 + limit)), conv.log));
            }
            Step::Page { conv } => self.page(conv),
            Step::Leave { conv } => {
                self.machine.handle_left(conv);
                let conv = &mut self.convs[conv];
                conv.kept = Kept::default();
                conv.client = None;
                conv.page = None;
            }
            Step::Lose { conv, fewer } => self.lose(conv, fewer),
        }
        self.check();
    }

    fn apply(&mut self, key: usize, count: u64) {
        let last = self.convs[key].log.0.min(self.convs[key].room.0 + count);
        for seq in self.convs[key].room.0 + 1..=last {
            let seq = Seq(seq);
            let full = self.in_window() >= self.window;
            let push = self.machine.handle_entry(self.now, key, seq);
            let conv = &mut self.convs[key];
            conv.room = seq;
            let kept = &mut conv.kept;
            if kept.behind || kept.caught_up.is_some_and(|end| seq <= end) {
                assert_eq!(push, Push::Skip, "{seq} is not pushed");
                continue;
            }
            let age = kept.age(self.now);
            let late = age.is_some_and(|age| age >= ACK);
            let maybe_late = age.is_some_and(|age| age > ACK - STEP);
            match push {
                Push::Skip => panic!("{seq} is skipped, and the client hasn't got it"),
                Push::Send => {
                    assert!(!full, "an entry that finds the window full");
                    assert!(!late, "an entry behind one that is too old");
                    kept.unacked.push_back((seq, self.now));
                    let before = conv.client.unwrap_or(Seq(seq.0 - 1));
                    assert_eq!(before.next(), seq, "no hole, and no entry twice");
                    conv.client = Some(seq);
                }
                Push::Behind => {
                    assert!(full || maybe_late, "no reason to be behind");
                    kept.fall_behind();
                }
            }
        }
    }

    fn ack(&mut self, key: usize, back: i64) {
        let conv = &mut self.convs[key];
        let Some(client) = conv.client else { return };
        let seq = Seq(client.0.saturating_add_signed(-back));
        self.machine.handle_ack(key, seq);
        let kept = &mut conv.kept;
        let before = kept.unacked.len();
        kept.unacked.retain(|(unacked, _)| *unacked > seq);
        if kept.unacked.is_empty() && before > 0 {
            kept.caught_up = None;
        }
    }

    fn page(&mut self, key: usize) {
        let conv = &mut self.convs[key];
        let Some((end, log)) = conv.page.take() else {
            return;
        };
        // The room may have gone on since the page was read: then there is more.
        let more = end < log || conv.room > end;
        if !more {
            self.machine.handle_caught_up(key, end);
        }
        if conv.kept.behind {
            conv.client = conv.client.max(Some(end));
            if !more {
                conv.kept = Kept {
                    caught_up: Some(end),
                    ..Kept::default()
                };
                conv.client = Some(end);
            }
        }
    }

    fn lose(&mut self, key: usize, fewer: u64) {
        self.machine.handle_lost(key);
        let conv = &mut self.convs[key];
        conv.kept.fall_behind();
        conv.log = Seq(conv.log.0.saturating_sub(fewer));
        conv.room = conv.room.min(conv.log);
        // The client drops its copy; the shell drops what it read before.
        conv.client = None;
        conv.page = None;
    }

    fn wait(&mut self, time: Duration, prompt: bool) {
        let end = self.now + time;
        while let Some((at, _)) = self
            .machine
            .poll_timeout()
            .filter(|(at, _)| prompt && *at <= end)
        {
            self.now = self.now.max(at);
            self.timeout();
            let next = self.machine.poll_timeout();
            assert!(
                next.is_none_or(|(next, _)| next > self.now),
                "a timeout is dealt with"
            );
        }
        self.now = end;
    }

    fn timeout(&mut self) {
        self.machine.handle_timeout(self.now);
        let mut behind = Vec::new();
        while let Some(DeliveryEvent::Behind(key)) = self.machine.poll_event() {
            behind.push(key);
        }
        for (key, conv) in self.convs.iter_mut().enumerate() {
            let age = conv.kept.age(self.now).unwrap_or_default();
            if behind.contains(&key) {
                assert!(age > ACK - STEP, "{key} is behind too early");
                conv.kept.fall_behind();
            } else {
                assert!(age < ACK, "{key} should be behind");
            }
        }
        behind.dedup();
        assert!(!behind.is_empty(), "a timeout that was for nothing");
    }

    fn in_window(&self) -> usize {
        self.convs.iter().map(|conv| conv.kept.unacked.len()).sum()
    }

    fn check(&self) {
        self.machine.assert_invariants();
        assert!(
            self.in_window() <= self.window,
            "never more un-acked than the window"
        );
        assert_eq!(self.machine.in_window(), self.in_window());
        let kept = self
            .convs
            .iter()
            .filter(|conv| !conv.kept.is_idle())
            .count();
        assert_eq!(
            self.machine.kept(),
            kept,
            "nothing is kept for what is idle"
        );
        for (key, conv) in self.convs.iter().enumerate() {
            assert_eq!(self.machine.is_behind(key), conv.kept.behind);
        }
        let unacked = self
            .convs
            .iter()
            .filter_map(|conv| conv.kept.unacked.front());
        let oldest = unacked.map(|(_, at)| *at).min();
        match (self.machine.poll_timeout(), oldest) {
            (None, None) => {}
            (Some((at, _)), Some(oldest)) => {
                assert!(at <= oldest + ACK, "the timeout is too late");
                assert!(at > oldest + ACK - STEP, "the timeout is too early");
            }
            (timeout, _) => panic!("{timeout:?} with un-acked of {oldest:?}"),
        }
    }

    /// The client acks and pulls: everything arrives, and nothing is kept but caught-up markers.
    fn settle(&mut self) {
        for key in 0..CONVS {
            self.apply(key, u64::MAX / 2);
            self.ack(key, 0);
        }
        for key in 0..CONVS {
            if self.convs[key].kept.behind {
                self.step(&Step::Pull {
                    conv: key,
                    limit: u64::MAX / 2,
                });
                self.page(key);
            }
            self.step(&Step::Commit {
                conv: key,
                count: 1,
            });
            self.apply(key, 1);
            let conv = &self.convs[key];
            assert_eq!(conv.client, Some(conv.log), "{key} has everything");
            self.ack(key, 0);
            self.check();
        }
        assert_eq!(self.machine.kept(), 0, "an idle connection holds nothing");
        assert_eq!(self.machine.poll_timeout(), None);
    }
}

proptest! {
    #![proptest_config(crate::config(300))]

    #[test]
    fn what_is_pushed_joins_what_is_pulled_and_the_window_holds(
        window in 1_usize..12,
        steps in vec(steps(), 1..120),
    ) {
        let mut world = World::new(window);
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}

#[test]
fn a_hole_in_what_the_room_brings_is_never_pushed() {
    let now = crate::start();
    let mut machine = Delivery::new(10, ACK);
    assert_eq!(machine.handle_entry(now, 1, Seq(3)), Push::Send);
    assert_eq!(machine.handle_entry(now, 1, Seq(5)), Push::Behind);
    assert_eq!(machine.in_window(), 0);
    machine.handle_caught_up(1, Seq(5));
    assert_eq!(machine.handle_entry(now, 1, Seq(7)), Push::Behind);
    machine.handle_caught_up(1, Seq(7));
    assert_eq!(machine.handle_entry(now, 1, Seq(8)), Push::Send);
    machine.assert_invariants();
}
