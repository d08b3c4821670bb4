//! What a client tells the application, and how slowly the application may take it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use im_core::frame::{ConvLine, Failure, Welcome};
use im_core::machine::{InboxEvent, OutboxEvent};
use im_core::model::{ConversationId, Entry, Epoch, Seq, Timestamp, UserId, Value};
use tokio::sync::{Notify, mpsc};

use crate::error::Stopped;

/// How many events wait for the application; with more the client takes no more entries.
pub(crate) const EVENTS_MAX: usize = 256;

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection is up.
    Connected(Box<Welcome>),
    /// What the server says of a conversation now. It comes before the first entry of a
    /// conversation that is new to this device.
    Conversation(ConvLine),
    /// The connection is gone; the client makes another one.
    Disconnected,
    /// The next entry of its conversation: in order, without a hole, once.
    Entry(Arc<Entry>),
    /// The user is no member of a conversation any more; see [`InboxEvent::Left`].
    Left {
        /// Which.
        conv: ConversationId,
    },
    /// An event of a kind that this version does not know.
    Other(Value),
    /// Whether a watched user is here (`presence.watch`).
    Presence {
        /// Who.
        user: UserId,
        /// `online` or `offline`.
        state: String,
        /// Since when.
        at: Timestamp,
    },
    /// A conversation can't be read; see [`InboxEvent::PullFailed`].
    PullFailed {
        /// Which.
        conv: ConversationId,
        /// Why.
        failure: Failure,
    },
    /// A member's cursor moved.
    Receipt {
        /// Where.
        conv: ConversationId,
        /// Whose.
        user: UserId,
        /// Up to where entries arrived.
        delivered: Option<Seq>,
        /// Up to where they were read.
        read: Option<Seq>,
    },
    /// The log lost entries: drop the copy of this conversation, it comes again from `first_seq`.
    Reset {
        /// Which.
        conv: ConversationId,
        /// The log's new life.
        epoch: Epoch,
        /// Where it begins again.
        first_seq: Seq,
    },
    /// What became of a send whose future nobody awaits: one from before a restart, or one whose
    /// future was dropped.
    Send(OutboxEvent),
    /// The client has stopped: the last event.
    Stopped(Stopped),
    /// Everything that the server had when the connection was made has been handed out.
    Synced,
    /// What lies below `first_seq` is not to be had; the next entry is that one.
    Trimmed {
        /// Which.
        conv: ConversationId,
        /// Where it goes on.
        first_seq: Seq,
    },
    /// Somebody is typing.
    Typing {
        /// Where.
        conv: ConversationId,
        /// Who.
        user: UserId,
    },
}

impl From<InboxEvent> for Event {
    fn from(event: InboxEvent) -> Self {
        match event {
            InboxEvent::Conversation(line) => Self::Conversation(line),
            InboxEvent::Entry(entry) => Self::Entry(entry),
            InboxEvent::Left { conv } => Self::Left { conv },
            InboxEvent::PullFailed { conv, failure } => Self::PullFailed { conv, failure },
            InboxEvent::Reset {
                conv,
                epoch,
                first_seq,
            } => Self::Reset {
                conv,
                epoch,
                first_seq,
            },
            InboxEvent::Synced => Self::Synced,
            InboxEvent::Trimmed { conv, first_seq } => Self::Trimmed { conv, first_seq },
        }
    }
}

/// What the driver and the application's side share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The number of the last event that the application is done with.
    taken: AtomicU64,
    /// Wakes the driver when `taken` grows.
    pub(crate) took: Notify,
    pub(crate) stopped: OnceLock<Stopped>,
}

impl Shared {
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    fn take(&self, number: u64) {
        if self.taken.fetch_max(number, Ordering::AcqRel) < number {
            self.took.notify_one();
        }
    }
}

/// The events of a client, in order. Also a [`Stream`].
///
/// **Take them**: at most 256 wait. While they do, the client goes on reading and sending, but
/// takes no more entries from the server: it neither acks nor pulls, so the server's window fills
/// and the log keeps what comes. `typing` and `presence` are dropped meanwhile, receipts of the
/// same user merged, and of connections only the last state is told. Who drops this stream gets no
/// entries, and no cursor moves.
///
/// **With a state file**, an event counts as dealt with when the next one is asked for, or by
/// [`confirm`](Self::confirm). After a crash those that did not count come again.
#[derive(Debug)]
pub struct Events {
    pub(crate) from: mpsc::Receiver<(u64, Event)>,
    pub(crate) shared: Arc<Shared>,
    /// The last event handed out.
    pub(crate) last: u64,
    pub(crate) ended: bool,
}

impl Events {
    /// The next event; `None` after [`Event::Stopped`]. Losing the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Everything handed out so far is dealt with. Asking for the next event says the same.
    pub fn confirm(&self) {
        self.shared.take(self.last);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.confirm();
        if let Some((number, event)) = ready!(self.from.poll_recv(cx)) {
            self.last = number;
            return Poll::Ready(Some(event));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let stopped = self.shared.stopped.get().cloned();
        Poll::Ready(Some(Event::Stopped(stopped.unwrap_or(Stopped::Closed))))
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx)
    }
}
