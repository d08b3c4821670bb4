//! The inbox of a client: the entries of all its conversations, each in order and once.
//!
//! Per conversation it keeps a cursor, the last entry handed out, and hands out the one after it
//! and no other. A hole, `behind`, or a `synced` line that tells of more makes it pull; what comes
//! a second time is dropped; another epoch, or a log shorter than what this device had, starts the
//! conversation again ([`InboxEvent::Reset`]). What it hands out it acks, cumulatively.
//!
//! Nothing grows when the application does not take events: then it neither acks nor pulls, the
//! server's window fills, and the log is the buffer ([`InboxConfig::ready_max`]).
//!
//! It sends its own `sync` after each connection, so `hello` needs no `since`. Its request ids are
//! texts that begin with `in-`; the application's must not.
//!
//! # Methods
//! - **A, getters**: [`cursor`](Inbox::cursor), [`cursors`](Inbox::cursors),
//!   [`since`](Inbox::since): the state for a durable file, as far as events have been taken. The
//!   cursors must be durable no later than the token: it covers what they still owe.
//! - **B, inputs**: `handle_*`.
//! - **C, mutators of the application**: [`restore`](Inbox::restore).
//! - **D, outputs**, after every call of B or C, in this order: [`poll_event`](Inbox::poll_event)
//!   until `None` (or as many as the application takes), [`poll_transmit`](Inbox::poll_transmit)
//!   until `None` (taking events makes room to pull), then [`poll_timeout`](Inbox::poll_timeout).

mod apply;
mod ask;
mod conv;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::ask::{Sync, SyncState};
use self::conv::{Conv, PullState};
pub use self::types::{Cursor, InboxConfig, InboxEvent, StartAt};
use crate::frame::{ClientFrame, Limits, ReadMark, ServerFrame, Welcome};
use crate::model::{ConversationId, Entry, Seq, UserId};

/// What is handed out is acked at the latest so much later …
const ACK_AFTER: Duration = Duration::from_millis(100);
/// … or when it is this part of the window.
const ACK_WINDOW_PART: usize = 4;
/// So many of the last acks of a connection are sent again on the next one: they may have been
/// lost with it.
const ACKS_AGAIN_MAX: usize = 64;

/// What stands in the queue of events.
#[derive(Debug)]
enum Ready {
    Event(InboxEvent),
    /// Everything before it is covered by this token.
    Since(String),
}

/// See the [module](self).
#[derive(Debug)]
pub struct Inbox {
    config: InboxConfig,
    rng: fastrand::Rng,
    now: Instant,
    connected: bool,
    /// Whose inbox it is, since the first connection.
    user: Option<UserId>,
    window: usize,
    convs: BTreeMap<ConversationId, Conv>,
    /// What the server pushed of conversations that it has not listed yet: up to where.
    unlisted: BTreeMap<ConversationId, Seq>,
    /// How many entries stand in `early` over all conversations.
    early: usize,
    ready: VecDeque<Ready>,
    ready_entries: usize,
    /// Conversations whose pull waits for its turn.
    queue: VecDeque<ConversationId>,
    /// Conversations by the id of their pull in flight.
    pulls: BTreeMap<i64, ConversationId>,
    /// Ends of `InFlight` and `Waiting`.
    timers: BTreeSet<(Instant, ConversationId)>,
    /// How many conversations have a pull queued, in flight or waiting.
    busy: usize,
    next_id: i64,
    sync: Sync,
    since: Option<String>,
    /// Conversations to ack.
    dirty: BTreeSet<ConversationId>,
    /// The conversations last acked on this connection.
    acked: VecDeque<ConversationId>,
    unacked: usize,
    ack_at: Option<Instant>,
    flush: bool,
}

impl Inbox {
    /// An inbox without conversations; jitter is drawn from `seed`.
    #[must_use]
    pub fn new(now: Instant, config: InboxConfig, seed: u64) -> Self {
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            now,
            connected: false,
            user: None,
            window: Limits::default().window,
            convs: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            early: 0,
            ready: VecDeque::new(),
            ready_entries: 0,
            queue: VecDeque::new(),
            pulls: BTreeMap::new(),
            timers: BTreeSet::new(),
            busy: 0,
            next_id: 0,
            sync: Sync::default(),
            since: None,
            dirty: BTreeSet::new(),
            acked: VecDeque::new(),
            unacked: 0,
            ack_at: None,
            flush: false,
        }
    }

    /// How far this device is in a conversation: what has been taken by
    /// [`poll_event`](Self::poll_event).
    #[must_use]
    pub fn cursor(&self, conv: &ConversationId) -> Option<Cursor> {
        self.convs.get(conv).map(|state| cursor(conv, state))
    }

    /// [`cursor`](Self::cursor) of every conversation, by id.
    pub fn cursors(&self) -> impl Iterator<Item = Cursor> {
        self.convs.iter().map(|(conv, state)| cursor(conv, state))
    }

    /// The `sync` token that covers what has been taken.
    #[must_use]
    pub fn since(&self) -> Option<&str> {
        self.since.as_deref()
    }

    /// How many entries are held: those that nobody has taken, and those that came before their
    /// turn.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.ready_entries + self.early
    }

    /// A connection is up: the server said `welcome`.
    pub fn handle_connected(&mut self, now: Instant, welcome: &Welcome) {
        self.handle_disconnected(now);
        self.connected = true;
        self.user = Some(welcome.user.clone());
        self.window = welcome.limits.window;
        self.sync.start();
        let convs: Vec<_> = self.convs.keys().cloned().collect();
        for conv in convs {
            self.on_news(&conv);
        }
        if !self.dirty.is_empty() {
            self.ack_at = Some(self.now + ACK_AFTER);
        }
        self.on_settled();
    }

    /// The connection is gone, and with it every answer that was to come on it.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.pass(now);
        self.connected = false;
        self.sync.state = SyncState::Off;
        self.unlisted.clear();
        self.queue.clear();
        self.pulls.clear();
        self.timers.clear();
        self.busy = 0;
        // What came early may belong to a life of the log that is over when the next one begins.
        self.early = 0;
        for state in self.convs.values_mut() {
            state.early.clear();
            state.pull = PullState::Stopped;
            state.pushed = Seq(0);
            state.paged = Seq(0);
        }
        self.dirty.extend(self.acked.drain(..));
        self.ack_at = None;
        self.flush = false;
        self.unacked = 0;
    }

    /// A frame came; those that carry no entries, heads or answers to the inbox are ignored.
    pub fn handle_frame(&mut self, now: Instant, frame: &ServerFrame) {
        self.pass(now);
        if !self.connected {
            return;
        }
        match frame {
            ServerFrame::Entry(entry) => self.on_entry(entry),
            ServerFrame::Page(page) => self.on_page(page),
            ServerFrame::Behind {
                conv,
                last_seq,
                epoch,
            } => self.on_behind(conv, *last_seq, *epoch),
            ServerFrame::Synced(synced) => self.on_synced(synced),
            ServerFrame::Event(event) => self.on_event(event),
            ServerFrame::Err(err) => self.on_err(err),
            _ => return,
        }
        self.on_settled();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.pass(now);
        if self.ack_at.is_some_and(|at| at <= self.now) {
            self.on_flush();
        }
        self.on_sync_timeout();
        while let Some((at, _)) = self.timers.first() {
            if *at > self.now {
                break;
            }
            if let Some((_, conv)) = self.timers.pop_first() {
                self.on_pull_timeout(&conv);
            }
        }
    }

    /// Takes back what [`cursors`](Self::cursors) and [`since`](Self::since) gave before a
    /// restart. To be called before the first connection.
    pub fn restore(&mut self, since: Option<String>, cursors: impl IntoIterator<Item = Cursor>) {
        self.sync.since.clone_from(&since);
        self.since = since;
        for cursor in cursors {
            let state = Conv::restore(&cursor);
            self.convs.insert(cursor.conv, state);
        }
    }

    /// What the application is told next. What is taken counts as arrived: it is acked, and the
    /// cursor moves.
    pub fn poll_event(&mut self) -> Option<InboxEvent> {
        loop {
            match self.ready.pop_front()? {
                Ready::Since(since) => self.since = Some(since),
                Ready::Event(event) => {
                    self.on_handed(&event);
                    return Some(event);
                }
            }
        }
    }

    /// The next frame to write. Call [`handle_timeout`](Self::handle_timeout) before, when the
    /// last call of B is some time ago.
    pub fn poll_transmit(&mut self) -> Option<ClientFrame> {
        if !self.connected {
            return None;
        }
        while self.flush {
            let Some(conv) = self.dirty.pop_first() else {
                self.flush = false;
                break;
            };
            let seq = self.convs.get(&conv).map_or(Seq(0), |state| state.handed.1);
            if seq > Seq(0) {
                self.acked.push_back(conv.clone());
                if self.acked.len() > ACKS_AGAIN_MAX {
                    self.acked.pop_front();
                }
                return Some(ClientFrame::Ack(ReadMark { conv, seq }));
            }
        }
        if self.ready.len() >= self.config.ready_max {
            return None;
        }
        self.next_sync().or_else(|| self.next_pull())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let ack = self
            .ack_at
            .map(|at| (at, "what was handed out is to be acked"));
        let sync = self.sync.timer().map(|at| (at, "a sync has no answer"));
        let pull = self
            .timers
            .first()
            .map(|(at, _)| (*at, "a pull has no answer"));
        ack.into_iter()
            .chain(sync)
            .chain(pull)
            .min_by_key(|(at, _)| *at)
    }

    /// Panics when the state is not one that the machine may be in. For tests.
    pub fn assert_invariants(&self) {
        let states = || self.convs.values();
        let busy = states().filter(|state| state.pull.is_busy()).count();
        assert_eq!(busy, self.busy, "pulls are counted");
        let timers = states()
            .filter(|state| state.pull.timer().is_some())
            .count();
        assert_eq!(timers, self.timers.len(), "who waits has a timer");
        assert!(
            self.pulls.len() <= self.config.pulls_max,
            "pulls are bounded"
        );
        for (id, conv) in &self.pulls {
            let pull = self.convs[conv].pull;
            assert!(matches!(pull, PullState::InFlight { id: it, .. } if it == *id));
        }
        let queued = states()
            .filter(|state| state.pull == PullState::Queued)
            .count();
        assert_eq!(
            queued,
            self.queue.len(),
            "who is queued stands in the queue, once"
        );
        let early: usize = states().map(|state| state.early.len()).sum();
        assert_eq!(early, self.early);
        assert!(
            early <= self.config.early_max,
            "what comes early is bounded"
        );
        assert!(
            self.ready_entries <= self.ready_hard_max(),
            "what waits is bounded"
        );
        for (conv, state) in &self.convs {
            state.assert_invariants();
            if self.ready.is_empty() {
                assert_eq!(
                    state.handed,
                    (state.epoch, state.queued),
                    "{conv}: all is handed out"
                );
            }
        }
    }

    fn pass(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The most entries that wait to be taken, whatever the server sends.
    const fn ready_hard_max(&self) -> usize {
        self.config.ready_max + self.config.pulls_max * Limits::PAGE_ENTRIES_MAX
    }

    fn on_handed(&mut self, event: &InboxEvent) {
        let (conv, seq) = match event {
            InboxEvent::Entry(entry) => (&entry.conv, entry.seq),
            InboxEvent::Reset {
                conv, first_seq, ..
            }
            | InboxEvent::Trimmed { conv, first_seq } => (conv, before(*first_seq)),
            _ => return,
        };
        let Some(state) = self.convs.get_mut(conv) else {
            return;
        };
        state.handed.1 = seq;
        match event {
            InboxEvent::Entry(entry) => {
                self.ready_entries -= 1;
                self.unacked += 1;
                self.on_ack_due(entry);
            }
            InboxEvent::Reset { epoch, .. } => {
                state.handed.0 = Some(*epoch);
                // An ack of the old life would claim what has not arrived of the new one.
                self.dirty.remove(conv);
            }
            _ => {}
        }
    }

    /// An entry was handed out, or came again after it had been.
    fn on_ack_due(&mut self, entry: &Arc<Entry>) {
        self.dirty.insert(entry.conv.clone());
        if !self.connected {
            return;
        }
        if self.unacked >= (self.window / ACK_WINDOW_PART).max(1) {
            self.on_flush();
        } else {
            self.ack_at.get_or_insert(self.now + ACK_AFTER);
        }
    }

    const fn on_flush(&mut self) {
        self.flush = true;
        self.unacked = 0;
        self.ack_at = None;
    }
}

const fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}

fn cursor(conv: &ConversationId, state: &Conv) -> Cursor {
    Cursor {
        conv: conv.clone(),
        epoch: state.handed.0,
        seq: state.handed.1,
        head: state.head,
        left: state.left,
    }
}
