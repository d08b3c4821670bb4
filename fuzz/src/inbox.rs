//! The inbox machine against a server that says anything: entries of a conversation are handed out
//! in order, each once and without a hole, and what it sends is what a node would take.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use im_core::frame::{
    ClientFrame, Codec, ConvLine, ErrFrame, ErrorCode, Failure, Page, PullRange, RequestId,
    ServerFrame, Synced, decode_client, encode_client,
};
use im_core::machine::{Backoff, Inbox, InboxConfig, InboxEvent, StartAt};
use im_core::model::{
    Body, ConversationId, ConversationKind, Entry, Epoch, INTEGER_MAX, Mentions, MessageId,
    NewEntry, Seq, Timestamp, UserId, Value,
};

use crate::outbox::welcome;

const CONVS: u8 = 3;
const ASKED_MAX: usize = 8;
const CONFIG: InboxConfig = InboxConfig {
    start: StartAt::First,
    pulls_max: 2,
    ready_max: 8,
    early_max: 4,
    answer: Backoff::new(Duration::from_secs(15), Duration::from_secs(60)),
    retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
};

#[derive(Arbitrary, Debug)]
pub enum Operation {
    /// An entry is pushed.
    Entry { conv: u8, seq: u8 },
    /// A conversation is behind.
    Behind { conv: u8, last: u8, epoch: u8 },
    /// A pull is answered, with so many entries from a place.
    Page {
        which: u8,
        epoch: u8,
        first: u8,
        from: u8,
        count: u8,
        more: bool,
    },
    /// A sync is answered, or nobody asked.
    Synced {
        which: Option<u8>,
        lines: Vec<Line>,
        more: bool,
        reset: bool,
    },
    /// A conversation is told of.
    Event(Line),
    /// A request is refused.
    Err {
        which: u8,
        code: u8,
        retry_after_ms: Option<u16>,
    },
    /// A connection is up.
    Connect,
    /// It is gone.
    Disconnect,
    /// The application takes so many events.
    Take(u8),
    /// So many frames are written.
    Transmit(u8),
    /// Time passes.
    Wait(u32),
    /// The process ends, and begins again with what a file kept.
    Restart { last: bool },
}

/// A line of `synced`.
#[derive(Arbitrary, Debug)]
pub struct Line {
    conv: u8,
    epoch: u8,
    first: u8,
    last: u8,
    left: bool,
}

struct World {
    inbox: Inbox,
    now: Instant,
    /// What was asked last.
    asked: VecDeque<(RequestId, Option<ConversationId>)>,
    /// The last entry handed out, of what was handed out.
    handed: BTreeMap<ConversationId, Seq>,
    seed: u64,
}

/// Runs a list of operations.
pub fn run(operations: &[Operation]) {
    let now = Instant::now();
    let mut world = World {
        inbox: Inbox::new(now, CONFIG, 0),
        now,
        asked: VecDeque::new(),
        handed: BTreeMap::new(),
        seed: 0,
    };
    for operation in operations {
        world.step(operation);
        let _ = world.inbox.poll_timeout();
        world.inbox.assert_invariants();
    }
}

fn conv_id(number: u8) -> ConversationId {
    ConversationId::new(format!("c{}", number % CONVS)).expect("an id")
}

/// A small place, or one of the last.
const fn place(number: u8) -> Seq {
    match number {
        0..=249 => Seq(number as u64),
        _ => Seq(INTEGER_MAX as u64 - (255 - number) as u64),
    }
}

fn entry(conv: &ConversationId, seq: Seq) -> Arc<Entry> {
    let new = NewEntry {
        id: MessageId(seq.0),
        from: UserId::new("u").expect("an id"),
        at: Timestamp(0),
        cm_id: None,
        digest: 0,
        body: Body::text("x"),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Arc::new(new.at(conv.clone(), seq))
}

impl Line {
    fn to_line(&self) -> ConvLine {
        ConvLine {
            conv: conv_id(self.conv),
            kind: ConversationKind::Group,
            title: None,
            epoch: Epoch(u64::from(self.epoch % 4)),
            first_seq: place(self.first),
            last_seq: place(self.last),
            read_seq: Seq(0),
            unread: 0,
            mentions: 0,
            last: None,
            left: self.left,
        }
    }
}

impl World {
    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Entry { conv, seq } if seq > 0 => {
                self.frame(&ServerFrame::Entry(entry(&conv_id(conv), place(seq))));
            }
            Operation::Entry { .. } => {}
            Operation::Behind { conv, last, epoch } => self.frame(&ServerFrame::Behind {
                conv: conv_id(conv),
                last_seq: place(last),
                epoch: Epoch(u64::from(epoch % 4)),
            }),
            Operation::Page {
                which,
                epoch,
                first,
                from,
                count,
                more,
            } => self.page(which, (epoch, first), (from, count), more),
            Operation::Synced {
                which,
                ref lines,
                more,
                reset,
            } => self.synced(which, lines, more, reset),
            Operation::Event(ref line) => {
                let fields = [
                    ("kind", Value::from("conv")),
                    ("line", line.to_line().to_value()),
                ];
                self.frame(&ServerFrame::Event(Value::object(fields)));
            }
            Operation::Err {
                which,
                code,
                retry_after_ms,
            } => self.refuse(which, code, retry_after_ms),
            Operation::Connect => {
                let welcome = welcome(50, 1_000, Timestamp(0));
                self.inbox.handle_connected(self.now, &welcome);
                self.asked.clear();
            }
            Operation::Disconnect => {
                self.inbox.handle_disconnected(self.now);
                assert!(self.inbox.poll_transmit().is_none(), "nobody is there");
            }
            Operation::Take(events) => self.take(events),
            Operation::Transmit(frames) => self.transmit(frames),
            Operation::Wait(ms) => {
                self.now += Duration::from_millis(u64::from(ms));
                self.inbox.handle_timeout(self.now);
            }
            Operation::Restart { last } => self.restart(last),
        }
    }

    fn frame(&mut self, frame: &ServerFrame) {
        self.inbox.handle_frame(self.now, frame);
    }

    fn asked(&self, which: u8) -> Option<(RequestId, Option<ConversationId>)> {
        self.asked.get(usize::from(which) % ASKED_MAX).cloned()
    }

    fn page(&mut self, which: u8, (epoch, first): (u8, u8), (from, count): (u8, u8), more: bool) {
        let Some((id, Some(conv))) = self.asked(which) else {
            return;
        };
        let from = place(from.max(1)).0;
        let seqs = (from..=INTEGER_MAX as u64).take(usize::from(count % 8));
        let entries = seqs.map(|seq| entry(&conv, Seq(seq))).collect();
        self.frame(&ServerFrame::Page(Page {
            id,
            conv,
            epoch: Epoch(u64::from(epoch % 4)),
            first_seq: place(first),
            entries,
            more,
        }));
    }

    fn synced(&mut self, which: Option<u8>, lines: &[Line], more: bool, reset: bool) {
        let id = which.and_then(|which| self.asked(which)).map(|(id, _)| id);
        let convs = lines.iter().take(4).map(Line::to_line).collect();
        let since = format!("s{}", lines.len());
        self.frame(&ServerFrame::Synced(Synced {
            id,
            convs,
            more,
            since,
            reset,
        }));
    }

    fn refuse(&mut self, which: u8, code: u8, retry_after_ms: Option<u16>) {
        let Some((id, conv)) = self.asked(which) else {
            return;
        };
        let failure = Failure {
            code: ErrorCode::ALL[usize::from(code) % ErrorCode::ALL.len()],
            message: String::new(),
            retry_after_ms: retry_after_ms.map(u64::from),
        };
        let re = if conv.is_some() { "pull" } else { "sync" };
        let err = ErrFrame {
            re: re.to_owned(),
            id: Some(id),
            cm_id: None,
            failure,
        };
        self.frame(&ServerFrame::Err(err));
    }

    fn take(&mut self, events: u8) {
        for _ in 0..events {
            match self.inbox.poll_event() {
                None => break,
                Some(InboxEvent::Entry(entry)) => {
                    let last = self.handed.insert(entry.conv.clone(), entry.seq);
                    let next = last.map_or(entry.seq, Seq::next);
                    assert_eq!(entry.seq, next, "in order, each once, without a hole");
                    let cursor = self.inbox.cursor(&entry.conv).map(|cursor| cursor.seq);
                    assert_eq!(cursor, Some(entry.seq));
                }
                Some(
                    InboxEvent::Reset {
                        conv, first_seq, ..
                    }
                    | InboxEvent::Trimmed { conv, first_seq },
                ) => {
                    self.handed.insert(conv, Seq(first_seq.0.saturating_sub(1)));
                }
                Some(_) => {}
            }
        }
    }

    fn transmit(&mut self, frames: u8) {
        for _ in 0..frames {
            let Some(frame) = self.inbox.poll_transmit() else {
                break;
            };
            let bytes = encode_client(Codec::Json, &frame);
            assert_eq!(decode_client(Codec::Json, &bytes).as_ref(), Ok(&frame));
            match frame {
                ClientFrame::Pull(pull) => {
                    assert!(matches!(pull.range, PullRange::After(_)));
                    self.asked.push_front((pull.id, Some(pull.conv)));
                }
                ClientFrame::Sync { id, .. } => self.asked.push_front((id, None)),
                ClientFrame::Ack(mark) => {
                    let cursor = self.inbox.cursor(&mark.conv).map(|cursor| cursor.seq);
                    assert!(Some(mark.seq) <= cursor, "only what was taken is acked");
                }
                other => panic!("{other:?}"),
            }
            self.asked.truncate(ASKED_MAX);
        }
    }

    fn restart(&mut self, last: bool) {
        let cursors: Vec<_> = self.inbox.cursors().collect();
        let since = self.inbox.since().map(str::to_owned);
        self.seed += 1;
        let start = if last { StartAt::Last } else { StartAt::First };
        self.inbox = Inbox::new(self.now, InboxConfig { start, ..CONFIG }, self.seed);
        self.inbox.restore(since, cursors);
        self.asked.clear();
    }
}
