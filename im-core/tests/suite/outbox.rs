//! The outbox against a server that stores, refuses, forgets to answer, crashes between the commit
//! and the answer, and recognises a `cm_id` only for so long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use im_core::frame::{ClientFrame, ErrFrame, ErrorCode, Failure, Limits, ServerFrame};
use im_core::machine::{Outbox, OutboxConfig, OutboxEvent, OutboxFull, PendingDraft};
use im_core::model::{CmId, ConversationId, Draft, MessageId, Seq, Target, Timestamp};
use proptest::prelude::*;

use crate::world::{Event, World};

/// More steps than any run needs: one that takes more goes round in circles.
const STEPS_MAX: usize = 20_000;

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    sends: u32,
    /// Within how many milliseconds the application sends.
    within_ms: u64,
    targets: u32,
    window: usize,
    per_target: usize,
    dedupe_ms: u64,
    sends_per_s: u32,
    /// Percentages.
    cut: u8,
    crash_after_commit: u8,
    swallow: u8,
    refuse: u8,
    unknown: u8,
    refuse_for_good: u8,
    twice: u8,
    restart: u8,
    long_outage: u8,
}

fn case() -> impl Strategy<Value = Case> {
    let within = prop::sample::select(vec![1, 1_000, 10_000]);
    let world = (
        any::<u64>(),
        (1..60_u32, within),
        1..4_u32,
        1..9_usize,
        any::<bool>(),
    );
    let limits = (
        prop::sample::select(vec![20_000, 600_000, 604_800_000]),
        5..200_u32,
    );
    let wire = (0..8_u8, 0..15_u8, 0..15_u8, 0..20_u8);
    let answers = (0..30_u8, 0..15_u8, 0..10_u8, 0..5_u8, 0..20_u8);
    (world, limits, wire, answers).prop_map(|(world, limits, wire, answers)| Case {
        seed: world.0,
        sends: world.1.0,
        within_ms: world.1.1,
        targets: world.2,
        window: world.3,
        per_target: if world.4 { 1 } else { usize::MAX },
        dedupe_ms: limits.0,
        sends_per_s: limits.1,
        cut: wire.0,
        crash_after_commit: wire.1,
        swallow: wire.2,
        twice: wire.3,
        refuse: answers.0,
        unknown: answers.1,
        refuse_for_good: answers.2,
        restart: answers.3,
        long_outage: answers.4,
    })
}

#[derive(Debug)]
enum Own {
    Send(u32),
    Connect,
}

/// A store as the contract wants it, and the faults of the one in front of it.
#[derive(Debug, Default)]
struct Server {
    log: BTreeMap<Target, Vec<CmId>>,
    known: BTreeMap<CmId, (Seq, Timestamp)>,
    /// Not answered at once by `sent`: these lost their place.
    troubled: BTreeSet<CmId>,
    tokens: f64,
    filled: Timestamp,
}

struct Run {
    case: Case,
    world: World<Own>,
    outbox: Outbox,
    server: Server,
    accepted: Vec<Draft>,
    first_tries: BTreeMap<CmId, Timestamp>,
    outcomes: BTreeMap<CmId, OutboxEvent>,
    rate_limited: usize,
}

impl Run {
    fn new(case: Case) -> Self {
        let mut world = World::new(case.seed);
        for n in 0..case.sends {
            let after = world.ms(0..case.within_ms);
            world.plan(after, Own::Send(n));
        }
        world.plan(Duration::from_millis(100), Own::Connect);
        let outbox = Outbox::new(world.now, Self::config(&case), case.seed);
        Self {
            case,
            world,
            outbox,
            server: Server::default(),
            accepted: Vec::new(),
            first_tries: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            rate_limited: 0,
        }
    }

    fn config(case: &Case) -> OutboxConfig {
        OutboxConfig {
            window: case.window,
            per_target: case.per_target,
            queue_max: 40,
            ..OutboxConfig::default()
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            dedupe_ms: self.case.dedupe_ms,
            sends_per_s: self.case.sends_per_s,
            ..Limits::default()
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS_MAX {
            if step == STEPS_MAX / 4 || self.world.now - self.world.start > DAY {
                self.world.chaos = false;
            }
            let timeout = self.outbox.poll_timeout().map(|(at, _)| at);
            match self.world.next(timeout) {
                Some(Event::Own(Own::Send(n))) => self.send(n),
                Some(Event::Own(Own::Connect)) => self.connect(),
                Some(Event::ToServer(on, ClientFrame::Send(draft))) => self.serve(on, &draft),
                Some(Event::ToServer(_, frame)) => panic!("an outbox sends no {frame:?}"),
                Some(Event::ToClient(_, frame)) => {
                    self.outbox.handle_frame(self.world.now, &frame);
                }
                None => {
                    let Some(at) = timeout else {
                        return self.check_end();
                    };
                    self.world.now = self.world.now.max(at);
                    self.outbox.handle_timeout(self.world.now);
                }
            }
            self.drain();
            if self.world.fault(self.case.cut) {
                self.cut();
            }
            if self.world.fault(self.case.restart) {
                self.restart();
            }
        }
        panic!("not settled: {:?}", self.outbox.poll_timeout());
    }

    fn send(&mut self, n: u32) {
        let to = ConversationId::new(format!("c{}", n % self.case.targets)).unwrap();
        let cm_id = CmId::new(format!("m{n}")).unwrap();
        let draft = Draft::text(cm_id.clone(), Target::Conversation(to), format!("text {n}"));
        match self.outbox.handle_send(self.world.now, draft.clone()) {
            Ok(()) => self.accepted.push(draft.clone()),
            Err(error) => {
                assert_eq!(error, OutboxFull::QueueFull);
                assert_eq!(self.outbox.len(), 40, "full only when it is");
                let after = self.world.ms(100..self.case.dedupe_ms / 4);
                self.world.plan(after, Own::Send(n));
                return;
            }
        }
        let again = self.outbox.handle_send(self.world.now, draft);
        assert!(again.is_err(), "a pending cm_id is not taken twice");
    }

    fn connect(&mut self) {
        self.world.connect();
        let welcome = self.world.welcome(self.limits());
        self.outbox.handle_connected(self.world.now, &welcome);
    }

    fn cut(&mut self) {
        if self.world.connection.take().is_none() {
            return;
        }
        self.outbox.handle_disconnected(self.world.now);
        let away = if self.world.fault(self.case.long_outage) {
            let longest = self.case.dedupe_ms * 3 / 2;
            self.world.ms(0..longest)
        } else {
            self.world.ms(10..3_000)
        };
        self.world.plan(away, Own::Connect);
    }

    /// The client's process ends and starts again with what its file holds.
    fn restart(&mut self) {
        let kept: Vec<_> = self
            .outbox
            .pending()
            .map(|(draft, first_try)| PendingDraft {
                draft: draft.clone(),
                first_try,
            })
            .collect();
        self.cut();
        let seed = self.world.rng.u64(..);
        self.outbox = Outbox::new(self.world.now, Self::config(&self.case), seed);
        self.outbox.restore(kept);
        self.outbox.assert_invariants();
    }

    fn drain(&mut self) {
        self.outbox.assert_invariants();
        while let Some(frame) = self.outbox.poll_transmit() {
            self.outbox.assert_invariants();
            let ClientFrame::Send(draft) = &frame else {
                panic!("an outbox sends no {frame:?}");
            };
            let first_try = self.outbox.first_try(&draft.cm_id).expect("it leaves now");
            let known = *self
                .first_tries
                .entry(draft.cm_id.clone())
                .or_insert(first_try);
            assert_eq!(first_try, known, "the first try stays the first");
            self.world.send_server(frame);
        }
        while let Some(event) = self.outbox.poll_event() {
            let (OutboxEvent::Sent { cm_id, .. }
            | OutboxEvent::Failed { cm_id, .. }
            | OutboxEvent::GaveUp { cm_id }) = &event;
            self.check(&event);
            let old = self.outcomes.insert(cm_id.clone(), event.clone());
            assert_eq!(old, None, "one outcome for each");
        }
    }

    fn check(&self, event: &OutboxEvent) {
        match event {
            OutboxEvent::Sent {
                cm_id, conv, seq, ..
            } => {
                let log = &self.server.log[&Target::Conversation(conv.clone())];
                assert_eq!(log[seq.0 as usize - 1], *cm_id, "sent means stored there");
            }
            OutboxEvent::Failed { cm_id, .. } => {
                let stored = self.server.log.values().flatten().any(|id| id == cm_id);
                assert!(!stored, "failed means that nothing was stored");
            }
            OutboxEvent::GaveUp { cm_id } => {
                let passed = self.world.timestamp().0 - self.first_tries[cm_id].0;
                let least = self.case.dedupe_ms - self.case.dedupe_ms / 16;
                assert!(passed as u64 >= least.min(self.case.dedupe_ms - 3_600_000.min(least)));
            }
        }
    }

    fn serve(&mut self, on: u64, draft: &Draft) {
        let now = self.world.timestamp();
        let dedupe_ms = self.case.dedupe_ms;
        self.server
            .known
            .retain(|_, (_, at)| now <= at.plus_ms(dedupe_ms));
        if self.world.fault(self.case.swallow) {
            self.server.troubled.insert(draft.cm_id.clone());
            return;
        }
        let dup = self.server.known.contains_key(&draft.cm_id);
        if !dup && let Some(failure) = self.refusal(now) {
            self.server.troubled.insert(draft.cm_id.clone());
            return self.answer_err(on, draft, failure);
        }
        let log = self.server.log.entry(draft.to.clone()).or_default();
        let next = Seq(log.len() as u64 + 1);
        let (seq, at) = *self
            .server
            .known
            .entry(draft.cm_id.clone())
            .or_insert((next, now));
        if !dup {
            assert!(
                !log.contains(&draft.cm_id),
                "stored twice: {:?}",
                draft.cm_id
            );
            log.push(draft.cm_id.clone());
        }
        if self.world.fault(self.case.crash_after_commit) {
            return self.cut();
        }
        if self.world.fault(self.case.unknown) {
            let failure = Failure::retry(ErrorCode::Unavailable, "who knows", 500);
            return self.answer_err(on, draft, failure);
        }
        let Target::Conversation(conv) = draft.to.clone() else {
            panic!("conversations only");
        };
        let sent = ServerFrame::Sent {
            cm_id: draft.cm_id.clone(),
            conv,
            seq,
            id: MessageId(seq.0),
            at,
            dup,
        };
        if self.world.fault(self.case.twice) {
            self.world.send_client(on, sent.clone());
        }
        self.world.send_client(on, sent);
    }

    fn refusal(&mut self, now: Timestamp) -> Option<Failure> {
        // A bucket as the contract has it; what is recognised is free.
        let rate = f64::from(self.case.sends_per_s);
        let passed = (now.0 - self.server.filled.0) as f64 / 1_000.0;
        self.server.tokens = (self.server.tokens + passed * rate).min(2.0 * rate);
        self.server.filled = now;
        if self.server.tokens < 1.0 {
            self.rate_limited += 1;
            return Some(Failure::retry(ErrorCode::RateLimited, "too fast", 200));
        }
        self.server.tokens -= 1.0;
        if self.world.fault(self.case.refuse) {
            let after = self.world.rng.u64(0..2_000);
            return Some(Failure::retry(ErrorCode::Unavailable, "store away", after));
        }
        self.world
            .fault(self.case.refuse_for_good)
            .then(|| Failure::new(ErrorCode::Muted, "muted"))
    }

    fn answer_err(&mut self, on: u64, draft: &Draft, failure: Failure) {
        let err = ErrFrame {
            re: "send".to_owned(),
            id: None,
            cm_id: Some(draft.cm_id.clone()),
            failure,
        };
        self.world.send_client(on, ServerFrame::Err(err));
    }

    fn check_end(&self) {
        assert!(self.outbox.is_empty() && self.world.is_quiet());
        assert_eq!(self.accepted.len(), self.case.sends as usize);
        assert_eq!(
            self.outcomes.len(),
            self.accepted.len(),
            "each has an outcome"
        );
        assert_eq!(self.rate_limited, 0, "it keeps to the server's rate");
        for (target, log) in &self.server.log {
            let orderly =
                |id: &&CmId| self.case.per_target == 1 || !self.server.troubled.contains(id);
            let stored: Vec<_> = log.iter().filter(orderly).collect();
            let sent = self.accepted.iter().filter(|draft| draft.to == *target);
            let sent = sent
                .map(|draft| &draft.cm_id)
                .filter(|id| stored.contains(id));
            assert_eq!(stored, sent.collect::<Vec<_>>(), "in the order of sending");
        }
    }
}

/// The longest time of chaos.
const DAY: Duration = Duration::from_secs(24 * 3_600);

proptest! {
    #![proptest_config(crate::config(256))]

    #[test]
    fn every_send_is_stored_once_and_in_order_whatever_happens(case in case()) {
        Run::new(case).run();
    }
}
