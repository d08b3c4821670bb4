//! What was said, or what happened: the items of a conversation's log.

use sha2::{Digest as _, Sha256};

use super::body::{Body, Kind};
use super::id::{CmId, ConversationId, MessageId, Seq, Timestamp, UserId};

/// Where a client sends to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The direct conversation with a user, made when missing.
    User(UserId),
    /// A conversation that exists.
    Conversation(ConversationId),
}

/// Whom an entry mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mentions {
    /// Nobody.
    #[default]
    None,
    /// Everybody: `"*"`.
    All,
    /// These users.
    Users(Vec<UserId>),
}

impl Mentions {
    /// The most users that one entry mentions by name.
    pub const USERS_MAX: usize = 100;

    /// Whether a user is mentioned, by name or with everybody.
    #[must_use]
    pub fn includes(&self, user: &UserId) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Users(users) => users.contains(user),
        }
    }
}

/// What a client asks to store: a `send` frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The client's own id: a retry carries the same one.
    pub cm_id: CmId,
    /// Where to.
    pub to: Target,
    /// What.
    pub body: Body,
    /// The entry that it answers.
    pub reply_to: Option<Seq>,
    /// Whom it mentions.
    pub mentions: Mentions,
    /// How long it lives, in milliseconds from when it is stored.
    pub expires_ms: Option<u64>,
}

impl Draft {
    /// A text to a target.
    #[must_use]
    pub fn text(cm_id: CmId, to: Target, text: impl Into<String>) -> Self {
        Self {
            cm_id,
            to,
            body: Body::text(text),
            reply_to: None,
            mentions: Mentions::None,
            expires_ms: None,
        }
    }

    /// A number of what the client sent, compared as values: two drafts under one `cm_id` are the
    /// same message exactly when their digests are equal (the target aside: a digest is compared
    /// within one conversation only). 64 bits of SHA-256: a user who finds a collision has only
    /// confused messages of their own.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.body.json().as_bytes());
        if self.reply_to.is_some() || self.mentions != Mentions::None || self.expires_ms.is_some() {
            // No body holds U+0000, so what follows it can't be part of one.
            hash.update([0]);
            hash.update(self.reply_to.map_or(0, |seq| seq.0).to_le_bytes());
            hash.update(self.expires_ms.map_or(u64::MAX, |ms| ms).to_le_bytes());
            match &self.mentions {
                Mentions::None => hash.update([0]),
                Mentions::All => hash.update([1]),
                Mentions::Users(users) => {
                    hash.update([2]);
                    for user in users {
                        hash.update(user.as_str().as_bytes());
                        hash.update([0]);
                    }
                }
            }
        }
        let bytes = hash.finalize();
        u64::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ])
    }
}

/// An entry that has no place in a log yet: what a commit appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The message's own id, given by the node.
    pub id: MessageId,
    /// Who said it, or who did it.
    pub from: UserId,
    /// When, by the node's clock.
    pub at: Timestamp,
    /// The client's id; `None` for what the server writes.
    pub cm_id: Option<CmId>,
    /// [`Draft::digest`] of what the client sent, 0 where there is no `cm_id`. Not on the wire.
    pub digest: u64,
    /// What.
    pub body: Body,
    /// The entry that it answers.
    pub reply_to: Option<Seq>,
    /// Whom it mentions.
    pub mentions: Mentions,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl NewEntry {
    /// The entry at its place.
    #[must_use]
    pub fn at(&self, conv: ConversationId, seq: Seq) -> Entry {
        Entry {
            conv,
            seq,
            new: self.clone(),
        }
    }
}

impl NewEntry {
    /// Takes away what it says: who wrote it, when, and its place stay. A `member` entry stays as
    /// it is: a room that lags must still read who left.
    pub fn erase(&mut self) {
        if self.body.kind() == Kind::Member {
            return;
        }
        self.body = Body::of(Kind::Erased, []);
        self.reply_to = None;
        self.mentions = Mentions::None;
        self.expires_at = None;
    }
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose log.
    pub conv: ConversationId,
    /// Its place there.
    pub seq: Seq,
    /// What it is.
    pub new: NewEntry,
}

impl std::ops::Deref for Entry {
    type Target = NewEntry;
    fn deref(&self) -> &NewEntry {
        &self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let to = Target::User(UserId::new("bo").unwrap());
        Draft::text(CmId::new("m1").unwrap(), to, "hi")
    }

    #[test]
    fn every_field_that_the_client_sent_is_in_the_digest() {
        let base = draft();
        let users = |ids: &[&str]| {
            Mentions::Users(ids.iter().map(|id| UserId::new(*id).unwrap()).collect())
        };
        let all = [
            base.clone(),
            Draft {
                body: Body::text("ho"),
                ..base.clone()
            },
            Draft {
                reply_to: Some(Seq(1)),
                ..base.clone()
            },
            Draft {
                expires_ms: Some(0),
                ..base.clone()
            },
            Draft {
                mentions: Mentions::All,
                ..base.clone()
            },
            Draft {
                mentions: users(&["a", "b"]),
                ..base.clone()
            },
            Draft {
                mentions: users(&["ab"]),
                ..base.clone()
            },
        ];
        for (i, a) in all.iter().enumerate() {
            assert_eq!(a.digest(), a.clone().digest());
            for b in &all[i + 1..] {
                assert_ne!(a.digest(), b.digest());
            }
        }
    }
}
