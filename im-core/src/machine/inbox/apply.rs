//! What entries, pages and lines do to a conversation.

use std::sync::Arc;

use super::conv::{Conv, PullState};
use super::types::{InboxEvent, StartAt};
use super::{Inbox, Ready, before};
use crate::frame::{ConvLine, Page};
use crate::model::{ConversationId, Entry, Epoch, Seq, UserId, Value};
use crate::rule::{MemberEvent, MemberEventOp};

/// After so many final pages that do not reach the head that the server once named, the page is
/// believed.
const EMPTY_PAGES_MAX: u32 = 5;
/// Conversations kept that the server pushed before it listed them; of more only the list tells.
const UNLISTED_MAX: usize = 1_024;

impl Inbox {
    pub(super) fn on_entry(&mut self, entry: &Arc<Entry>) {
        let conv = &entry.conv;
        let Some(state) = self.convs.get_mut(conv) else {
            return self.on_unlisted(conv, entry.seq);
        };
        if state.epoch.is_none() {
            // Which life of the log it belongs to, only a page can tell.
            state.head = state.head.max(entry.seq);
            state.owes_pull = true;
        } else if entry.seq <= state.queued {
            state.owes_pull |= !state.explains(entry.seq);
            if entry.seq <= state.handed.1 {
                self.on_ack_due(entry);
            }
        } else {
            state.pushed = state.pushed.max(entry.seq);
            self.take(entry);
        }
        self.on_news(conv);
    }

    pub(super) fn on_behind(&mut self, conv: &ConversationId, last_seq: Seq, epoch: Epoch) {
        if !self.convs.contains_key(conv) {
            return self.on_unlisted(conv, last_seq);
        }
        self.on_epoch(conv, epoch, None);
        if let Some(state) = self.convs.get_mut(conv) {
            state.head = state.head.max(last_seq);
            state.owes_pull = true;
        }
        self.on_news(conv);
    }

    pub(super) fn on_page(&mut self, page: &Page) {
        let Some(state) = self.convs.get(&page.conv) else {
            return;
        };
        let PullState::InFlight { id, .. } = state.pull else {
            return;
        };
        if page.id != Self::request_id(id) {
            return;
        }
        let from = state.queued;
        self.set_pull(&page.conv, PullState::Idle);
        self.on_epoch(&page.conv, page.epoch, Some(page.first_seq));
        self.on_first_seq(&page.conv, page.first_seq);
        for entry in page.entries.iter().filter(|entry| entry.conv == page.conv) {
            self.take(entry);
        }
        let Some(state) = self.convs.get_mut(&page.conv) else {
            return;
        };
        if let Some(last) = page.entries.last() {
            state.paged = state.paged.max(last.seq);
        }
        if page.more {
            state.head = state.head.max(state.queued.next());
        }
        state.fruitless += 1;
        state.empty += u32::from(!page.more);
        if state.queued != from || state.owes_pull || !state.wants() {
            state.fruitless = 0;
            state.empty = 0;
        } else if state.empty >= EMPTY_PAGES_MAX {
            self.early -= state.early.len();
            state.early.clear();
            state.head = state.queued;
            state.empty = 0;
        } else {
            self.on_pull_again(&page.conv, None);
        }
        self.settle(&page.conv);
    }

    /// A line of `synced`, answering a question (`asked`) or not.
    pub(super) fn on_line(&mut self, line: &ConvLine, asked: bool) {
        let conv = &line.conv;
        let shorter = self
            .convs
            .get(conv)
            .is_some_and(|state| asked && line.last_seq < state.floor(self.sync.number));
        // Who has seen what came after the removal has joined again: the news overtook the line.
        let left = line.left
            && self.convs.get(conv).is_none_or(|state| {
                shorter || state.epoch != Some(line.epoch) || state.head <= line.last_seq
            });
        self.tell(InboxEvent::Conversation(ConvLine {
            left,
            ..line.clone()
        }));
        if !self.convs.contains_key(conv) {
            let start = match self.config.start {
                StartAt::First => before(line.first_seq),
                StartAt::Last => before(line.last_seq.max(line.first_seq)),
            };
            self.create(conv, Some(line.epoch), start);
        }
        let restarted = self.on_epoch(conv, line.epoch, Some(line.first_seq));
        if shorter && !restarted {
            self.on_restart(conv, line.epoch, line.first_seq);
        }
        self.on_first_seq(conv, line.first_seq);
        let Some(state) = self.convs.get_mut(conv) else {
            return;
        };
        state.seen = self.sync.listing;
        if asked {
            state.listed = state.seen;
        } else {
            state.told_since = !left;
        }
        state.head = state.head.max(line.last_seq);
        if let Some(heard) = self.unlisted.remove(conv) {
            state.head = state.head.max(heard);
            // It may be behind already.
            state.owes_pull = true;
        }
        if left {
            state.left = true;
        } else if state.left {
            state.left = false;
            state.left_told = false;
            // The line may have been read before the removal: whether they are in again, a pull
            // tells; the answer to one on its way may be the one to a user who had left.
            state.owes_pull = true;
            if matches!(state.pull, PullState::InFlight { .. }) {
                self.set_pull(conv, PullState::Idle);
            }
        }
        self.on_news(conv);
    }

    /// The `conv` event: a conversation is new to the user, or has changed.
    pub(super) fn on_event(&mut self, event: &Value) {
        if event.get("kind").and_then(Value::as_text) != Some("conv") {
            return;
        }
        let line = event.get("line").cloned().map(ConvLine::from_value);
        let Some(Ok(line)) = line else {
            return;
        };
        if self.ready.len() < self.ready_hard_max() {
            self.on_line(&line, false);
        } else {
            // Nobody takes events: ask again when somebody does.
            self.sync.once_more();
        }
    }

    /// The user can't see the conversation any more.
    pub(super) fn on_gone(&mut self, conv: &ConversationId) {
        self.set_pull(conv, PullState::Idle);
        if let Some(state) = self.convs.get_mut(conv) {
            self.early -= state.early.len();
            state.early.clear();
            state.head = state.queued;
            state.owes_pull = false;
            state.left = true;
        }
        self.settle(conv);
    }

    pub(super) fn tell(&mut self, event: InboxEvent) {
        self.ready.push_back(Ready::Event(event));
    }

    /// A conversation that no line has named yet is not begun: where, and as what, the list says.
    /// It is only kept how far it is. One that the list does not name either, the user has left:
    /// what came of it was the last that they could see.
    fn on_unlisted(&mut self, conv: &ConversationId, seq: Seq) {
        self.sync.again();
        if self.unlisted.len() < UNLISTED_MAX || self.unlisted.contains_key(conv) {
            let heard = self.unlisted.entry(conv.clone()).or_default();
            *heard = seq.max(*heard);
        }
    }

    fn create(&mut self, conv: &ConversationId, epoch: Option<Epoch>, start: Seq) {
        let mut state = Conv::new(self.sync.number, epoch, start);
        state.seen = self.sync.listing;
        self.convs.insert(conv.clone(), state);
    }

    /// Puts an entry in its place: the queue of events, or with those that came early.
    fn take(&mut self, entry: &Arc<Entry>) {
        let room = self.ready_hard_max();
        let Some(state) = self.convs.get_mut(&entry.conv) else {
            return;
        };
        if entry.seq <= state.queued {
            return;
        }
        state.head = state.head.max(entry.seq);
        if entry.seq != state.queued.next() {
            if self.early < self.config.early_max
                && state.early.insert(entry.seq, Arc::clone(entry)).is_none()
            {
                self.early += 1;
            }
            return;
        }
        let mut next = Some(Arc::clone(entry));
        while let Some(entry) = next {
            if self.ready_entries >= room {
                break;
            }
            if state.early.remove(&entry.seq).is_some() {
                self.early -= 1;
            }
            state.advance(self.sync.number, entry.seq);
            // Whether they are in again by now, only the server knows.
            state.owes_pull |= !state.left && ends_membership(&entry, self.user.as_ref());
            self.ready_entries += 1;
            self.ready.push_back(Ready::Event(InboxEvent::Entry(entry)));
            next = state.early.get(&state.queued.next()).cloned();
        }
    }

    /// The log's life is this one. Answers whether it was another one.
    fn on_epoch(&mut self, conv: &ConversationId, epoch: Epoch, first_seq: Option<Seq>) -> bool {
        let Some(state) = self.convs.get_mut(conv) else {
            return false;
        };
        let known = *state.epoch.get_or_insert(epoch);
        if known == epoch {
            if state.handed.0.is_none() {
                state.handed.0 = Some(epoch);
            }
            return false;
        }
        // What was known of the first entry is of the old life too.
        self.on_restart(conv, epoch, first_seq.unwrap_or(Seq(1)));
        true
    }

    fn on_restart(&mut self, conv: &ConversationId, epoch: Epoch, first_seq: Seq) {
        self.set_pull(conv, PullState::Idle);
        if let Some(state) = self.convs.get_mut(conv) {
            self.early -= state.early.len();
            state.restart(self.sync.number, epoch, before(first_seq));
            let conv = conv.clone();
            self.tell(InboxEvent::Reset {
                conv,
                epoch,
                first_seq,
            });
        }
    }

    /// Nothing below is to be had.
    fn on_first_seq(&mut self, conv: &ConversationId, first_seq: Seq) {
        let Some(state) = self.convs.get_mut(conv) else {
            return;
        };
        if first_seq <= state.queued.next() {
            return;
        }
        let early = state.early.len();
        state.early = state.early.split_off(&first_seq);
        self.early -= early - state.early.len();
        state.advance(self.sync.number, before(first_seq));
        state.head = state.head.max(state.queued);
        let conv = conv.clone();
        self.tell(InboxEvent::Trimmed { conv, first_seq });
    }
}

/// Whether the entry says that the user is no member any more.
fn ends_membership(entry: &Entry, user: Option<&UserId>) -> bool {
    let event = MemberEvent::of(&entry.body);
    event.is_some_and(|event| {
        matches!(event.op, MemberEventOp::Leave | MemberEventOp::Remove)
            && user.is_some_and(|user| event.users.contains(user))
    })
}
