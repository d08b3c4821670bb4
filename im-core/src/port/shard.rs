//! A store that is one of several: it holds slots, says so, and gives them away.

use async_trait::async_trait;

use super::error::PortError;
use super::search::Search;
use super::store::{Record, RecordKey, Store};
use crate::model::{
    Conversation, ConversationId, Entry, Fact, FactKey, Member, Slot, Timestamp, UserId,
};

/// Which of the databases of one service a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The service's own number, drawn when its databases were first put together.
    pub set: u64,
    /// Counted from 0, for good: sync tokens count by it.
    pub at: u16,
}

/// How a database stands to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Which slot.
    pub slot: Slot,
    /// Grows with every move: of two databases that say they have a slot open, the higher is right.
    pub epoch: u64,
    /// What may be done with it here.
    pub phase: Phase,
}

/// What may be done with a slot in a database. A database that never had it has no holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is read and written here.
    Open,
    /// It is on its way to the database of that place: nothing is written any more. What is read is
    /// right for as long as that one has not opened it.
    Closed {
        /// Where to.
        to: u16,
    },
    /// It is being copied to here. No list shows what is here of it.
    Arriving {
        /// Who copies: nobody else's [`Shard::receive`] is taken.
        mover: u64,
        /// Until when nobody should take over, extended with every `receive`.
        until: Timestamp,
    },
    /// Another database has opened it. What is here is to be removed.
    Gone,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Grows with every change of what follows.
    pub version: u64,
    /// `None`: it is no shard.
    pub place: Option<Place>,
    /// There are conversations in it.
    pub is_occupied: bool,
    /// In the order of the slots.
    pub slots: Vec<Holding>,
}

impl Holdings {
    /// How it stands to a slot.
    #[must_use]
    pub fn of(&self, slot: Slot) -> Option<&Holding> {
        let at = self.slots.binary_search_by_key(&slot, |held| held.slot);
        at.ok().and_then(|at| self.slots.get(at))
    }
}

/// Which part of a slot to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CargoQuery {
    /// Conversations, by id, above one.
    Conversations(Option<ConversationId>),
    /// Who is or was a member of its conversations, by conversation and user, above one.
    Members(Option<(ConversationId, UserId)>),
    /// Answers and blocks, by key, above one.
    Records(Option<RecordKey>),
    /// Facts, by key, above one.
    Facts(Option<FactKey>),
}

/// A part of a slot as it is moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cargo {
    /// Conversations; their `head` is that of the entries moved so far.
    pub conversations: Vec<Conversation>,
    /// Members of conversations that are there or come with them.
    pub members: Vec<(ConversationId, Member)>,
    /// Entries that are not there yet, of conversations as for the members.
    pub entries: Vec<Entry>,
    /// Answers, and blocks (whose value says nothing).
    pub records: Vec<Record>,
    /// Facts.
    pub facts: Vec<Fact>,
    /// The records and facts of the slot that are there go first.
    pub records_anew: bool,
}

/// A [`Store`] that holds some of the slots of a service, and lets no commit through to another.
///
/// Once it [is one](Self::enroll), [`Store::commit`] answers a commit to a slot that is not open
/// here with [`Rejected::Store`](super::Rejected::Store) of kind
/// [`Moved`](super::PortErrorKind::Moved), and what it answers otherwise was decided while the
/// slot was open: that is checked inside the commit's own transaction. Reads are not checked; who
/// asks looks at the [holdings](Self::holdings) afterwards.
#[async_trait]
pub trait Shard: Store {
    /// What it holds; `None` when that has the version `known`.
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError>;

    /// Makes it a shard with these slots open, each at epoch 1. One that is a shard stays as it is.
    async fn enroll(&self, place: Place, slots: &[Slot]) -> Result<(), PortError>;

    /// Changes how it stands to a slot, if it stands to it as said: whether it did. `None` is no
    /// holding. An [`Arriving`](Phase::Arriving) is the one said if its mover is. Waits for the
    /// commits in flight, and a slot that opens gets new stamps for all that is in it.
    async fn turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, PortError>;

    /// A part of a slot, at most `limit` of what is asked for: fewer are the last.
    async fn cargo(&self, slot: Slot, query: &CargoQuery, limit: usize)
    -> Result<Cargo, PortError>;

    /// Takes a part of a slot that arrives: conversations, members and records are written over.
    /// The mover's time is extended to `until`.
    ///
    /// # Errors
    /// `Fenced` when the slot is not arriving, or by another mover.
    async fn receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError>;

    /// Removes what is here of a slot that is gone, about `limit` rows of it: whether some is left.
    ///
    /// # Errors
    /// `Fenced` when the slot is not [gone](Phase::Gone).
    async fn discard(&self, slot: Slot, limit: usize) -> Result<bool, PortError>;

    /// Search over what it holds, if it has any.
    fn search(&self) -> Option<&dyn Search> {
        None
    }
}
