//! What the inbox asks for: one `sync` per connection, and a `pull` per conversation that lacks
//! something.

use std::time::{Duration, Instant};

use super::conv::PullState;
use super::types::InboxEvent;
use super::{Inbox, Ready};
use crate::frame::{ClientFrame, ErrFrame, ErrorCode, Limits, Pull, PullRange, RequestId, Synced};
use crate::machine::backoff::at_least;
use crate::model::ConversationId;

/// What the inbox's own request ids begin with.
const ID_PREFIX: &str = "in-";
/// The longest wait that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SyncState {
    /// No connection.
    #[default]
    Off,
    /// To be asked.
    Wanted,
    /// Asked; asked again when there is no answer by then.
    InFlight { id: i64, until: Instant },
    /// Refused: asked again then.
    Waiting { until: Instant },
    /// Answered to the end.
    Done,
}

/// How this device's list of conversations stands.
#[derive(Debug, Default)]
pub(super) struct Sync {
    pub(super) state: SyncState,
    /// The token to ask with.
    pub(super) since: Option<String>,
    /// The number of the last sync begun.
    pub(super) number: u64,
    /// The number of the last listing from the beginning, and whether it is still going on: a
    /// conversation that it does not name is gone.
    pub(super) listing: u64,
    is_listing: bool,
    /// A line was not taken that the answer on its way need not have.
    missed: bool,
    fruitless: u32,
    /// [`InboxEvent::Synced`] has been told on this connection.
    told: bool,
}

impl Sync {
    /// On a new connection.
    pub(super) const fn start(&mut self) {
        self.told = false;
        // A listing that got nowhere begins again: what was pushed meanwhile may be left by now.
        self.is_listing &= self.since.is_some();
        self.begin();
    }

    /// Once more on this connection, unless it is on its way.
    pub(super) fn again(&mut self) {
        if self.state == SyncState::Done {
            self.begin();
        }
    }

    /// Once more on this connection, also when the answer that is on its way has come.
    pub(super) fn once_more(&mut self) {
        self.missed = true;
        self.again();
    }

    pub(super) const fn timer(&self) -> Option<Instant> {
        match self.state {
            SyncState::InFlight { until, .. } | SyncState::Waiting { until } => Some(until),
            SyncState::Off | SyncState::Wanted | SyncState::Done => None,
        }
    }

    const fn begin(&mut self) {
        self.state = SyncState::Wanted;
        self.missed = false;
        self.number += 1;
    }

    /// Whether what is over now was a listing.
    const fn end_listing(&mut self) -> bool {
        std::mem::replace(&mut self.is_listing, false)
    }

    const fn list(&mut self) {
        self.is_listing = true;
        self.listing += 1;
    }
}

impl Inbox {
    pub(super) fn request_id(id: i64) -> RequestId {
        RequestId::Text(format!("{ID_PREFIX}{id}"))
    }

    pub(super) fn next_sync(&mut self) -> Option<ClientFrame> {
        if self.sync.state != SyncState::Wanted {
            return None;
        }
        if self.sync.since.is_none() && !self.sync.is_listing {
            self.sync.list();
        }
        let id = self.next_id();
        let until = self.now + self.config.answer.delay(self.sync.fruitless, &mut self.rng);
        self.sync.state = SyncState::InFlight { id, until };
        Some(ClientFrame::Sync {
            id: Self::request_id(id),
            since: self.sync.since.clone(),
        })
    }

    pub(super) fn next_pull(&mut self) -> Option<ClientFrame> {
        while self.pulls.len() < self.config.pulls_max {
            let conv = self.queue.pop_front()?;
            let id = self.next_id();
            let Some(state) = self.convs.get_mut(&conv) else {
                continue;
            };
            if state.pull != PullState::Queued {
                continue;
            }
            state.owes_pull = false;
            state.told_since = false;
            let after = state.queued;
            let until = self.now + self.config.answer.delay(state.fruitless, &mut self.rng);
            self.set_pull(&conv, PullState::InFlight { id, until });
            return Some(ClientFrame::Pull(Pull {
                id: Self::request_id(id),
                conv,
                range: PullRange::After(after),
                limit: Limits::PAGE_ENTRIES_MAX,
            }));
        }
        None
    }

    pub(super) fn on_synced(&mut self, synced: &Synced) {
        let is_answer = match (&synced.id, self.sync.state) {
            (Some(id), SyncState::InFlight { id: own, .. }) => *id == Self::request_id(own),
            (Some(_), _) => false,
            // An unasked one, after a `since` in `hello`: ours, if asked, will cover it.
            (None, _) => self.sync.state == SyncState::Done,
        };
        if !is_answer && synced.id.is_some() {
            return;
        }
        if is_answer && synced.reset {
            self.sync.list();
        }
        for line in &synced.convs {
            self.on_line(line, true);
        }
        if !is_answer {
            return;
        }
        let is_stuck = synced.more && self.sync.since.as_ref() == Some(&synced.since);
        self.sync.since = Some(synced.since.clone());
        self.ready.push_back(Ready::Since(synced.since.clone()));
        if is_stuck {
            self.on_sync_again(None);
        } else if synced.more {
            self.sync.fruitless = 0;
            self.sync.state = SyncState::Wanted;
        } else {
            self.sync.fruitless = 0;
            self.sync.state = SyncState::Done;
            if self.sync.end_listing() {
                self.on_listed();
            }
            if self.sync.missed {
                self.sync.begin();
            } else {
                self.unlisted.clear();
            }
        }
    }

    pub(super) fn on_err(&mut self, err: &ErrFrame) {
        let Some(RequestId::Text(text)) = &err.id else {
            return;
        };
        let id = text.strip_prefix(ID_PREFIX).and_then(|id| id.parse().ok());
        let Some(id) = id else {
            return;
        };
        let after = err.failure.retry_after_ms.map(Duration::from_millis);
        if matches!(self.sync.state, SyncState::InFlight { id: own, .. } if own == id) {
            self.on_sync_again(after);
            return;
        }
        let Some(conv) = self.pulls.get(&id).cloned() else {
            return;
        };
        match (after, err.failure.code) {
            (Some(after), _) => {
                self.on_pull_again(&conv, Some(after));
                self.count_fruitless(&conv);
            }
            (None, ErrorCode::NotFound | ErrorCode::NotMember) => {
                let told = self.convs.get(&conv).is_some_and(|state| state.told_since);
                match told {
                    // The refusal is of before they came back, and late.
                    true => self.on_pull_again(&conv, None),
                    false => self.on_gone(&conv),
                }
            }
            (None, _) => {
                self.owe_again(&conv);
                self.set_pull(&conv, PullState::Stopped);
                let failure = err.failure.clone();
                self.tell(InboxEvent::PullFailed { conv, failure });
            }
        }
    }

    pub(super) fn on_sync_timeout(&mut self) {
        let Some(until) = self.sync.timer() else {
            return;
        };
        if until <= self.now {
            if matches!(self.sync.state, SyncState::InFlight { .. }) {
                self.sync.fruitless = self.sync.fruitless.saturating_add(1);
            }
            self.sync.state = SyncState::Wanted;
        }
    }

    pub(super) fn on_pull_timeout(&mut self, conv: &ConversationId) {
        let Some(state) = self.convs.get(conv) else {
            return;
        };
        if matches!(state.pull, PullState::InFlight { .. }) {
            self.count_fruitless(conv);
            self.owe_again(conv);
        }
        self.set_pull(conv, PullState::Idle);
        self.settle(conv);
    }

    /// A pull was refused, or brought nothing: it is sent again later.
    pub(super) fn on_pull_again(&mut self, conv: &ConversationId, after: Option<Duration>) {
        self.owe_again(conv);
        let fruitless = self.convs.get(conv).map_or(0, |state| state.fruitless);
        let until = self.wait(fruitless, after);
        self.set_pull(conv, PullState::Waiting { until });
    }

    /// There is news of a conversation: also one that rests is looked at again.
    pub(super) fn on_news(&mut self, conv: &ConversationId) {
        if let Some(state) = self.convs.get_mut(conv) {
            if self.connected && state.pull == PullState::Stopped {
                state.pull = PullState::Idle;
            }
            self.settle(conv);
        }
    }

    /// Queues a pull if there is something to pull; else tells that the user left, if they did.
    pub(super) fn settle(&mut self, conv: &ConversationId) {
        let Some(state) = self.convs.get_mut(conv) else {
            return;
        };
        if state.wants() {
            if state.pull == PullState::Idle {
                self.set_pull(conv, PullState::Queued);
            }
        } else if state.left && !state.left_told {
            state.left_told = true;
            self.tell(InboxEvent::Left { conv: conv.clone() });
        }
    }

    /// Tells when everything is here.
    pub(super) fn on_settled(&mut self) {
        if self.sync.state == SyncState::Done && self.busy == 0 && !self.sync.told {
            self.sync.told = true;
            self.tell(InboxEvent::Synced);
        }
    }

    /// The one place where a pull's state changes, so that timers and counts follow.
    pub(super) fn set_pull(&mut self, conv: &ConversationId, pull: PullState) {
        let Some(state) = self.convs.get_mut(conv) else {
            return;
        };
        let old = std::mem::replace(&mut state.pull, pull);
        if let Some(at) = old.timer() {
            self.timers.remove(&(at, conv.clone()));
        }
        if let PullState::InFlight { id, .. } = old {
            self.pulls.remove(&id);
        }
        // One that is sent has been taken out already.
        if old == PullState::Queued && !matches!(pull, PullState::InFlight { .. }) {
            self.queue.retain(|queued| queued != conv);
        }
        if let Some(at) = pull.timer() {
            self.timers.insert((at, conv.clone()));
        }
        if let PullState::InFlight { id, .. } = pull {
            self.pulls.insert(id, conv.clone());
        }
        if pull == PullState::Queued {
            self.queue.push_back(conv.clone());
        }
        self.busy += usize::from(pull.is_busy());
        self.busy -= usize::from(old.is_busy());
    }

    fn count_fruitless(&mut self, conv: &ConversationId) {
        if let Some(state) = self.convs.get_mut(conv) {
            state.fruitless = state.fruitless.saturating_add(1);
        }
    }

    fn owe_again(&mut self, conv: &ConversationId) {
        if let Some(state) = self.convs.get_mut(conv) {
            state.owes_pull = true;
        }
    }

    fn on_sync_again(&mut self, after: Option<Duration>) {
        let until = self.wait(self.sync.fruitless, after);
        self.sync.fruitless = self.sync.fruitless.saturating_add(1);
        self.sync.state = SyncState::Waiting { until };
    }

    fn wait(&mut self, fruitless: u32, after: Option<Duration>) -> Instant {
        let asked = after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let own = self.config.retry.delay(fruitless, &mut self.rng);
        self.now + at_least(asked, &mut self.rng).max(own)
    }

    /// A listing is complete: what it did not name is gone. What was announced meanwhile may be
    /// newer than the list, or left already: a pull tells.
    fn on_listed(&mut self) {
        let listing = self.sync.listing;
        let unnamed = self
            .convs
            .iter()
            .filter(|(_, state)| !state.left && state.listed != listing);
        let unnamed: Vec<_> = unnamed
            .map(|(conv, state)| (conv.clone(), state.seen == listing))
            .collect();
        for (conv, announced) in unnamed {
            if announced {
                self.owe_again(&conv);
                self.on_news(&conv);
            } else {
                self.on_gone(&conv);
            }
        }
    }

    const fn next_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }
}
