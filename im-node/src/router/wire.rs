//! What nodes tell each other, as it is written.

use std::sync::Arc;

use im_core::frame::ServerFrame;
use im_core::model::{
    Body, CmId, ConnectionId, ConversationId, ConversationKind, DeviceId, Entry, Kind, Mentions,
    MessageId, NewEntry, Role, Seq, Timestamp, UserId,
};
use im_core::port::NewConversation;
use serde::{Deserialize, Serialize};

use crate::moderation::List;

/// What nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BusMessage {
    /// A conversation got entries, and maybe began with them.
    News {
        conv: ConversationId,
        created: Option<Created>,
        entries: Vec<BusEntry>,
    },
    /// Something was not told: the store is to be asked.
    Missed,
    /// A cursor moved.
    Receipt {
        conv: ConversationId,
        user: UserId,
        delivered: Option<Seq>,
        read: Option<Seq>,
    },
    /// Somebody is typing.
    Typing { conv: ConversationId, user: UserId },
    /// A user came or went.
    Presence {
        user: UserId,
        online: bool,
        at: Timestamp,
    },
    /// Who may see whether a user is here, and whom they may see, has changed.
    Watch { user: UserId },
    /// A device connected elsewhere: its connection here ends.
    /// Connections are numbered by each start of each node, so the lease says which one is meant.
    Replaced {
        node: String,
        epoch: u64,
        user: UserId,
        device: DeviceId,
        conn: ConnectionId,
    },
    /// A user's connections end, or those of one device.
    Revoked {
        user: UserId,
        device: Option<DeviceId>,
    },
    /// An event for all devices of some users, as JSON.
    Told { users: Vec<UserId>, event: String },
    /// What was read of blocks in a direct conversation is out of date.
    Blocks { conv: ConversationId },
    /// A list that every node keeps in memory is out of date.
    Changed { list: List },
}

/// How a conversation began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Created {
    kind: ConversationKind,
    title: Option<String>,
    hide_history: bool,
    members: Vec<(UserId, Role)>,
}

impl Created {
    pub(super) fn of(made: &NewConversation) -> Self {
        Self {
            kind: made.kind,
            title: made.title.clone(),
            hide_history: made.hide_history,
            members: made.members.clone(),
        }
    }

    pub(super) fn into_new(self) -> NewConversation {
        NewConversation {
            kind: self.kind,
            title: self.title,
            hide_history: self.hide_history,
            members: self.members,
        }
    }
}

/// An entry between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BusEntry {
    seq: Seq,
    id: u64,
    from: UserId,
    at: Timestamp,
    cm_id: Option<CmId>,
    digest: u64,
    kind: String,
    body: Arc<str>,
    reply_to: Option<Seq>,
    mention_all: bool,
    mentions: Vec<UserId>,
    expires_at: Option<Timestamp>,
}

impl BusEntry {
    pub(super) fn of(entry: &Entry) -> Self {
        let mentions = match &entry.mentions {
            Mentions::Users(users) => users.clone(),
            Mentions::None | Mentions::All => Vec::new(),
        };
        Self {
            seq: entry.seq,
            id: entry.id.0,
            from: entry.from.clone(),
            at: entry.at,
            cm_id: entry.cm_id.clone(),
            digest: entry.digest,
            kind: entry.body.kind().as_str().to_owned(),
            body: Arc::clone(entry.body.json()),
            reply_to: entry.reply_to,
            mention_all: entry.mentions == Mentions::All,
            mentions,
            expires_at: entry.expires_at,
        }
    }

    /// `None` when it is of a kind that this version does not know: the store is read instead.
    pub(super) fn into_entry(self, conv: &ConversationId) -> Option<Entry> {
        let mentions = match (self.mention_all, self.mentions.is_empty()) {
            (true, _) => Mentions::All,
            (false, true) => Mentions::None,
            (false, false) => Mentions::Users(self.mentions),
        };
        let new = NewEntry {
            id: MessageId(self.id),
            from: self.from,
            at: self.at,
            cm_id: self.cm_id,
            digest: self.digest,
            body: Body::from_stored(Kind::parse(&self.kind)?, self.body),
            reply_to: self.reply_to,
            mentions,
            expires_at: self.expires_at,
        };
        Some(Entry {
            conv: conv.clone(),
            seq: self.seq,
            new,
        })
    }
}

impl BusMessage {
    pub(crate) fn receipt(receipt: &ServerFrame) -> Option<Self> {
        let ServerFrame::Receipt {
            conv,
            user,
            delivered,
            read,
        } = receipt
        else {
            return None;
        };
        let (conv, user) = (conv.clone(), user.clone());
        Some(Self::Receipt {
            conv,
            user,
            delivered: *delivered,
            read: *read,
        })
    }
}
