//! Conversations and their members.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::id::{ConversationId, Epoch, Holder, Seq, Timestamp, UserId};
use crate::named::named;

named! {
    /// What a conversation is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ConversationKind {
        /// Two users, or one user alone.
        Direct = "direct",
        /// Users who joined.
        Group = "group",
        /// Few write, many read.
        Channel = "channel",
        /// A visitor and the service desk.
        Desk = "desk",
        /// What the staff did. It has no members, and whoever asks for it by its id gets what
        /// strangers get.
        Audit = "audit",
    }
}

impl ConversationKind {
    /// Whether its members have roles, and come and go.
    #[must_use]
    pub const fn has_roles(self) -> bool {
        matches!(self, Self::Group | Self::Channel)
    }
}

named! {
    /// What a member may do in a group. Ordered: an owner is above an admin.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Role {
        /// Speaks and reads.
        Member = "member",
        /// Adds, removes and mutes members.
        Admin = "admin",
        /// Everything, and gives roles. A group has exactly one.
        Owner = "owner",
        /// Above everybody, and no member has it: where this is the least role that may do
        /// something, nobody may.
        Nobody = "nobody",
    }
}

/// A conversation as the store has it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// What it is.
    pub kind: ConversationKind,
    /// Its title; groups and channels have one.
    pub title: Option<String>,
    /// The number of the log's life.
    pub epoch: Epoch,
    /// The place of the last entry, 0 when there is none.
    pub head: Seq,
    /// The place of the last entry that changed members, roles or rules: what a commit's
    /// `expect_version` is compared with.
    pub version: Seq,
    /// The place of the first entry that the log still holds, 1 at first.
    pub first_seq: Seq,
    /// How many members it has now.
    pub member_count: u32,
    /// Whether those who join see only what comes after.
    pub hide_history: bool,
    /// The least role that may say something here; [`Role::Nobody`] once it was disbanded.
    pub speaks: Role,
    /// How often entries of its log were erased.
    pub erasures: u64,
    /// Who alone may change the log now: see [`Write::Hold`](crate::port::Write::Hold).
    pub holder: Holder,
}

impl Conversation {
    /// Whether it was disbanded: it is read, and nothing is said or changed in it any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.speaks == Role::Nobody
    }
}

/// A user's place in a conversation, also of one who has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// The first entry that they may see.
    pub first_seq: Seq,
    /// The removal's own entry, the last that they may see; `None` while they are a member.
    pub left_seq: Option<Seq>,
    /// The place of the entry that last changed this member (joining, role, mute, leaving); 0 for
    /// those who came with the conversation.
    pub version: Seq,
    /// They can't speak before that time.
    pub muted_until: Option<Timestamp>,
    /// Up to where entries have arrived at their furthest device.
    pub delivered: Seq,
    /// Up to where they have read.
    pub read: Seq,
}

impl Member {
    /// Whether they are a member now.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        self.left_seq.is_none()
    }
}

/// The id of the direct conversation of two users (or of one alone): `d-` and 128 bits of
/// SHA-256 over both ids in order, so that it needs no look-up and nobody can make two pairs
/// share one (2^64 tries for any pair, 2^128 for a given one).
#[must_use]
pub fn direct_id(a: &UserId, b: &UserId) -> ConversationId {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    hashed("d-", low.as_str(), high.as_str())
}

/// The id of the group that a request with an idempotency key makes: `g-` and 128 bits of SHA-256
/// over the user and the key, so that the same request is about the same conversation each time.
#[must_use]
pub fn requested_id(user: &UserId, key: &str) -> ConversationId {
    hashed("g-", user.as_str(), key)
}

/// No id holds a control character, so what joins the two can't be part of the first.
fn hashed(prefix: &str, first: &str, second: &str) -> ConversationId {
    let mut hash = Sha256::new();
    hash.update(first.as_bytes());
    hash.update([0]);
    hash.update(second.as_bytes());
    let mut id = String::with_capacity(34);
    id.push_str(prefix);
    for byte in &hash.finalize()[..16] {
        let _ = write!(id, "{byte:02x}");
    }
    match ConversationId::new(id) {
        Ok(id) => id,
        Err(_) => unreachable!("34 hexadecimal characters are an id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_id_is_the_same_from_both_sides_and_no_two_pairs_share_one() {
        let user = |id: &str| UserId::new(id).unwrap();
        assert_eq!(
            direct_id(&user("a"), &user("b")),
            direct_id(&user("b"), &user("a"))
        );
        assert_ne!(
            direct_id(&user("ab"), &user("c")),
            direct_id(&user("a"), &user("bc"))
        );
        assert_ne!(
            direct_id(&user("a"), &user("a")),
            direct_id(&user("a"), &user("b"))
        );
    }
}
