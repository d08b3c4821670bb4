//! The hot tier: the newest part of logs, in memory, before it is in the store.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::PortError;
use super::store::{CursorMove, LogQuery, Run};
use crate::model::{CmId, ConversationId, Entry, Holder, NewEntry, Seq, UserId};
use crate::rule::commit::Stored;

/// What is appended to one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotCommit {
    /// Whose log.
    pub conv: ConversationId,
    /// The conversation's version that it was decided on.
    pub expect_version: Option<Seq>,
    /// With another version it is for the caller to say whether that matters
    /// ([`HotAnswer::Version`]); without, it is a conflict.
    pub has_actor: bool,
    /// What is appended, in this order.
    pub entries: Vec<NewEntry>,
    /// Cursors that move after that, as [`Write::Cursor`](super::Write::Cursor) says. Whether they
    /// are a member's is seen when they reach the store.
    pub cursors: Vec<CursorMove>,
    /// The store was asked: none of its ids is used in it. That was when the tier's log began at
    /// this entry ([`HotAnswer::Ask`]), and holds as long as it does.
    pub asked: Option<Seq>,
    /// With `asked`: the largest ids that senders used in the store; `None` for one who used none.
    pub floors: Vec<(UserId, Option<CmId>)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HotAnswer {
    /// It is done.
    Done {
        /// Where its first entry stands, if it has one.
        first: Seq,
        /// The conversation's version.
        version: Seq,
        /// Under which number the tier has the log.
        holder: Holder,
    },
    /// Nothing was done: what stands under its ids, in the order of its entries that have one.
    Sent {
        /// One for each entry that has a `cm_id`.
        found: Vec<Option<Stored>>,
        /// The conversation's version.
        version: Seq,
    },
    /// Nothing was done: the store must be asked whether its ids were used.
    Ask {
        /// Where the tier's log begins now.
        first: Seq,
    },
    /// Nothing was done: the version is this one.
    Version(Seq),
    /// Nothing was done: the version is another one.
    Conflict,
    /// Nothing was done: the log is on its way back to the store; wait a little.
    Closed,
    /// Nothing was done: the log is not here.
    Cold,
    /// Nothing was done: the tier began anew since it took the log over, from what it had kept,
    /// and may have lost the log's end.
    Doubtful,
    /// Nothing was done: too much has not reached the store yet.
    Busy,
    /// Nothing was done: one before it in this call, for the same log, must come first.
    Later,
}

impl HotAnswer {
    /// Whether the commit is to be brought again, before those behind it for the same log.
    #[must_use]
    pub const fn is_to_come_again(&self) -> bool {
        matches!(
            self,
            Self::Ask { .. }
                | Self::Version(_)
                | Self::Closed
                | Self::Cold
                | Self::Doubtful
                | Self::Later
        )
    }
}

/// A log that the tier has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotView {
    /// Under which number.
    pub holder: Holder,
    /// It is on its way to or from the store, which may have more of it.
    pub is_closed: bool,
    /// Its last entry.
    pub head: Seq,
    /// The last entry of which it is known here that the store has it.
    pub cold: Seq,
    /// The first entry that the tier has, above the head when it has none.
    pub first: Seq,
    /// The entries asked for, as far as the tier has them, ascending.
    pub entries: Vec<Entry>,
    /// Cursors that have not reached the store.
    pub cursors: Vec<CursorMove>,
}

/// A log that the tier is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warming {
    /// Whose log.
    pub conv: ConversationId,
    /// Under which number the store will give it.
    pub holder: Holder,
    /// Its last entry.
    pub head: Seq,
    /// The conversation's version.
    pub version: Seq,
    /// Its last entries, up to the head.
    pub entries: Vec<Entry>,
    /// No id in what lies before these counts any more.
    pub is_whole: bool,
}

/// What has not reached the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Of which log.
    pub conv: ConversationId,
    /// Under which number the tier has it.
    pub holder: Holder,
    /// The entries behind those that the store has; none when it has all.
    pub run: Run,
    /// Cursors.
    pub cursors: Vec<CursorMove>,
    /// When it was read, by the tier's clock in milliseconds; 0 when this is not all of it.
    pub as_of: u64,
    /// Of a log that was closed for this: by which closing, counted from 1. 0 of another.
    pub closing: u64,
    /// Nobody has appended to the log for long: it is to be given back to the store.
    pub is_idle: bool,
    /// The tier may have lost the log's end ([`HotAnswer::Doubtful`]).
    pub is_doubtful: bool,
}

/// Of which logs what has not reached the store is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those that wait longest, of the lanes that this worker has a lease of, or can get one of.
    Oldest {
        /// The worker's own number.
        worker: u64,
        /// About how many entries in all; of one log at most so many.
        limit: usize,
    },
    /// These, those too of which the store has everything.
    Of(&'a [ConversationId]),
}

/// What waits in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// The lane's clock, in milliseconds.
    pub now: u64,
    /// Since when the log that waits longest does, by that clock.
    pub oldest: Option<u64>,
    /// How many entries wait.
    pub entries: u64,
}

/// What becomes of a log that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// It goes on here, under this number, which the store has given it, and without doubt.
    Reopen(Holder),
    /// It is the store's again, and forgotten here.
    Forget,
}

/// The hot tier. Every method is atomic for each log, and errors mean an unknown outcome.
///
/// A tier may forget everything. One that begins anew from what it had kept, which may be less than
/// it had answered, must know that it did: what it has of logs is doubtful from then on.
#[async_trait]
pub trait Hot: Debug + Send + Sync + 'static {
    /// Appends, in this order, each atomic by itself; the answers stand in the same order.
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>>;

    /// A log, with the entries of a query, if there is one; `None` when the tier does not have it.
    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError>;

    /// Takes a log over from the store, closed; the number under which the tier has it afterwards,
    /// which is another's when that was quicker. It is settled when the store has given the log to
    /// that number: so a log that the store says is here, and is not, was lost.
    async fn warm(&self, log: &Warming) -> Result<Holder, PortError>;

    /// Lets nothing be appended to a log until it is settled; everything of it that has not reached
    /// the store. Also of one that is closed: whoever closed it may be gone. `None` when the tier
    /// does not have it, or not under that number, if one is given.
    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError>;

    /// What becomes of a log that was closed, if the tier still has it under that number, and
    /// nobody closed it since: `closing` is [`Pending::closing`], 1 after [`warm`](Self::warm).
    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError>;

    /// What has not reached the store.
    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError>;

    /// These have reached the store. What is old of them may be forgotten.
    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError>;

    /// What waits, lane by lane.
    async fn lag(&self) -> Result<Vec<Lag>, PortError>;
}
