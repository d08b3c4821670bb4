//! The part of a connection that the rest of the node reaches: its queue and its window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_core::frame::{Bye, CloseCode, Codec, ErrFrame, Failure, RequestId, ServerFrame};
use im_core::machine::{Delivery, DeliveryEvent, Push};
use im_core::model::{CmId, ConnectionId, ConversationId, DeviceId, Epoch, Seq, Timestamp, UserId};
use im_core::port::Identity;
use im_core::rule::Staff;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connection::SENDS_IN_FLIGHT_MAX;
use crate::outgoing::{OutEntry, Outgoing, Output};
use crate::settings::Settings;

/// A room as a connection knows it: its number on this node, and what `behind` must say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomRef<'a> {
    pub(crate) key: u64,
    pub(crate) conv: &'a ConversationId,
    pub(crate) epoch: Epoch,
}

#[derive(Debug)]
struct Out {
    delivery: Delivery<u64>,
    /// The names of rooms with un-acked entries, for `behind` by time.
    names: std::collections::BTreeMap<u64, (ConversationId, Epoch, Seq)>,
    queue: VecDeque<Outgoing>,
    /// Entries wait until `welcome` stands in front of them.
    open: bool,
    close: Option<CloseCode>,
    /// When the end was decided, on the connection's own clock.
    close_ms: u64,
    closed: bool,
}

impl Out {
    /// Whether what is no entry and no answer is of use.
    const fn takes_signs(&self) -> bool {
        self.open && self.close.is_none() && !self.closed
    }
}

/// What may be lost is, when so much waits.
const IDLE_MAX: usize = 8;
/// So much of what waits is looked at for a receipt that the new one is merged with.
const MERGED_MAX: usize = 64;
/// When to try again who could not be let in.
const REFUSED_RECONNECT_MS: (u64, u64) = (500, 5_000);

/// Places that the queue of an idle connection keeps.
const QUEUE_KEPT: usize = 8;

/// How long a connection whose end was decided may take to write what waits.
const CLOSE_MS_MAX: u64 = 5_000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) codec: Codec,
    out: Mutex<Out>,
    ready: Notify,
    abort: Notify,
    who: std::sync::OnceLock<(UserId, DeviceId)>,
    /// Sends that have no answer yet.
    pub(crate) sends_in_flight: AtomicU32,
    /// `pull`, `sync` and `req` that have no answer yet.
    pub(crate) requests_in_flight: AtomicU32,
    /// When bytes came last, in milliseconds since `born`.
    heard_ms: AtomicU64,
    /// When output was taken last, or the queue was empty.
    taken_ms: AtomicU64,
    pinged_ms: AtomicU64,
    born: Instant,
    /// When the token ends, in Unix milliseconds.
    pub(crate) expires_ms: std::sync::atomic::AtomicI64,
    /// What its token says that its user may do beside everybody else: [`Staff::bits`].
    staff: std::sync::atomic::AtomicU8,
    pub(crate) said_hello: AtomicBool,
    /// The lease under which the registry knows of it; 0 when it never did. Of one that it knew, a
    /// live route of the device elsewhere is a later one's.
    pub(crate) registered: AtomicU64,
    /// Nothing more is read: the end comes when what was read is answered.
    leaving: AtomicBool,
}

impl Link {
    pub(crate) fn new(
        id: ConnectionId,
        codec: Codec,
        now: Instant,
        window: usize,
        ack_after: Duration,
    ) -> Self {
        Self {
            id,
            codec,
            out: Mutex::new(Out {
                delivery: Delivery::new(window, ack_after),
                names: std::collections::BTreeMap::new(),
                queue: VecDeque::new(),
                open: false,
                close: None,
                close_ms: 0,
                closed: false,
            }),
            ready: Notify::new(),
            abort: Notify::new(),
            who: std::sync::OnceLock::new(),
            sends_in_flight: AtomicU32::new(0),
            requests_in_flight: AtomicU32::new(0),
            heard_ms: AtomicU64::new(0),
            taken_ms: AtomicU64::new(0),
            pinged_ms: AtomicU64::new(0),
            born: now,
            expires_ms: std::sync::atomic::AtomicI64::new(i64::MAX),
            staff: std::sync::atomic::AtomicU8::new(0),
            said_hello: AtomicBool::new(false),
            registered: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
        }
    }

    /// Who is connected; known after hello.
    pub(crate) fn who(&self) -> Option<&(UserId, DeviceId)> {
        self.who.get()
    }

    pub(crate) fn set_who(&self, user: UserId, device: DeviceId) {
        // Set once, by the one greeting of this connection.
        let _ = self.who.set((user, device));
    }

    /// The roles of the token that it showed last.
    pub(crate) fn staff(&self) -> Staff {
        Staff::from_bits(self.staff.load(Ordering::Acquire))
    }

    /// What a token says: when it ends, and which roles it gives.
    pub(crate) fn take_token(&self, identity: &Identity) {
        let staff = Staff::of(identity.roles.iter().map(String::as_str));
        self.staff.store(staff.bits(), Ordering::Release);
        self.expires_ms
            .store(identity.expires_at.0, Ordering::Relaxed);
    }

    /// Waits until there is something to take.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Waits until the transport must stop at once, even in the middle of a write.
    pub(crate) async fn aborted(&self) {
        self.abort.notified().await;
    }

    /// Takes what is to be written now.
    pub(crate) fn drain(&self, now: Instant, into: &mut Vec<Output>) {
        let mut out = self.out.lock();
        if out.open || out.close.is_some() {
            let queue = out.queue.drain(..);
            into.extend(queue.map(|item| item.into_output(self.codec)));
            if out.queue.capacity() > QUEUE_KEPT {
                out.queue = VecDeque::new();
            }
        }
        if let Some(code) = out.close.take() {
            out.closed = true;
            into.push(Output::Close(code));
        }
        drop(out);
        self.taken_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Puts `welcome` in front of whatever waits, and lets it go.
    pub(crate) fn open(&self, welcome: ServerFrame) {
        let mut out = self.out.lock();
        out.queue.push_front(Outgoing::Frame(Box::new(welcome)));
        out.open = true;
        drop(out);
        self.ready.notify_one();
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: ServerFrame) {
        self.push(Outgoing::Frame(Box::new(frame)));
    }

    pub(crate) fn push(&self, item: Outgoing) {
        let mut out = self.out.lock();
        if out.closed || out.close.is_some() {
            return;
        }
        out.queue.push_back(item);
        drop(out);
        self.ready.notify_one();
    }

    /// Sends a frame that may be lost: only when little waits.
    pub(crate) fn send_if_idle(&self, frame: ServerFrame) {
        let mut out = self.out.lock();
        if out.takes_signs() && out.queue.len() < IDLE_MAX {
            out.queue.push_back(Outgoing::Frame(Box::new(frame)));
            drop(out);
            self.ready.notify_one();
        }
    }

    /// Sends a receipt, merged with one of the same cursor that still waits.
    pub(crate) fn send_receipt(&self, receipt: &ServerFrame) {
        // Looks only at the newest: a queue is short unless its reader is slow.
        self.send_merged(receipt.clone(), MERGED_MAX);
    }

    /// Sends a user's state, in place of an earlier one that still waits: at most one of each user
    /// who is watched is in the queue.
    pub(crate) fn send_presence(&self, presence: ServerFrame) {
        self.send_merged(presence, usize::MAX);
    }

    fn send_merged(&self, frame: ServerFrame, most: usize) {
        let mut out = self.out.lock();
        if !out.takes_signs() {
            return;
        }
        let mut waiting = out.queue.iter_mut().rev().take(most);
        if !waiting.any(|item| item.merge(&frame)) {
            out.queue.push_back(Outgoing::Frame(Box::new(frame)));
        }
        drop(out);
        self.ready.notify_one();
    }

    /// Answers a frame with a refusal.
    pub(crate) fn refuse(
        &self,
        re: &str,
        id: Option<RequestId>,
        cm_id: Option<CmId>,
        failure: Failure,
    ) {
        metrics::counter!("im_errors_total", "code" => failure.code.as_str()).increment(1);
        self.send(ServerFrame::Err(ErrFrame {
            re: re.to_owned(),
            id,
            cm_id,
            failure,
        }));
    }

    /// The next entries of a room, in order. Gives how many were pushed.
    pub(crate) fn push_entries(
        &self,
        now: Instant,
        room: RoomRef<'_>,
        after: Seq,
        entries: &[Arc<OutEntry>],
    ) -> u64 {
        let mut pushed = 0;
        let mut out = self.out.lock();
        if out.closed || out.close.is_some() {
            return 0;
        }
        let out = &mut *out;
        for entry in entries {
            let seq = entry.entry.seq;
            if seq <= after {
                continue;
            }
            match out.delivery.handle_entry(now, room.key, seq) {
                Push::Send => {
                    out.queue.push_back(Outgoing::Entry(Arc::clone(entry)));
                    pushed += 1;
                }
                Push::Skip => {}
                Push::Behind => out.queue.push_back(behind(room.conv, seq, room.epoch)),
            }
        }
        if pushed > 0 {
            let last = entries.last().map_or(Seq(0), |entry| entry.entry.seq);
            let name = out.names.entry(room.key);
            name.or_insert_with(|| (room.conv.clone(), room.epoch, last))
                .2 = last;
        }
        if !out.queue.is_empty() {
            self.ready.notify_one();
        }
        pushed
    }

    /// The client acks.
    pub(crate) fn ack(&self, key: u64, seq: Seq) {
        let mut out = self.out.lock();
        out.delivery.handle_ack(key, seq);
        if out.names.get(&key).is_some_and(|(_, _, last)| *last <= seq) {
            out.names.remove(&key);
        }
    }

    /// A pull reached the end. Called with the room locked.
    pub(crate) fn caught_up(&self, key: u64, last: Seq) {
        self.out.lock().delivery.handle_caught_up(key, last);
    }

    /// Entries are not to be had: the client pulls what there is.
    pub(crate) fn lost(&self, room: RoomRef<'_>, head: Seq) {
        let mut out = self.out.lock();
        if out.closed || out.close.is_some() {
            return;
        }
        out.delivery.handle_lost(room.key);
        out.names.remove(&room.key);
        metrics::counter!("im_behind_total").increment(1);
        out.queue.push_back(behind(room.conv, head, room.epoch));
        drop(out);
        self.ready.notify_one();
    }

    /// The user left a conversation.
    pub(crate) fn left(&self, key: u64) {
        let mut out = self.out.lock();
        out.delivery.handle_left(key);
        out.names.remove(&key);
    }

    /// Ends a connection that was not let in, with a `bye`.
    pub(crate) fn refuse_entry(&self, code: CloseCode) {
        self.bye(code, REFUSED_RECONNECT_MS);
    }

    /// Ends the connection, after what waits was written.
    pub(crate) fn close(&self, code: CloseCode) {
        self.close_with(code, None);
    }

    /// Ends the connection with a `bye` before.
    pub(crate) fn bye(&self, code: CloseCode, reconnect_ms: (u64, u64)) {
        self.close_with(
            code,
            Some(Bye {
                code: code.as_u16(),
                reconnect_ms,
            }),
        );
    }

    fn close_with(&self, code: CloseCode, bye: Option<Bye>) {
        let mut out = self.out.lock();
        if out.close.is_some() || out.closed {
            return;
        }
        if !out.open {
            // Nothing of what waits was promised to who was not welcomed, but for the refusal.
            out.queue.retain(|item| match item {
                Outgoing::Frame(frame) => matches!(**frame, ServerFrame::Err(_)),
                _ => false,
            });
        }
        if let Some(bye) = bye {
            out.queue
                .push_back(Outgoing::Frame(Box::new(ServerFrame::Bye(bye))));
        }
        out.close = Some(code);
        drop(out);
        self.ready.notify_one();
    }

    /// Nothing more is to be read: what was read is answered first.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.ready.notify_one();
    }

    /// Whether more is read.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A send has its answer. Call it after the answer was queued: who sees none in flight may end
    /// the connection.
    pub(crate) fn send_answered(&self) {
        let before = self.sends_in_flight.fetch_sub(1, Ordering::AcqRel);
        if before >= SENDS_IN_FLIGHT_MAX {
            // The transport may read on; the answer's own notice may have come too early.
            self.ready.notify_one();
        }
    }

    /// Whether everything that was read and wants an answer has it.
    pub(crate) fn is_answered(&self) -> bool {
        self.sends_in_flight.load(Ordering::Acquire) == 0
            && self.requests_in_flight.load(Ordering::Acquire) == 0
    }

    /// Whether the end was decided.
    pub(crate) fn is_closing(&self) -> bool {
        let out = self.out.lock();
        out.closed || out.close.is_some()
    }

    /// Whether the transport is gone, or has been given its last item.
    pub(crate) fn is_gone(&self) -> bool {
        self.out.lock().closed
    }

    /// The transport is gone: nothing is queued any more.
    pub(crate) fn gone(&self) {
        let mut out = self.out.lock();
        out.closed = true;
        out.queue = VecDeque::new();
    }

    /// Bytes came.
    pub(crate) fn heard(&self, now: Instant) {
        self.heard_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Time has passed; called a few times a second for every connection.
    pub(crate) fn tick(&self, now: Instant, settings: &Settings, at: Timestamp) {
        let (now_ms, beat_ms) = (self.ms(now), settings.heartbeat.as_millis() as u64);
        let since = |at: &AtomicU64| now_ms.saturating_sub(at.load(Ordering::Relaxed));
        if self.expires_ms.load(Ordering::Relaxed) <= at.0 {
            self.bye(CloseCode::Unauthenticated, settings.reconnect_ms);
        }
        let said_hello = self.said_hello.load(Ordering::Acquire);
        if !said_hello && now_ms > settings.hello.as_millis() as u64 {
            self.close(CloseCode::Unauthenticated);
        }
        if since(&self.heard_ms) > 2 * beat_ms {
            self.close(CloseCode::Silent);
        }
        let mut out = self.out.lock();
        if out.close.is_some() {
            if out.close_ms == 0 {
                out.close_ms = now_ms.max(1);
            } else if now_ms - out.close_ms > CLOSE_MS_MAX {
                self.abort.notify_one();
            }
            return;
        }
        if out.queue.is_empty() {
            self.taken_ms.store(now_ms, Ordering::Relaxed);
        } else if since(&self.taken_ms) > 2 * beat_ms {
            // It takes nothing: what waits is dropped, the log has it.
            out.queue = VecDeque::new();
            out.close = Some(CloseCode::Silent);
            return self.abort.notify_one();
        }
        out.delivery.handle_timeout(now);
        while let Some(DeliveryEvent::Behind(key)) = out.delivery.poll_event() {
            if let Some((conv, epoch, last)) = out.names.remove(&key) {
                metrics::counter!("im_behind_total").increment(1);
                out.queue.push_back(behind(&conv, last, epoch));
                self.ready.notify_one();
            }
        }
        if out.open && since(&self.pinged_ms) >= beat_ms {
            self.pinged_ms.store(now_ms, Ordering::Relaxed);
            out.queue.push_back(Outgoing::Ping);
            self.ready.notify_one();
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_millis() as u64
    }
}

fn behind(conv: &ConversationId, last_seq: Seq, epoch: Epoch) -> Outgoing {
    Outgoing::Frame(Box::new(ServerFrame::Behind {
        conv: conv.clone(),
        last_seq,
        epoch,
    }))
}
