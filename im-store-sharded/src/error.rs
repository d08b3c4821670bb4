//! What goes wrong with opening and moving.

use im_core::model::{Slot, Timestamp};
use im_core::port::PortError;

use crate::SHARDS_MAX;

/// Why databases are no service together. They are counted from 0, in the order given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ShardsError {
    /// None, or more than there may be.
    #[error("{0} databases: there may be from 1 to {SHARDS_MAX}")]
    Count(usize),
    /// One has another place than the one given to it.
    #[error("database {given} is number {found} of its service: the order must stay")]
    Order {
        /// Its place in the list.
        given: usize,
        /// Its place in the service.
        found: usize,
    },
    /// They belong to different services.
    #[error("database {0} belongs to another service")]
    Foreign(usize),
    /// It has conversations of its own.
    #[error("database {0} has conversations already: only the first may, when shards begin")]
    Occupied(usize),
    /// A slot is in none of them.
    #[error("slot {0} is in none of the databases: is one missing in the list?")]
    Orphan(Slot),
    /// One of them failed.
    #[error("database {at}: {error}")]
    Port {
        /// Its place in the list.
        at: usize,
        /// How.
        #[source]
        error: PortError,
    },
}

/// Why a slot did not move (any further).
#[derive(Debug, Clone, thiserror::Error)]
pub enum MoveError {
    /// There is no such database.
    #[error("there is no database {0}")]
    NoShard(usize),
    /// Another mover is at work on the slot.
    #[error("slot {slot} is being moved by another mover, until {until} unless it goes on")]
    Busy {
        /// Which.
        slot: Slot,
        /// Its time, in Unix milliseconds.
        until: Timestamp,
    },
    /// A move of the slot to elsewhere was not finished.
    #[error("slot {slot} is on its way to database {to}: finish that first")]
    OnItsWay {
        /// Which.
        slot: Slot,
        /// Where to.
        to: u16,
    },
    /// Another mover did a step in between.
    #[error("slot {0} was changed by another mover")]
    Lost(Slot),
    /// No database has the slot.
    #[error("slot {0} is in none of the databases")]
    Orphan(Slot),
    /// A database failed.
    #[error(transparent)]
    Port(#[from] PortError),
}
