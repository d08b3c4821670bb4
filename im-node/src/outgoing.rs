//! What waits to be written to a connection.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use im_core::frame::{CloseCode, Codec, ServerFrame, encode};
use im_core::model::Entry;

/// An entry on its way out: encoded once per codec, whoever gets it.
#[derive(Debug)]
pub(crate) struct OutEntry {
    pub(crate) entry: Arc<Entry>,
    json: OnceLock<Bytes>,
    messagepack: OnceLock<Bytes>,
}

impl OutEntry {
    pub(crate) const fn new(entry: Arc<Entry>) -> Self {
        Self {
            entry,
            json: OnceLock::new(),
            messagepack: OnceLock::new(),
        }
    }

    fn bytes(&self, codec: Codec) -> Bytes {
        let slot = match codec {
            Codec::Json => &self.json,
            Codec::MessagePack => &self.messagepack,
        };
        slot.get_or_init(|| encode(codec, &ServerFrame::Entry(Arc::clone(&self.entry))))
            .clone()
    }
}

/// An item of a connection's queue.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Entry(Arc<OutEntry>),
    Frame(Box<ServerFrame>),
    Ping,
}

/// What a transport writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A frame, in the connection's codec.
    Frame(Bytes),
    /// The transport's own ping.
    Ping,
    /// Nothing comes after this: close the connection with this code.
    Close(CloseCode),
}

impl Outgoing {
    pub(crate) fn into_output(self, codec: Codec) -> Output {
        match self {
            Self::Entry(entry) => Output::Frame(entry.bytes(codec)),
            Self::Frame(frame) => Output::Frame(encode(codec, &frame)),
            Self::Ping => Output::Ping,
        }
    }

    /// Takes a newer frame into this one, if both say the same of the same.
    pub(crate) fn merge(&mut self, newer: &ServerFrame) -> bool {
        let Self::Frame(waiting) = self else {
            return false;
        };
        match (&mut **waiting, newer) {
            (
                ServerFrame::Receipt {
                    conv,
                    user,
                    delivered,
                    read,
                },
                ServerFrame::Receipt {
                    conv: conv2,
                    user: user2,
                    delivered: delivered2,
                    read: read2,
                },
            ) if conv == conv2 && user == user2 => {
                *delivered = (*delivered).max(*delivered2);
                *read = (*read).max(*read2);
                true
            }
            (ServerFrame::Presence { user, .. }, ServerFrame::Presence { user: user2, .. })
                if user == user2 =>
            {
                **waiting = newer.clone();
                true
            }
            _ => false,
        }
    }
}
