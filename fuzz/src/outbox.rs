//! The outbox machine against a server that says anything: each send that was taken has exactly one
//! end, and leaves only before it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use im_core::frame::{ClientFrame, ErrFrame, ErrorCode, Failure, Limits, ServerFrame, Welcome};
use im_core::machine::{Backoff, Outbox, OutboxConfig, OutboxEvent, PendingDraft};
use im_core::model::{
    CmId, ConversationId, DeviceId, Draft, INTEGER_MAX, MessageId, Seq, Target, Timestamp, UserId,
};

const CM_IDS: u8 = 24;
const TARGETS: u8 = 3;
const CONFIG: OutboxConfig = OutboxConfig {
    window: 4,
    per_target: 2,
    queue_max: 16,
    queue_bytes_max: 4_096,
    answer: Backoff::new(Duration::from_secs(10), Duration::from_secs(60)),
    retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
};

#[derive(Arbitrary, Debug)]
pub enum Operation {
    /// The application sends.
    Send { cm_id: u8, to: u8, chars: u8 },
    /// A connection is up.
    Connect {
        sends_per_s: u32,
        dedupe_ms: u64,
        now: i64,
    },
    /// It is gone.
    Disconnect,
    /// The server stored something, or says so.
    Sent { cm_id: u8, dup: bool },
    /// The server refuses something.
    Err {
        cm_id: u8,
        code: u8,
        retry_after_ms: Option<u64>,
    },
    /// The application refuses something.
    Refuse { cm_id: u8 },
    /// At most so many frames are written.
    Transmit(u8),
    /// Time passes.
    Wait(u32),
    /// The process ends, and begins again with what a file kept.
    Restart,
}

struct World {
    outbox: Outbox,
    now: Instant,
    pending: BTreeSet<CmId>,
    connected: bool,
}

pub fn run(operations: &[Operation]) {
    let now = Instant::now();
    let mut world = World {
        outbox: Outbox::new(now, CONFIG, 7),
        now,
        pending: BTreeSet::new(),
        connected: false,
    };
    for operation in operations {
        world.step(operation);
        world.drain();
    }
}

fn cm_id(number: u8) -> CmId {
    CmId::new(format!("m{}", number % CM_IDS)).expect("an id")
}

/// What a frame can hold.
const fn wire(number: u64) -> u64 {
    number % (INTEGER_MAX as u64 + 1)
}

impl World {
    fn step(&mut self, operation: &Operation) {
        let Self { outbox, now, .. } = self;
        match *operation {
            Operation::Send {
                cm_id: id,
                to,
                chars,
            } => {
                let user = UserId::new(format!("u{}", to % TARGETS)).expect("an id");
                let text = "x".repeat(usize::from(chars) + 1);
                let draft = Draft::text(cm_id(id), Target::User(user), text);
                if outbox.handle_send(*now, draft).is_ok() {
                    assert!(self.pending.insert(cm_id(id)), "pending already");
                }
            }
            Operation::Connect {
                sends_per_s,
                dedupe_ms,
                now: said,
            } => {
                let said = Timestamp(said % (INTEGER_MAX + 1));
                outbox.handle_connected(*now, &welcome(sends_per_s, wire(dedupe_ms), said));
                self.connected = true;
            }
            Operation::Disconnect => {
                outbox.handle_disconnected(*now);
                self.connected = false;
            }
            Operation::Sent { cm_id: id, dup } => {
                let frame = ServerFrame::Sent {
                    cm_id: cm_id(id),
                    conv: ConversationId::new("c").expect("an id"),
                    seq: Seq(1),
                    id: MessageId(1),
                    at: Timestamp(0),
                    dup,
                };
                outbox.handle_frame(*now, &frame);
            }
            Operation::Err {
                cm_id: id,
                code,
                retry_after_ms,
            } => {
                let failure = Failure {
                    code: ErrorCode::ALL[usize::from(code) % ErrorCode::ALL.len()],
                    message: String::new(),
                    retry_after_ms: retry_after_ms.map(wire),
                };
                let err = ErrFrame {
                    re: "send".to_owned(),
                    id: None,
                    cm_id: Some(cm_id(id)),
                    failure,
                };
                outbox.handle_frame(*now, &ServerFrame::Err(err));
            }
            Operation::Refuse { cm_id: id } => {
                outbox.refuse(&cm_id(id), Failure::new(ErrorCode::TooLarge, "x"));
            }
            Operation::Transmit(frames) => self.transmit(frames),
            Operation::Wait(ms) => {
                *now += Duration::from_millis(u64::from(ms));
                outbox.handle_timeout(*now);
            }
            Operation::Restart => self.restart(),
        }
    }

    fn transmit(&mut self, frames: u8) {
        for _ in 0..frames {
            let Some(frame) = self.outbox.poll_transmit() else {
                break;
            };
            let ClientFrame::Send(draft) = frame else {
                panic!("it only sends");
            };
            assert!(self.connected, "nothing leaves without a connection");
            assert!(
                self.pending.contains(&draft.cm_id),
                "what is answered stays"
            );
            assert!(self.outbox.first_try(&draft.cm_id).is_some());
        }
    }

    fn restart(&mut self) {
        let pending = self
            .outbox
            .pending()
            .map(|(draft, first_try)| PendingDraft {
                draft: draft.clone(),
                first_try,
            });
        let pending: Vec<_> = pending.collect();
        self.outbox = Outbox::new(self.now, CONFIG, 8);
        self.outbox.restore(pending);
        self.connected = false;
    }

    fn drain(&mut self) {
        while let Some(event) = self.outbox.poll_event() {
            let (OutboxEvent::Sent { cm_id, .. }
            | OutboxEvent::Failed { cm_id, .. }
            | OutboxEvent::GaveUp { cm_id }) = event;
            assert!(self.pending.remove(&cm_id), "one end each");
        }
        assert_eq!(self.outbox.len(), self.pending.len());
        assert!(self.pending.iter().all(|id| self.outbox.is_pending(id)));
        assert!(self.outbox.in_flight() <= CONFIG.window);
        let _ = self.outbox.poll_timeout();
        self.outbox.assert_invariants();
    }
}

/// The first frame of a connection, with limits of any kind.
pub fn welcome(sends_per_s: u32, dedupe_ms: u64, now: Timestamp) -> Welcome {
    Welcome {
        user: UserId::new("me").expect("an id"),
        device: DeviceId::new("d").expect("an id"),
        conn: "c".to_owned(),
        node: "n".to_owned(),
        now,
        expires_at: now,
        heartbeat_ms: 30_000,
        limits: Limits {
            sends_per_s,
            dedupe_ms,
            ..Limits::default()
        },
    }
}
