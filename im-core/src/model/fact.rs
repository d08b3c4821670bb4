//! Facts: the small things beside the logs, such as a friendship, a draft, a pin.

use super::blob::BlobId;
use super::conversation::direct_id;
use super::id::{ConversationId, Timestamp, UserId};
use super::slot::Slot;
use crate::named::named;

/// The conversation that the facts of everybody are placed with. Nobody is in it. Its log is the
/// [audit log](everyone), made by the first entry of that.
const EVERYONE: &str = "everyone";

/// The conversation that the facts of everybody are placed with. Its log is the audit log, so that
/// what a member of the staff changes of those facts and the entry that tells of it are one commit.
#[must_use]
pub fn everyone() -> ConversationId {
    match ConversationId::new(EVERYONE) {
        Ok(id) => id,
        Err(_) => unreachable!("a short text without control characters is an id"),
    }
}

/// Whose a fact is: that decides with which conversation it is placed, and so which commit can
/// write it and which database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactOwner {
    /// One user's. Placed with their conversation of one.
    User,
    /// One user's about another: the key is the other's id. Placed with their direct conversation,
    /// so that one commit writes what either has about the other.
    Pair,
    /// A conversation's own.
    Conversation,
    /// A blob's own: the owner is its [id](super::BlobId).
    Blob,
    /// Nobody's alone; the owner is a name for a part of the table.
    Everyone,
}

named! {
    /// A kind of facts.
    pub enum FactTable {
        /// How often a node started, key `""`. `Everyone`.
        Start = "start",
        /// A user's friend: what they call them, in which list, since when. `Pair`.
        Friend = "friend",
        /// Who asked a user to be their friend: the owner was asked by the key. `Pair`.
        FriendRequest = "friend_request",
        /// The same from the other side: the owner asked the key. `Pair`.
        FriendAsked = "friend_asked",
        /// What a user says of themselves, key `""`. `User`.
        Profile = "profile",
        /// What of a user others may see, by name. `User`.
        Privacy = "privacy",
        /// When a user was here last, in Unix milliseconds, key `""`. `User`.
        Seen = "seen",
        /// What a user has begun to write, by conversation. `User`.
        Draft = "draft",
        /// Messages that a user no longer wants to see: `conv` `\n` place. `User`.
        Hidden = "hidden",
        /// What was done to a message later: [`Mark`](crate::rule::Mark). `Conversation`.
        Mark = "mark",
        /// Messages that end, by their id. `Conversation`.
        Expiry = "expiry",
        /// Messages that are pinned, by place. `Conversation`.
        Pin = "pin",
        /// A conversation's settings, key `""`: all in one. `Conversation`.
        Rule = "rule",
        /// Who asks to come in, by user. `Conversation`.
        JoinRequest = "join_request",
        /// Links by which one comes in, by their secret. `Conversation`.
        Invite = "invite",
        /// Who may not come in again, by user. `Conversation`.
        Ban = "ban",
        /// What members are called here, by user. `Conversation`.
        Nick = "nick",
        /// Announcements, by the id of their entry. `Conversation`.
        Announcement = "announcement",
        /// Who has confirmed an announcement: its id `\n` user. `Conversation`.
        Confirmed = "confirmed",
        /// What is, or is to be, in the directory of a channel, key `""`. `Conversation`.
        Listing = "listing",
        /// The directory of public channels: words of the title `\n` `conv`. `Everyone`.
        Listed = "listed",
        /// What a user wants to be told of, by conversation. `User`.
        Notify = "notify",
        /// Messages that wait for their time, by their `cm_id`. `User`.
        Scheduled = "scheduled",
        /// Sensitive words, as they are written. `Everyone`, owner `""`.
        Word = "word",
        /// Packs of stickers, by id. `Everyone`, owner `""`.
        Pack = "pack",
        /// Which sticker a shortcode is, by code. `Everyone`, owner `""`.
        Shortcode = "shortcode",
        /// Packs of stickers that a user has for themselves, by id. `User`.
        Collected = "collected",
        /// Stickers that a user keeps at hand: pack `\n` id. `User`.
        Kept = "kept",
        /// Who is banned, muted everywhere, or known as staff (the owner says which), by user.
        /// `Everyone`.
        Standing = "standing",
        /// What every node keeps in memory, by name: another value means that it has changed.
        /// `Everyone`, owner `""`.
        Version = "version",
        /// Messages with a word that somebody must look at, by their id. `Conversation`.
        Review = "review",
        /// What users reported, by time: owner `open` or `done`. `Everyone`.
        Report = "report",
        /// What a user has reported and nobody has dealt with: the owner is the user. `Everyone`.
        Reported = "reported",
        /// What happened on a day, by day and start of a node. `Everyone`, owner `""`.
        Count = "count",
        /// A user's uploads, by id: [`Upload`](super::Upload). `User`.
        Upload = "upload",
        /// How much a user's uploads take, key `""`. `User`.
        Usage = "usage",
        /// What is known of a blob, key `""`: [`Blob`](super::Blob). `Blob`.
        Blob = "blob",
        /// Where a blob was named: conversation, `\n`, and a number of the message. `Blob`.
        BlobRef = "blob_ref",
        /// Messages that named a blob and are gone: blob, `\n`, place. `Conversation`.
        BlobGone = "blob_gone",
        /// How far a follower of the log looked, and who it is; by its name, key `""`. `Everyone`.
        OutCursor = "out_cursor",
        /// How far a follower told a conversation: the key is its name. `Conversation`.
        OutPlace = "out_place",
        /// Conversations that a follower still has to tell: its name, conversation. `Everyone`.
        OutWait = "out_wait",
        /// What a follower gave up, with when: its name `\n` place. `Conversation`.
        OutDead = "out_dead",
        /// Where a user wants to be pushed to: [`PushTarget`](super::PushTarget). `User`.
        PushTarget = "push_target",
        /// Conversations that a user wants no pushes from, until when (0: for ever). `User`.
        PushMute = "push_mute",
        /// Keys of programs that send, by their id. `Everyone`.
        ApiKey = "api_key",
        /// What seals what a user wrote, itself sealed, key `""`. `User`.
        DataKey = "data_key",
        /// Which master keys seal data keys, by their numbers. `Everyone`.
        MasterKey = "master_key",
        /// That a user is being erased, or was, key `""`. `User`.
        Erasure = "erasure",
        /// What a node does over all conversations, and how far it is, by name. `Everyone`.
        Upkeep = "upkeep",
        /// Up to which place a conversation's entries were let go, key `""`. `Conversation`.
        Cleared = "cleared",
    }
}

impl FactTable {
    /// Whose its facts are.
    #[must_use]
    pub const fn owner(self) -> FactOwner {
        match self {
            Self::Friend | Self::FriendRequest | Self::FriendAsked => FactOwner::Pair,
            Self::Profile
            | Self::Privacy
            | Self::Seen
            | Self::Draft
            | Self::Hidden
            | Self::Collected
            | Self::Kept
            | Self::PushTarget
            | Self::PushMute
            | Self::Notify
            | Self::Scheduled
            | Self::DataKey
            | Self::Erasure
            | Self::Upload
            | Self::Usage => FactOwner::User,
            Self::Mark
            | Self::Expiry
            | Self::Pin
            | Self::Rule
            | Self::Review
            | Self::Cleared
            | Self::BlobGone
            | Self::OutPlace
            | Self::OutDead
            | Self::JoinRequest
            | Self::Invite
            | Self::Ban
            | Self::Nick
            | Self::Announcement
            | Self::Confirmed
            | Self::Listing => FactOwner::Conversation,
            Self::Blob | Self::BlobRef => FactOwner::Blob,
            Self::Start
            | Self::Listed
            | Self::Word
            | Self::Pack
            | Self::Shortcode
            | Self::Standing
            | Self::Version
            | Self::Report
            | Self::Reported
            | Self::Count
            | Self::OutCursor
            | Self::OutWait
            | Self::ApiKey
            | Self::MasterKey
            | Self::Upkeep => FactOwner::Everyone,
        }
    }
}

/// What a fact is kept under. Compared byte by byte: table, owner, key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey {
    /// What kind of fact.
    pub table: FactTable,
    /// Whose: at most [`FactKey::OWNER_BYTES_MAX`].
    pub owner: String,
    /// Which of theirs: at most [`FactKey::KEY_BYTES_MAX`].
    pub key: String,
}

impl FactKey {
    /// The longest owner, in bytes: an id of 128 characters.
    pub const OWNER_BYTES_MAX: usize = 512;
    /// The longest key, in bytes.
    pub const KEY_BYTES_MAX: usize = 1_024;

    /// A key of a table.
    pub fn new(table: FactTable, owner: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            table,
            owner: owner.into(),
            key: key.into(),
        }
    }

    /// The conversation that a commit must be for to write this fact, whether that exists or not;
    /// `None` when the key is none of its table.
    #[must_use]
    pub fn place(&self) -> Option<ConversationId> {
        if self.owner.len() > Self::OWNER_BYTES_MAX || self.key.len() > Self::KEY_BYTES_MAX {
            return None;
        }
        match self.table.owner() {
            FactOwner::Pair => {
                let other = UserId::new(self.key.clone()).ok()?;
                Some(direct_id(&UserId::new(self.owner.clone()).ok()?, &other))
            }
            _ => place_of(self.table, &self.owner),
        }
    }

    /// The slot that it goes with.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.place().map(|conv| Slot::of(&conv))
    }
}

/// With which conversation all facts of an owner are placed; `None` when they are with several.
#[must_use]
pub fn place_of(table: FactTable, owner: &str) -> Option<ConversationId> {
    match table.owner() {
        FactOwner::User => {
            let user = UserId::new(owner).ok()?;
            Some(direct_id(&user, &user))
        }
        FactOwner::Pair => None,
        FactOwner::Conversation => ConversationId::new(owner).ok(),
        FactOwner::Blob => BlobId::parse(owner).map(BlobId::place),
        FactOwner::Everyone => Some(everyone()),
    }
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Under which key.
    pub key: FactKey,
    /// Canonical JSON text.
    pub value: String,
    /// When something is due with it, if ever. The store does nothing by itself then.
    pub at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_about_each_other_is_in_one_place() {
        let key = |a: &str, b: &str| FactKey::new(FactTable::Friend, a, b).place();
        assert_eq!(key("a", "b"), key("b", "a"));
        assert_ne!(key("a", "b"), key("a", "c"));
        let user = |id: &str| UserId::new(id).unwrap();
        assert_eq!(key("a", "b"), Some(direct_id(&user("a"), &user("b"))));
    }

    #[test]
    fn all_of_a_user_and_of_a_conversation_are_in_one_place() {
        let draft = |key: &str| FactKey::new(FactTable::Draft, "a", key).place();
        assert_eq!(draft("g"), draft("h"));
        assert_eq!(draft("g"), place_of(FactTable::Draft, "a"));
        let rule = FactKey::new(FactTable::Rule, "g", "").place();
        assert_eq!(rule, ConversationId::new("g").ok());
        assert_eq!(place_of(FactTable::Friend, "a"), None);
    }

    #[test]
    fn what_is_no_key_has_no_place() {
        let long = "x".repeat(FactKey::KEY_BYTES_MAX + 1);
        for key in [
            FactKey::new(FactTable::Friend, "a", ""),
            FactKey::new(FactTable::Draft, "", "g"),
            FactKey::new(FactTable::Draft, "a", long),
            FactKey::new(FactTable::Start, "x".repeat(513), "w"),
        ] {
            assert_eq!(key.place(), None);
        }
    }
}
