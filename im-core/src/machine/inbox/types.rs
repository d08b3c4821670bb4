//! What comes out of an inbox, and what it is told to keep to.

use std::sync::Arc;
use std::time::Duration;

use crate::frame::{ConvLine, Failure};
use crate::machine::Backoff;
use crate::model::{ConversationId, Entry, Epoch, Seq};

/// Where to begin with a conversation that is new to this device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the first entry that the user may see: the whole history is pulled.
    #[default]
    First,
    /// At the last entry: only that one and what comes from now on.
    Last,
}

/// Bounds and times of an [`Inbox`](super::Inbox).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxConfig {
    /// Where to begin with a new conversation.
    pub start: StartAt,
    /// The most pulls in flight, one per conversation. Default 16: a server takes 32 requests at a
    /// time, and the application has some too.
    pub pulls_max: usize,
    /// With so many events that nobody has taken, nothing more is pulled. Default 1,024. What is
    /// in flight then still comes, so the most entries held are this and a page per pull; beyond
    /// that an entry is dropped, and pulled later.
    pub ready_max: usize,
    /// The most entries held that came before their turn. Default 256. One more is dropped, and
    /// pulled later.
    pub early_max: usize,
    /// How long to wait for an answer to a `pull` or `sync`. Default 15 s to 60 s.
    pub answer: Backoff,
    /// How long to wait after a refusal. Default 0.2 s to 30 s.
    pub retry: Backoff,
}

impl Default for InboxConfig {
    fn default() -> Self {
        Self {
            start: StartAt::First,
            pulls_max: 16,
            ready_max: 1_024,
            early_max: 256,
            answer: Backoff::new(Duration::from_secs(15), Duration::from_secs(60)),
            retry: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// What the inbox tells the application, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEvent {
    /// What the server says of a conversation now. It comes before the conversation's first entry.
    Conversation(ConvLine),
    /// The next entry of its conversation: its `seq` follows the last one's, or begins where
    /// [`Reset`](Self::Reset), [`Trimmed`](Self::Trimmed) or the first
    /// [`Conversation`](Self::Conversation) said.
    Entry(Arc<Entry>),
    /// The user is no member any more, says the server. The entries up to the removal have come
    /// before.
    Left {
        /// Which.
        conv: ConversationId,
    },
    /// A pull was refused for good. The conversation rests until the server mentions it again or
    /// the next connection.
    PullFailed {
        /// Which.
        conv: ConversationId,
        /// Why.
        failure: Failure,
    },
    /// The log lost entries that this device may have seen. Drop the copy: it comes again from
    /// `first_seq`.
    Reset {
        /// Which.
        conv: ConversationId,
        /// The log's new life.
        epoch: Epoch,
        /// Where it begins again.
        first_seq: Seq,
    },
    /// Everything that the server had when the connection was made has been handed out. Once per
    /// connection.
    Synced,
    /// What lies below `first_seq` is not to be had (trimmed, or from before the user joined): the
    /// next entry is that one.
    Trimmed {
        /// Which.
        conv: ConversationId,
        /// Where it goes on.
        first_seq: Seq,
    },
}

/// How far a device is in a conversation, as a durable file keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which.
    pub conv: ConversationId,
    /// The log's life that `seq` belongs to, if known.
    pub epoch: Option<Epoch>,
    /// The last entry handed out.
    pub seq: Seq,
    /// The last entry known of: what lies between is still to be pulled, and no later `sync` has
    /// to mention it again.
    pub head: Seq,
    /// The user is no member any more.
    pub left: bool,
}
