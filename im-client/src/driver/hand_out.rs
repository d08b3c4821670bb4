//! From the driver to the application: what waits, what is merged, what counts as dealt with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use im_core::machine::{Cursor, Inbox, InboxEvent};
use im_core::model::{ConversationId, Seq, UserId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::event::{Event, Shared};
use crate::state::StateFile;

/// How many outcomes of sends that nobody awaits are kept for an application that takes no events.
const OWN_MAX: usize = 1_024;
/// The most receipts that are merged while the application takes no events.
const RECEIPTS_MAX: usize = 1_024;

/// A change of the state file that counts once the application has dealt with an event.
#[derive(Debug)]
enum Change {
    Cursor(Cursor),
    Since(String),
}

/// The driver's end of the events.
#[derive(Debug)]
pub(super) struct HandOut {
    to: mpsc::Sender<(u64, Event)>,
    shared: Arc<Shared>,
    /// The last that happened to the connection.
    status: Option<Event>,
    own: VecDeque<Event>,
    receipts: BTreeMap<(ConversationId, UserId), (Option<Seq>, Option<Seq>)>,
    /// The number of the last event handed out.
    last: u64,
    since: Option<String>,
    keeps_state: bool,
    unsaved: VecDeque<(u64, Change)>,
    /// There is more to hand out than there is room.
    pub(super) is_blocked: bool,
}

impl HandOut {
    pub(super) fn new(
        to: mpsc::Sender<(u64, Event)>,
        shared: Arc<Shared>,
        since: Option<String>,
        keeps_state: bool,
    ) -> Self {
        Self {
            to,
            shared,
            status: None,
            own: VecDeque::new(),
            receipts: BTreeMap::new(),
            last: 0,
            since,
            keeps_state,
            unsaved: VecDeque::new(),
            is_blocked: false,
        }
    }

    /// Whether the application wants no events any more.
    pub(super) fn is_closed(&self) -> bool {
        self.to.is_closed()
    }

    /// Waits until the application wants no events any more.
    pub(super) async fn closed(&self) {
        self.to.closed().await;
    }

    /// Waits for room.
    pub(super) async fn has_room(&self) {
        let _ = self.to.reserve().await;
    }

    /// Waits until the application has dealt with more.
    pub(super) async fn taken(&self) {
        self.shared.took.notified().await;
    }

    /// What happened to the connection; an earlier status that nobody has seen is forgotten.
    pub(super) fn status(&mut self, event: Event) {
        self.status = Some(event);
    }

    /// An event that must not be lost.
    pub(super) fn tell(&mut self, event: Event) {
        if self.is_closed() {
            return;
        }
        self.own.push_back(event);
        if self.own.len() > OWN_MAX {
            self.own.pop_front();
            tracing::warn!("the application takes no events: one is dropped");
        }
    }

    /// An event that is worth nothing later.
    pub(super) fn tell_now(&mut self, event: Event) {
        if !self.is_blocked && self.own.len() < OWN_MAX / 2 {
            self.tell(event);
        }
    }

    /// A cursor moved.
    pub(super) fn receipt(
        &mut self,
        conv: ConversationId,
        user: UserId,
        delivered: Option<Seq>,
        read: Option<Seq>,
    ) {
        if self.receipts.len() < RECEIPTS_MAX && !self.is_closed() {
            let merged = self.receipts.entry((conv, user)).or_default();
            merged.0 = merged.0.max(delivered);
            merged.1 = merged.1.max(read);
        }
    }

    /// Hands out as much as there is room for.
    pub(super) fn hand_out(&mut self, inbox: &mut Inbox) {
        self.is_blocked = false;
        loop {
            let permit = match self.to.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(TrySendError::Full(_)) => {
                    self.is_blocked = true;
                    return;
                }
                Err(TrySendError::Closed(_)) => {
                    self.unsaved.clear();
                    return;
                }
            };
            let (event, cursor) = match self.next_own() {
                Some(event) => (event, None),
                None => match self.next_of(inbox) {
                    Some(next) => next,
                    None => return,
                },
            };
            self.last += 1;
            if let Some(cursor) = cursor {
                self.unsaved.push_back((self.last, Change::Cursor(cursor)));
            }
            permit.send((self.last, event));
        }
    }

    /// Moves what the application has dealt with into the state file.
    pub(super) fn settle(&mut self, state: &mut StateFile) {
        let taken = self.shared.taken();
        while let Some((_, change)) = self.unsaved.pop_front_if(|(number, _)| *number <= taken) {
            match change {
                Change::Cursor(cursor) => state.cursor(cursor),
                Change::Since(token) => state.since(token),
            }
        }
    }

    fn next_own(&mut self) -> Option<Event> {
        if let Some(event) = self.status.take().or_else(|| self.own.pop_front()) {
            return Some(event);
        }
        let ((conv, user), (delivered, read)) = self.receipts.pop_first()?;
        Some(Event::Receipt {
            conv,
            user,
            delivered,
            read,
        })
    }

    fn next_of(&mut self, inbox: &mut Inbox) -> Option<(Event, Option<Cursor>)> {
        let event = inbox.poll_event();
        if !self.keeps_state {
            return event.map(|event| (event.into(), None));
        }
        if inbox.since() != self.since.as_deref() {
            self.since = inbox.since().map(str::to_owned);
            let token = self.since.clone().map(Change::Since);
            // It covers what was handed out before this event.
            self.unsaved.extend(token.map(|token| (self.last, token)));
        }
        let event = event?;
        let cursor = conversation(&event).and_then(|conv| inbox.cursor(conv));
        Some((event.into(), cursor))
    }
}

fn conversation(event: &InboxEvent) -> Option<&ConversationId> {
    match event {
        InboxEvent::Conversation(line) => Some(&line.conv),
        InboxEvent::Entry(entry) => Some(&entry.conv),
        InboxEvent::Left { conv }
        | InboxEvent::PullFailed { conv, .. }
        | InboxEvent::Reset { conv, .. }
        | InboxEvent::Trimmed { conv, .. } => Some(conv),
        InboxEvent::Synced => None,
    }
}
