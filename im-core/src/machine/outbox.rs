//! The outbox of a client: the sends that are not answered yet.
//!
//! It keeps the promise that a `send` retried with the same `cm_id` until `sent` or a final `err`
//! is neither lost nor doubled, whatever crashes in between:
//!
//! - Sends to one target leave in the order of [`handle_send`](Outbox::handle_send), at most
//!   [`window`](OutboxConfig::window) unanswered at a time, at the server's own rate.
//! - One that gets no answer leaves again with the same `cm_id`: after a time that grows, and
//!   after a reconnect at once, in order.
//! - One refused with `retry_after_ms` waits that long, and those of its target that have not left
//!   wait with it. Those already in flight may be stored before it: it has lost its place. After
//!   three refusals it holds nobody back any more. For an order that survives refusals set
//!   [`per_target`](OutboxConfig::per_target) to 1.
//! - It is given up before the server forgets its `cm_id` (`limits.dedupe_ms` after the first
//!   try, less a margin). Time is counted by the server's clock, as `welcome` tells it, so it also
//!   counts over restarts and over changes of the client's own clock. What never left is never
//!   given up.
//!
//! # Methods
//! - **A, getters**: [`len`](Outbox::len), [`in_flight`](Outbox::in_flight),
//!   [`first_try`](Outbox::first_try), [`pending`](Outbox::pending) …
//! - **B, inputs**: `handle_*`.
//! - **C, mutators of the application**: [`restore`](Outbox::restore),
//!   [`refuse`](Outbox::refuse).
//! - **D, outputs**, after every call of B or C, in this order: [`poll_transmit`](
//!   Outbox::poll_transmit) until `None` (what it gives must be durable before it is written to
//!   the network, see [`first_try`](Outbox::first_try)), [`poll_event`](Outbox::poll_event) until
//!   `None`, then [`poll_timeout`](Outbox::poll_timeout).

mod item;
mod lanes;
mod pace;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use self::item::{Item, State, draft_bytes, step};
use self::lanes::{Lanes, Order};
use self::pace::Pace;
pub use self::types::{OutboxConfig, OutboxEvent, OutboxFull, PendingDraft};
use super::backoff::at_least;
use crate::frame::{ClientFrame, ErrFrame, ErrorCode, Failure, Limits, ServerFrame, Welcome};
use crate::model::{CmId, Draft, Timestamp};

/// After so many refusals a send holds nobody back any more: one that a server can never take must
/// not silence its conversation.
const HOLDING_REFUSALS_MAX: u32 = 3;
/// A final refusal is believed when no try on this connection is unanswered, or at the latest when
/// it came so often: an earlier try may still be stored.
const FINAL_REFUSALS_MAX: u32 = 3;
/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// A send is given up this part of `dedupe_ms` before the server may forget it, so that nothing
/// on its way arrives later …
const GIVE_UP_MARGIN_PART: u64 = 16;
/// … but at most so many milliseconds before.
const GIVE_UP_MARGIN_MS_MAX: u64 = 3_600_000;

/// See the [module](self).
#[derive(Debug)]
pub struct Outbox {
    config: OutboxConfig,
    rng: fastrand::Rng,
    now: Instant,
    connected: bool,
    limits: Limits,
    /// The server's clock: what it said, and when.
    clock: Option<(Instant, Timestamp)>,
    next_order: Order,
    items: BTreeMap<Order, Item>,
    by_cm_id: BTreeMap<CmId, Order>,
    bytes: usize,
    in_flight: usize,
    lanes: Lanes,
    /// Ends of `InFlight` and `Refused`.
    timers: BTreeSet<(Instant, Order)>,
    /// First tries, for giving up.
    tried: BTreeSet<(Timestamp, Order)>,
    pace: Pace,
    events: VecDeque<OutboxEvent>,
}

impl Outbox {
    /// An empty outbox; jitter is drawn from `seed`.
    #[must_use]
    pub fn new(now: Instant, config: OutboxConfig, seed: u64) -> Self {
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            now,
            connected: false,
            limits: Limits::default(),
            clock: None,
            next_order: 0,
            items: BTreeMap::new(),
            by_cm_id: BTreeMap::new(),
            bytes: 0,
            in_flight: 0,
            lanes: Lanes::new(config.per_target.max(1)),
            timers: BTreeSet::new(),
            tried: BTreeSet::new(),
            pace: Pace::new(now),
            events: VecDeque::new(),
        }
    }

    /// How many sends are unanswered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether every send is answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many sends are in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When a pending send left first, by the server's clock. It is known from the moment that
    /// [`poll_transmit`](Self::poll_transmit) gives the frame; a durable file must hold it before
    /// that frame is written to the network, or a restart could try it longer than the server
    /// recognises it.
    #[must_use]
    pub fn first_try(&self, cm_id: &CmId) -> Option<Timestamp> {
        self.items.get(self.by_cm_id.get(cm_id)?)?.first_try
    }

    /// Whether a send is unanswered.
    #[must_use]
    pub fn is_pending(&self, cm_id: &CmId) -> bool {
        self.by_cm_id.contains_key(cm_id)
    }

    /// The unanswered sends in their order: what [`restore`](Self::restore) takes back.
    pub fn pending(&self) -> impl Iterator<Item = (&Draft, Option<Timestamp>)> {
        self.items
            .values()
            .map(|item| (&item.draft, item.first_try))
    }

    /// The application sends. The answer is an [`OutboxEvent`].
    ///
    /// # Errors
    /// When the queue is full or the `cm_id` is pending: nothing happens then.
    pub fn handle_send(&mut self, now: Instant, draft: Draft) -> Result<(), OutboxFull> {
        self.pass(now);
        let bytes = self.bytes.saturating_add(draft_bytes(&draft));
        if self.is_pending(&draft.cm_id) {
            return Err(OutboxFull::Pending);
        }
        if self.items.len() >= self.config.queue_max || bytes > self.config.queue_bytes_max {
            return Err(OutboxFull::QueueFull);
        }
        self.insert(draft, None);
        Ok(())
    }

    /// A connection is up: the server said `welcome`. What is unanswered leaves again.
    pub fn handle_connected(&mut self, now: Instant, welcome: &Welcome) {
        self.handle_disconnected(now);
        self.connected = true;
        self.limits = welcome.limits;
        self.clock = Some((self.now, welcome.now));
        self.pace.set_rate(welcome.limits.sends_per_s);
    }

    /// The connection is gone, and with it every answer that was to come on it.
    pub fn handle_disconnected(&mut self, now: Instant) {
        self.pass(now);
        self.connected = false;
        let mut flown = Vec::with_capacity(self.in_flight);
        for (order, item) in &mut self.items {
            item.open = 0;
            item.unanswered = 0;
            item.finals = 0;
            if matches!(item.state, State::InFlight { .. }) {
                flown.push(*order);
            }
        }
        for order in flown {
            self.set_state(order, State::Ready);
        }
    }

    /// A frame came; those that answer no send are ignored.
    pub fn handle_frame(&mut self, now: Instant, frame: &ServerFrame) {
        self.pass(now);
        match frame {
            ServerFrame::Sent {
                cm_id,
                conv,
                seq,
                id,
                at,
                dup,
            } if self.remove(cm_id).is_some() => self.events.push_back(OutboxEvent::Sent {
                cm_id: cm_id.clone(),
                conv: conv.clone(),
                seq: *seq,
                id: *id,
                at: *at,
                dup: *dup,
            }),
            ServerFrame::Err(ErrFrame {
                cm_id: Some(cm_id),
                failure,
                ..
            }) => self.on_err(cm_id, failure),
            _ => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.pass(now);
        while let Some((at, order)) = self.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.set_state(order, State::Ready);
        }
        while let Some((first_try, order)) = self.tried.first().copied() {
            if !self.is_too_old(first_try) {
                break;
            }
            self.on_too_old(order);
        }
    }

    /// Takes back what [`pending`](Self::pending) gave before a restart, in that order and
    /// whatever the bounds of the queue. A `cm_id` that is pending already is skipped.
    pub fn restore(&mut self, pending: impl IntoIterator<Item = PendingDraft>) {
        for PendingDraft { draft, first_try } in pending {
            if !self.is_pending(&draft.cm_id) {
                self.insert(draft, first_try);
            }
        }
    }

    /// The application itself finds that a send can't be sent (its frame is too large, say). Of
    /// one that has left before, nobody knows whether it was stored: it is given up instead.
    pub fn refuse(&mut self, cm_id: &CmId, failure: Failure) {
        if let Some(item) = self.remove(cm_id) {
            let cm_id = item.draft.cm_id;
            self.events.push_back(match item.first_try {
                None => OutboxEvent::Failed { cm_id, failure },
                Some(_) => OutboxEvent::GaveUp { cm_id },
            });
        }
    }

    /// The next frame to write. Call [`handle_timeout`](Self::handle_timeout) before, when the
    /// last call of B is some time ago.
    pub fn poll_transmit(&mut self) -> Option<ClientFrame> {
        while self.can_leave() && self.pace.next() <= self.now {
            let order = self.lanes.first()?;
            let server_now = self.server_time()?;
            let first_try = self.items.get(&order)?.first_try;
            if first_try.is_some_and(|at| self.is_too_old(at)) {
                self.on_too_old(order);
                continue;
            }
            let draft = self.on_leave(order, first_try.unwrap_or(server_now));
            return draft.map(ClientFrame::Send);
        }
        None
    }

    /// What became of a send.
    pub fn poll_event(&mut self) -> Option<OutboxEvent> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let timer = self.timers.first().map(|(at, order)| {
            match self.items.get(order).map(|item| item.state) {
                Some(State::InFlight { .. }) => (*at, "a send has no answer"),
                _ => (*at, "a refused send may leave again"),
            }
        });
        let old = self
            .tried
            .first()
            .and_then(|(first_try, _)| self.too_old_at(*first_try));
        let paced = (self.can_leave() && self.lanes.first().is_some()).then(|| self.pace.next());
        timer
            .into_iter()
            .chain(old.map(|at| (at, "a send is to be given up")))
            .chain(paced.map(|at| (at, "the rate lets the next send leave")))
            .min_by_key(|(at, _)| *at)
    }

    /// Panics when the state is not one that the machine may be in. For tests.
    pub fn assert_invariants(&self) {
        let count = |is: fn(&State) -> bool| self.items.values().filter(|i| is(&i.state)).count();
        let ready = count(|state| matches!(state, State::Ready));
        let flying = count(|state| matches!(state, State::InFlight { .. }));
        let holds = count(|state| matches!(state, State::Refused { holds: true, .. }));
        assert_eq!(flying, self.in_flight, "what is in flight is counted");
        assert!(
            flying <= self.config.window.max(1),
            "never more than the window"
        );
        assert!(
            self.connected || flying == 0,
            "nothing flies without a connection"
        );
        assert_eq!(
            self.timers.len(),
            self.items.len() - ready,
            "who waits has a timer"
        );
        self.lanes
            .assert_invariants(ready, self.items.len() - ready, holds);
        assert_eq!(self.by_cm_id.len(), self.items.len());
        let tried = self
            .items
            .values()
            .filter(|item| item.first_try.is_some())
            .count();
        assert_eq!(
            self.tried.len(),
            tried,
            "what has left will be given up one day"
        );
        let bytes: usize = self
            .items
            .values()
            .map(|item| draft_bytes(&item.draft))
            .sum();
        assert_eq!(bytes, self.bytes);
    }

    fn pass(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn can_leave(&self) -> bool {
        self.connected && self.in_flight < self.config.window.max(1)
    }

    fn insert(&mut self, draft: Draft, first_try: Option<Timestamp>) {
        let order = self.next_order;
        self.next_order += 1;
        self.bytes += draft_bytes(&draft);
        self.by_cm_id.insert(draft.cm_id.clone(), order);
        self.lanes.change(&draft.to, |lane| {
            lane.ready.insert(order);
        });
        self.tried.extend(first_try.map(|at| (at, order)));
        self.items.insert(order, Item::new(draft, first_try));
    }

    fn remove(&mut self, cm_id: &CmId) -> Option<Item> {
        let order = self.by_cm_id.remove(cm_id)?;
        self.set_state(order, State::Ready);
        let item = self.items.remove(&order)?;
        self.lanes.change(&item.draft.to, |lane| {
            lane.ready.remove(&order);
        });
        if let Some(first_try) = item.first_try {
            self.tried.remove(&(first_try, order));
        }
        self.bytes -= draft_bytes(&item.draft);
        Some(item)
    }

    /// The one place where a state changes, so that lanes, timers and counts follow.
    fn set_state(&mut self, order: Order, state: State) {
        let Some(item) = self.items.get_mut(&order) else {
            return;
        };
        let old = std::mem::replace(&mut item.state, state);
        for (state, enters) in [(old, false), (state, true)] {
            self.lanes.change(&item.draft.to, |lane| match state {
                State::Ready if enters => {
                    lane.ready.insert(order);
                }
                State::Ready => {
                    lane.ready.remove(&order);
                }
                State::InFlight { .. } => step(&mut lane.open, enters),
                State::Refused { holds, .. } => {
                    step(&mut lane.open, enters);
                    if holds {
                        step(&mut lane.holds, enters);
                    }
                }
            });
            if let State::InFlight { again: at } | State::Refused { until: at, .. } = state {
                if enters {
                    self.timers.insert((at, order));
                } else {
                    self.timers.remove(&(at, order));
                }
            }
            if matches!(state, State::InFlight { .. }) {
                step(&mut self.in_flight, enters);
            }
        }
    }

    fn on_leave(&mut self, order: Order, first_try: Timestamp) -> Option<Draft> {
        let item = self.items.get_mut(&order)?;
        item.first_try = Some(first_try);
        self.tried.insert((first_try, order));
        let again = self.now + self.config.answer.delay(item.unanswered, &mut self.rng);
        item.unanswered = item.unanswered.saturating_add(1);
        item.open = item.open.saturating_add(1);
        let draft = item.draft.clone();
        self.pace.take(self.now);
        self.set_state(order, State::InFlight { again });
        Some(draft)
    }

    fn on_err(&mut self, cm_id: &CmId, failure: &Failure) {
        let Some(order) = self.by_cm_id.get(cm_id).copied() else {
            return;
        };
        let Some(item) = self.items.get_mut(&order) else {
            return;
        };
        item.open = item.open.saturating_sub(1);
        item.unanswered = 0;
        let Some(retry_after_ms) = failure.retry_after_ms else {
            item.finals += 1;
            if item.open == 0 || item.finals >= FINAL_REFUSALS_MAX {
                self.remove(cm_id);
                self.events.push_back(OutboxEvent::Failed {
                    cm_id: cm_id.clone(),
                    failure: failure.clone(),
                });
            }
            return;
        };
        let asked = Duration::from_millis(retry_after_ms).min(RETRY_AFTER_MAX);
        let own = self.config.retry.delay(item.refusals, &mut self.rng);
        item.refusals = item.refusals.saturating_add(1);
        let until = self.now + at_least(asked, &mut self.rng).max(own);
        let holds = item.refusals <= HOLDING_REFUSALS_MAX;
        if failure.code == ErrorCode::RateLimited {
            // The bucket is the user's: whatever left now would be refused too.
            self.pace.pause(until);
        }
        self.set_state(order, State::Refused { until, holds });
    }

    fn on_too_old(&mut self, order: Order) {
        let cm_id = self.items.get(&order).map(|item| item.draft.cm_id.clone());
        if let Some(cm_id) = cm_id {
            self.remove(&cm_id);
            self.events.push_back(OutboxEvent::GaveUp { cm_id });
        }
    }

    /// The server's time of now.
    fn server_time(&self) -> Option<Timestamp> {
        let (at, said) = self.clock?;
        let passed = self.now.saturating_duration_since(at).as_millis();
        Some(said.plus_ms(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    fn is_too_old(&self, first_try: Timestamp) -> bool {
        self.server_time()
            .is_some_and(|now| now >= first_try.plus_ms(self.recognised_ms()))
    }

    fn too_old_at(&self, first_try: Timestamp) -> Option<Instant> {
        let (at, said) = self.clock?;
        let ms = first_try
            .plus_ms(self.recognised_ms())
            .0
            .saturating_sub(said.0);
        at.checked_add(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    /// For how long a send is tried after its first try.
    fn recognised_ms(&self) -> u64 {
        let dedupe_ms = self.limits.dedupe_ms;
        dedupe_ms - (dedupe_ms / GIVE_UP_MARGIN_PART).min(GIVE_UP_MARGIN_MS_MAX)
    }
}
