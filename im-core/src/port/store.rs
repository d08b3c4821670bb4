//! The store: the truth about every conversation.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::PortError;
use super::fact::{FactQuery, Put};
use crate::model::{
    CmId, Conversation, ConversationId, ConversationKind, Entry, Epoch, Fact, Holder, Member,
    MessageId, NewEntry, Role, Seq, Stamps, Timestamp, UserId,
};

/// A change of the store as data: its writes happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The conversation that it writes to, also its place among shards and lanes.
    pub conv: ConversationId,
    /// The [`Conversation::version`] that the decision was made on: another one rejects the
    /// commit with [`Rejected::Conflict`], and the pure decision runs again on a fresh view.
    pub expect_version: Option<Seq>,
    /// With `expect_version`: only a change of this member counts, so that a busy group's joins
    /// don't reject its messages. The commit is then rejected exactly when the version is another
    /// one *and* this user is no member now, their [`Member::version`] is above the expected one,
    /// or their role is below the one that [speaks](Conversation::speaks) now.
    pub actor: Option<UserId>,
    /// What to write, in this order.
    pub writes: Vec<Write>,
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes the conversation with its first members, unless it exists: then nothing.
    Create(NewConversation),
    /// Appends an entry at head + 1. A `cm_id` that the sender used here before makes the whole
    /// commit a duplicate that writes nothing ([`Appended::dup`]). With another digest, or beside
    /// a `cm_id` that was not used, it is another commit under a used id, and rejected with
    /// [`Rejected::CmIdReused`]. Both before `expect_version` is looked at.
    Append(NewEntry),
    /// Changes a member.
    Member(MemberChange),
    /// Sets the title.
    Title(Option<String>),
    /// Sets the least role that may say something.
    Speaks(Role),
    /// Sets whether those who join from now on see only what comes after.
    HideHistory(bool),
    /// [Erases](NewEntry::erase) what entries of the log say. What is not there is passed over.
    Erase(Vec<Seq>),
    /// Moves a member's cursors, never backwards, never beyond the head; of one who is no member
    /// nothing happens.
    Cursor(CursorMove),
    /// One user blocks another, or no longer. Needs no conversation; the commit's is their
    /// [direct one](crate::model::direct_id), so that a store of several databases finds it.
    Block {
        /// Who blocks.
        user: UserId,
        /// Whom.
        other: UserId,
        /// Whether.
        on: bool,
    },
    /// Keeps a record until it expires. A record that is there (and not expired) rejects the
    /// commit with [`Rejected::Done`], before `expect_version` is looked at. Needs no conversation.
    /// Of commits under one key at the same time, only those to one conversation are sure to see
    /// each other.
    Record(Record),
    /// Writes, changes or removes a fact. The commit's conversation must be the fact's
    /// [place](crate::model::FactKey::place). Needs no conversation.
    Put(Put),
    /// Takes, keeps or gives up the log. While somebody holds it, a commit that changes the log,
    /// its members or its title is rejected as [`Fenced`](super::PortErrorKind::Fenced), but for
    /// those that begin with the holder's own `Hold`.
    Hold(Hold),
    /// Writes entries at the places that a hot tier gave them. What stands there already is passed
    /// over, so the same run can be written again; a gap before it, or another entry at one of its
    /// places, rejects the commit with [`Rejected::Conflict`].
    Place(Run),
}

/// Who holds a log, and who does from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Who must hold it now, or the commit is rejected as fenced.
    pub from: Holder,
    /// Who holds it from then on.
    pub to: Holder,
    /// The head must be this one, or the commit is rejected with [`Rejected::Conflict`].
    pub head: Option<Seq>,
    /// What `from` had and the store has not is lost: the log begins another epoch.
    pub lost: bool,
}

/// Entries one behind the other, from a place on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where the first one stands.
    pub first: Seq,
    /// What stands there and behind it.
    pub entries: Vec<NewEntry>,
}

/// A conversation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConversation {
    /// What it is.
    pub kind: ConversationKind,
    /// Its title.
    pub title: Option<String>,
    /// Whether those who join later see only what comes after.
    pub hide_history: bool,
    /// Its first members; they see everything.
    pub members: Vec<(UserId, Role)>,
}

/// A change of one member. The commit that carries it also appends the entry that tells of it,
/// and that entry's place becomes the conversation's `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChange {
    /// Who.
    pub user: UserId,
    /// What.
    pub op: MemberOp,
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberOp {
    /// They become a member (again): their cursors and a mute outlive a leaving.
    Add {
        /// With this role.
        role: Role,
        /// What they see.
        first: FirstSeq,
    },
    /// They are no member from the commit's last entry on, the last that they may see. This and
    /// what follows do nothing to one who is no member.
    Remove,
    /// Another role.
    Role(Role),
    /// They can't speak before that time; `None` ends it.
    Mute(Option<Timestamp>),
}

/// From where on a new member sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSeq {
    /// Everything that the log holds.
    All,
    /// From the commit's first entry on.
    Here,
}

/// Where a member's cursors move to; the further place wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorMove {
    /// Whose.
    pub user: UserId,
    /// Entries up to there arrived at a device.
    pub delivered: Option<Seq>,
    /// Entries up to there were read; implies `delivered`.
    pub read: Option<Seq>,
}

/// What a record is kept under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The answer that a request with an idempotency key got.
    Answer {
        /// Whose request.
        user: UserId,
        /// The key, 1–64 characters.
        key: String,
    },
    /// Whether `user` blocks `other`; written by [`Write::Block`].
    Block {
        /// Who blocks.
        user: UserId,
        /// Whom.
        other: UserId,
    },
}

/// A small thing kept under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Under which key.
    pub key: RecordKey,
    /// Canonical JSON text.
    pub value: String,
    /// It is gone from then on, by the store's own time or the node's.
    pub expires_at: Timestamp,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its entries' places, in the order of its [`Write::Append`]s; of a duplicate those of its
    /// entries with a `cm_id` (the others are not found again).
    pub appended: Vec<Appended>,
    /// The conversation's version now.
    pub version: Seq,
    /// Whether [`Write::Create`] made the conversation.
    pub created: bool,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub seq: Seq,
    /// Its id: of a duplicate, the first one's.
    pub id: MessageId,
    /// Its time: of a duplicate, the first one's.
    pub at: Timestamp,
    /// An earlier commit stored it; this one wrote nothing.
    pub dup: bool,
}

/// Why a commit wrote nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejected {
    /// The `cm_id` stands for another message of the same sender in this conversation.
    #[error("the cm_id stands for another message")]
    CmIdReused,
    /// The conversation's version is another one.
    #[error("the conversation has changed")]
    Conflict,
    /// A record of that key is there: this is its value.
    #[error("done before")]
    Done(String),
    /// The conversation does not exist, and an entry, a member or a title was to be written.
    #[error("no such conversation")]
    NotFound,
    /// The store failed. If [`PortError::is_retryable`], the commit may have taken place.
    #[error(transparent)]
    Store(#[from] PortError),
}

/// A conversation, and of the users asked for those who are or were members: all as of one
/// moment, or the members as of a later one than the conversation. (Members as of before its head
/// would let a room take somebody removed in between for a member, for ever.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The conversation.
    pub conversation: Conversation,
    /// The members found, in the order asked.
    pub members: Vec<Member>,
}

/// Which part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogQuery {
    /// The first entries above a place.
    After {
        /// The place.
        seq: Seq,
        /// The most entries.
        limit: usize,
        /// The most bytes of bodies; at least one entry is read.
        bytes: usize,
    },
    /// The last entries below a place.
    Before {
        /// The place.
        seq: Seq,
        /// The most entries.
        limit: usize,
        /// The most bytes of bodies; at least one entry is read.
        bytes: usize,
    },
    /// The entry that a sender stored under a `cm_id`, if any.
    Sent {
        /// Who.
        sender: UserId,
        /// Under which id.
        cm_id: CmId,
    },
    /// The entry with the largest `cm_id` of a sender, byte by byte, if any: a larger one was not
    /// used. What a tier asks of the store below it.
    Newest {
        /// Who.
        sender: UserId,
    },
}

/// A conversation in a user's list; its parts belong together as those of a [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipLine {
    /// The conversation.
    pub conversation: Conversation,
    /// The user's place in it, also when they have left.
    pub member: Member,
    /// *Say* entries of others above their `read`, to 999; 0 when not asked for.
    pub unread: u32,
    /// Of these, those that mention the user, by name or with everybody.
    pub mentions: u32,
    /// The last entry that they may see; `None` when not asked for.
    pub last: Option<Entry>,
}

/// A part of a user's list: what one database gave is in the order of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipPage {
    /// The conversations that changed after the stamps asked: head, title, the user's own read
    /// cursor or membership. A conversation stands here once, at its last change; for one who
    /// left it, that is the leaving.
    pub lines: Vec<MembershipLine>,
    /// Everything of this user up to these stamps has been given. They never cover a change that
    /// was not visible when it was read.
    pub stamps: Stamps,
    /// Ask again from `stamps`.
    pub more: bool,
}

/// A conversation that the sweep must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedConversation {
    /// Which.
    pub conv: ConversationId,
    /// Its last entry.
    pub head: Seq,
    /// The number of its log's life: who knows an earlier one must drop what they have of it.
    pub epoch: Epoch,
}

/// Somebody who left a conversation, or was removed from it, and is no member of it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Which.
    pub conv: ConversationId,
    /// Who.
    pub user: UserId,
    /// The last entry that they may see.
    pub seq: Seq,
}

/// What changed since then, over all users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The conversations, each once.
    pub convs: Vec<ChangedConversation>,
    /// Who left any of them between the stamps asked and these: their own nodes may have to tell
    /// them, and find them no more among the members.
    pub left: Vec<Departed>,
    /// Where to go on from.
    pub stamps: Stamps,
    /// Whether there are more now.
    pub more: bool,
}

/// The store: one write method and few reads. What a `commit` answered is there for good (as
/// durably as the operator chose), and every later read sees it.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Applies each commit in order, each atomic by itself; a failure of one leaves the others.
    /// The answers stand in the order of the commits, one each.
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>>;

    /// A conversation and some of its members; `None` when it does not exist.
    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError>;

    /// Those who are members now, by user id above `after`.
    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError>;

    /// Entries of a log, ascending and without a gap; nothing when the conversation does not
    /// exist. Only entries below [`Conversation::first_seq`] may be missing, and for good: rooms
    /// jump over what is missing and send their members to pull.
    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError>;

    /// A user's conversations that changed after `since`, at most `limit`; with `detail`, also
    /// the unread count and the last entry of each. A `since` that this store never gave (ahead
    /// of it, after a restored backup) is the caller's to see: it is ahead of the answer's stamps.
    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError>;

    /// Conversations whose log, members or rules changed after `since`, at most `limit`. With
    /// `limit` 0, just the stamps of now.
    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError>;

    /// A record that has not expired by `now`.
    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError>;

    /// Facts.
    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError>;
}
