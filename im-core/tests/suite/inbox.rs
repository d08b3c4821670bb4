//! The inbox against a server with the real delivery machine: logs that lose their tail and are
//! trimmed, memberships that end and begin again, windows that fill, answers that never come, an
//! application that takes its time and a process that starts again from its file.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::frame::{Limits, Pull, ServerFrame};
use im_core::machine::{Cursor, Delivery, DeliveryEvent, Inbox, InboxConfig, InboxEvent, StartAt};
use im_core::model::{ConversationId, Entry, Epoch, Seq};
use proptest::prelude::*;

use crate::world::{Event, World};

/// More steps than any run needs: one that takes more goes round in circles.
const STEPS_MAX: usize = 50_000;
/// The most entries in a page of this server, so that there are many.
const PAGE: usize = 7;
/// The most lines of a `synced`.
const LINES: usize = 3;
const ACK_MS: u64 = 2_000;

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    entries: u32,
    convs: usize,
    window: usize,
    pulls_max: usize,
    ready_max: usize,
    early_max: usize,
    start: StartAt,
    /// Percentages.
    cut: u8,
    late: u8,
    twice: u8,
    swallow: u8,
    refuse: u8,
    lose_tail: u8,
    trim: u8,
    member: u8,
    forget_token: u8,
    restart: u8,
    save: u8,
    lazy: u8,
}

fn case() -> impl Strategy<Value = Case> {
    let world = (any::<u64>(), 1..300_u32, 1..8_usize, any::<bool>());
    let bounds = (1..12_usize, 1..4_usize, 1..20_usize, 0..10_usize);
    let wire = (0..5_u8, 0..15_u8, 0..15_u8, 0..20_u8, 0..20_u8);
    let log = (0..3_u8, 0..3_u8, 0..6_u8, 0..30_u8);
    let client = (0..3_u8, 0..30_u8, 0..100_u8);
    (world, bounds, wire, log, client).prop_map(|(world, bounds, wire, log, client)| Case {
        seed: world.0,
        entries: world.1,
        convs: world.2,
        start: if world.3 {
            StartAt::First
        } else {
            StartAt::Last
        },
        window: bounds.0,
        pulls_max: bounds.1,
        ready_max: bounds.2,
        early_max: bounds.3,
        cut: wire.0,
        late: wire.1,
        twice: wire.2,
        swallow: wire.3,
        refuse: wire.4,
        lose_tail: log.0,
        trim: log.1,
        member: log.2,
        forget_token: log.3,
        restart: client.0,
        save: client.1,
        lazy: client.2,
    })
}

#[derive(Debug)]
enum Own {
    /// Something happens in a conversation.
    Happen,
    Connect,
    /// The server reads a page, after some time.
    Pull(u64, Pull),
    /// What the server has read leaves, after some time.
    Answer(u64, ServerFrame),
    /// The application takes events again.
    Awake,
}

/// A conversation at the server, seen by the one user.
#[derive(Debug, Default)]
struct Log {
    epoch: u64,
    /// Every entry, also those that the user may not see.
    entries: Vec<Arc<Entry>>,
    first_seq: u64,
    /// Up to where the user may see; `None` while they are a member.
    left: Option<u64>,
    is_known: bool,
    stamp: u64,
}

/// What the application has: per conversation the entries since the last reset.
type Copy = BTreeMap<ConversationId, Vec<Arc<Entry>>>;

/// What the client's file holds.
#[derive(Debug, Default)]
struct File {
    since: Option<String>,
    cursors: Vec<Cursor>,
    copy: Copy,
    heard: BTreeSet<ConversationId>,
}

struct Run {
    case: Case,
    world: World<Own>,
    inbox: Inbox,
    logs: BTreeMap<ConversationId, Log>,
    stamp: u64,
    tokens_from: u64,
    delivery: Delivery<usize>,
    /// Behind since its log lost its tail.
    rests: BTreeSet<usize>,
    ids: u64,
    happened: u32,
    asleep: bool,
    copy: Copy,
    /// Conversations that the application has heard of.
    heard: BTreeSet<ConversationId>,
    /// The furthest entry that was ever handed out, and acked.
    handed: BTreeMap<ConversationId, Seq>,
    acked: BTreeMap<ConversationId, Seq>,
    /// Windows that the server had to fill since the application last took an event.
    windows: usize,
    /// Where the next entry of a conversation has to be, if the machine said so.
    jumped: BTreeMap<ConversationId, Seq>,
    left: BTreeSet<ConversationId>,
    tails: usize,
    restarts: usize,
    synced: usize,
    connects: usize,
    file: File,
}

fn conv(n: usize) -> ConversationId {
    ConversationId::new(format!("c{n}")).unwrap()
}

fn number(conv: &ConversationId) -> usize {
    conv.as_str()[1..].parse().unwrap()
}

impl Run {
    fn new(case: Case) -> Self {
        let mut world = World::new(case.seed);
        world.plan(Duration::from_millis(10), Own::Happen);
        world.plan(Duration::from_millis(500), Own::Connect);
        let logs = (0..case.convs).map(|n| {
            (
                conv(n),
                Log {
                    first_seq: 1,
                    ..Log::default()
                },
            )
        });
        Self {
            inbox: Inbox::new(world.now, Self::config(&case), case.seed),
            logs: logs.collect(),
            stamp: 0,
            tokens_from: 0,
            delivery: Delivery::new(case.window, Duration::from_millis(ACK_MS)),
            rests: BTreeSet::new(),
            ids: 0,
            happened: 0,
            asleep: false,
            copy: Copy::new(),
            heard: BTreeSet::new(),
            handed: BTreeMap::new(),
            acked: BTreeMap::new(),
            windows: 1,
            jumped: BTreeMap::new(),
            left: BTreeSet::new(),
            tails: 0,
            restarts: 0,
            synced: 0,
            connects: 0,
            file: File::default(),
            case,
            world,
        }
    }

    fn config(case: &Case) -> InboxConfig {
        InboxConfig {
            start: case.start,
            pulls_max: case.pulls_max,
            ready_max: case.ready_max,
            early_max: case.early_max,
            ..InboxConfig::default()
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            let own = [self.inbox.poll_timeout(), self.delivery.poll_timeout()];
            let timeout = own.into_iter().flatten().map(|(at, _)| at).min();
            match self.world.next(timeout) {
                Some(Event::Own(own)) => self.on_own(own),
                Some(Event::ToServer(on, frame)) => self.serve(on, frame),
                Some(Event::ToClient(_, frame)) => {
                    self.inbox.handle_frame(self.world.now, &frame);
                }
                None => {
                    let Some(at) = timeout else {
                        return self.check_end();
                    };
                    self.on_time(at);
                }
            }
            self.drain();
            if self.world.fault(self.case.cut) {
                self.cut();
            }
            if self.world.fault(self.case.save) {
                self.save();
            }
            if self.world.fault(self.case.restart) {
                self.restart();
            }
        }
        panic!("not settled: {:?}", self.inbox.poll_timeout());
    }

    fn on_time(&mut self, at: Instant) {
        self.world.now = self.world.now.max(at);
        self.inbox.handle_timeout(self.world.now);
        self.delivery.handle_timeout(self.world.now);
        while let Some(DeliveryEvent::Behind(n)) = self.delivery.poll_event() {
            self.behind(n);
        }
    }

    fn on_own(&mut self, own: Own) {
        match own {
            Own::Connect => self.connect(),
            Own::Pull(on, pull) if self.world.connection == Some(on) => self.page(on, &pull),
            Own::Pull(..) => {}
            Own::Answer(on, frame) => self.world.send_client(on, frame),
            Own::Awake => self.asleep = false,
            Own::Happen => {
                self.happen();
                self.happened += 1;
                if self.happened < self.case.entries {
                    let after = self.world.ms(0..300);
                    self.world.plan(after, Own::Happen);
                } else {
                    self.world.chaos = false;
                    self.asleep = false;
                    // Who is removed while connected hears of it by the entry; the list says it
                    // at the next sync.
                    if self.case.restart > 0 {
                        self.restart();
                    } else if self.logs.values().any(|log| log.left.is_some()) {
                        self.cut();
                    }
                }
            }
        }
    }

    fn connect(&mut self) {
        self.world.connect();
        self.connects += 1;
        self.windows += 1;
        self.delivery = Delivery::new(self.case.window, Duration::from_millis(ACK_MS));
        let limits = Limits {
            window: self.case.window,
            ..Limits::default()
        };
        let welcome = self.world.welcome(limits);
        self.inbox.handle_connected(self.world.now, &welcome);
    }

    fn cut(&mut self) {
        if self.world.connection.take().is_some() {
            self.inbox.handle_disconnected(self.world.now);
            self.delivery = Delivery::new(self.case.window, Duration::from_millis(ACK_MS));
            self.rests.clear();
            let away = self.world.ms(10..3_000);
            self.world.plan(away, Own::Connect);
        }
    }

    fn save(&mut self) {
        self.file = File {
            since: self.inbox.since().map(str::to_owned),
            cursors: self.inbox.cursors().collect(),
            copy: self.copy.clone(),
            heard: self.heard.clone(),
        };
    }

    /// The client's process ends and starts again with what its file holds.
    fn restart(&mut self) {
        self.cut();
        self.restarts += 1;
        let seed = self.world.rng.u64(..);
        self.inbox = Inbox::new(self.world.now, Self::config(&self.case), seed);
        let cursors = self.file.cursors.clone();
        self.inbox.restore(self.file.since.clone(), cursors);
        self.copy = self.file.copy.clone();
        self.heard = self.file.heard.clone();
        self.left = self
            .file
            .cursors
            .iter()
            .filter(|c| c.left)
            .map(|c| c.conv.clone())
            .collect();
        // Where an entry would have had to be, had a jump been taken before the restart.
        self.jumped.clear();
        for cursor in &self.file.cursors {
            self.jumped.insert(cursor.conv.clone(), cursor.seq.next());
        }
        self.inbox.assert_invariants();
    }

    fn drain(&mut self) {
        self.inbox.assert_invariants();
        self.delivery.assert_invariants();
        let held = self.case.ready_max
            + self.case.pulls_max * PAGE
            + self.case.window * self.windows * self.case.convs
            + self.case.early_max;
        assert!(self.inbox.held() <= held, "what is held is bounded");
        loop {
            if !self.asleep && self.world.fault(self.case.lazy / 5) {
                self.asleep = true;
                let until = self.world.ms(10..8_000);
                self.world.plan(until, Own::Awake);
            }
            let event = if self.asleep {
                None
            } else {
                self.inbox.poll_event()
            };
            let some = event.is_some();
            if let Some(event) = event {
                self.windows = 1;
                self.on_event(event);
                self.inbox.assert_invariants();
            }
            while let Some(frame) = self.inbox.poll_transmit() {
                self.inbox.assert_invariants();
                self.world.send_server(frame);
            }
            if !some {
                return;
            }
        }
    }

    fn on_event(&mut self, event: InboxEvent) {
        match event {
            InboxEvent::Entry(entry) => {
                let copy = self.copy.entry(entry.conv.clone()).or_default();
                let jumped = self.jumped.remove(&entry.conv);
                let expected = jumped.or_else(|| copy.last().map(|last| last.seq.next()));
                assert!(
                    expected.is_none_or(|seq| seq == entry.seq),
                    "{} {} is not {expected:?}",
                    entry.conv,
                    entry.seq
                );
                let handed = self.handed.entry(entry.conv.clone()).or_default();
                *handed = entry.seq.max(*handed);
                copy.push(entry);
            }
            InboxEvent::Reset {
                conv, first_seq, ..
            } => {
                assert!(self.tails > 0, "a copy is dropped for a reason");
                self.copy.remove(&conv);
                let handed = self.handed.entry(conv.clone()).or_default();
                *handed = first_seq.max(*handed);
                self.jumped.insert(conv, first_seq);
            }
            InboxEvent::Trimmed { conv, first_seq } => {
                let last = self.copy.get(&conv).and_then(|copy| copy.last());
                assert!(
                    last.is_none_or(|last| last.seq < first_seq),
                    "it jumps forward"
                );
                let handed = self.handed.entry(conv.clone()).or_default();
                *handed = first_seq.max(*handed);
                self.jumped.insert(conv, first_seq);
            }
            InboxEvent::Conversation(line) => {
                self.heard.insert(line.conv.clone());
                if !line.left {
                    self.left.remove(&line.conv);
                }
            }
            InboxEvent::Left { conv } => {
                self.left.insert(conv);
            }
            InboxEvent::Synced => {
                self.synced += 1;
                assert!(self.synced <= self.connects, "once per connection");
            }
            InboxEvent::PullFailed { .. } => panic!("no pull is refused for good"),
        }
    }

    fn check_end(&self) {
        assert!(self.world.is_quiet() && self.world.connection.is_some());
        assert!(self.synced > 0, "it knows that it has everything");
        assert_eq!(self.inbox.held(), 0, "nothing is kept");
        for (conv, log) in self.logs.iter().filter(|(_, log)| log.is_known) {
            let empty = Vec::new();
            let copy = self.copy.get(conv).unwrap_or(&empty);
            let ids = |entries: &[Arc<Entry>]| -> Vec<_> {
                entries.iter().map(|entry| (entry.seq, entry.id)).collect()
            };
            let visible = log.visible();
            // What was trimmed after it had been handed out stays with the application.
            let from = copy.iter().position(|entry| entry.seq.0 >= log.first_seq);
            let copy = &copy[from.unwrap_or(copy.len())..];
            let begin = match self.case.start {
                StartAt::First => 0,
                StartAt::Last => visible.len() - copy.len().min(visible.len()),
            };
            assert_eq!(
                ids(copy),
                ids(&visible[begin..]),
                "{conv}: nothing lost or doubled"
            );
            assert_eq!(
                self.left.contains(conv),
                log.left.is_some(),
                "{conv}: who left knows"
            );
            assert!(
                self.heard.contains(conv),
                "{conv}: the application has heard of it"
            );
            if let Some(last) = copy.last().filter(|_| self.restarts == 0) {
                assert!(self.acked[conv] >= last.seq, "{conv}: all is acked");
            }
            let cursor = self.inbox.cursor(conv).unwrap();
            assert_eq!(cursor.epoch, Some(Epoch(log.epoch)));
        }
    }
}

proptest! {
    #![proptest_config(crate::config(256))]

    #[test]
    fn every_entry_is_handed_out_once_and_in_order_whatever_happens(case in case()) {
        Run::new(case).run();
    }
}
