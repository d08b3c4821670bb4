//! The fence of a database that is one of several: no commit gets through to a slot that is not
//! open here.
//!
//! Where slots can be held, a batch holds its own from before it reads which are open until its
//! transaction ends, and whoever opens or closes one waits for that. Elsewhere they are read once
//! more when the row of the stamps is held. Whoever opens or closes a slot takes that row too, so
//! what was read the second time stays true until the transaction ends; and as it is the same with
//! the same epochs, the slot was open while everything in between was read.

use std::collections::{BTreeMap, BTreeSet};

use im_core::model::Slot;
use im_core::port::{Commit, PortError, PortErrorKind, Rejected};

use super::commit::Broken;
use super::dialect::{Conn, Dialect};
use super::load::{Reads, by_keys};
use super::statement::Look;

/// The fence of one batch.
#[derive(Debug)]
pub(super) enum Fence {
    /// The database is one alone, as far as this process knows.
    Alone,
    /// The slots of the batch that are open here, with their epochs.
    Shard(BTreeMap<i64, i64>),
}

impl Fence {
    /// What is open of a batch's slots.
    pub(super) async fn of<D: Dialect>(
        conn: &mut Conn<D>,
        batch: &[Commit],
        reads: Reads,
    ) -> Result<Self, Broken> {
        let slots: BTreeSet<_> = batch.iter().map(slot).collect();
        let in_order: Vec<_> = slots.iter().copied().collect();
        D::hold_slots(conn, &in_order).await?;
        Ok(Self::Shard(open::<D>(conn, slots, reads).await?))
    }

    /// Refuses a commit to a slot that is not open here.
    pub(super) fn check(&self, commit: &Commit) -> Result<(), Rejected> {
        match self {
            Self::Shard(open) if !open.contains_key(&slot(commit)) => Err(moved().into()),
            _ => Ok(()),
        }
    }

    /// Takes so many stamps, and the right to commit: what they count from.
    pub(super) async fn pass<D: Dialect>(
        &self,
        conn: &mut Conn<D>,
        stamps: i64,
        reads: Reads,
    ) -> Result<i64, Broken> {
        let Self::Shard(open_before) = self else {
            if stamps == 0 {
                return Ok(0);
            }
            // Others have made it one of several meanwhile.
            return D::stamp(conn, stamps, false).await?.ok_or(Broken::Moved);
        };
        let base = D::stamp(conn, stamps, true).await?;
        if !D::HOLDS_SLOTS {
            let slots = open_before.keys().copied().collect();
            if open::<D>(conn, slots, reads).await? != *open_before {
                return Err(Broken::Moved);
            }
        }
        base.ok_or(Broken::Moved)
    }
}

fn slot(commit: &Commit) -> i64 {
    Slot::of(&commit.conv).number().into()
}

async fn open<D: Dialect>(
    conn: &mut Conn<D>,
    slots: BTreeSet<i64>,
    reads: Reads,
) -> Result<BTreeMap<i64, i64>, Broken> {
    let keys = slots.into_iter().map(|slot| vec![slot.into()]).collect();
    let look = Look {
        what: "o.slot, o.epoch",
        table: "im_slot o",
        index: "PRIMARY",
        columns: &["o.slot"],
    };
    let then = format!(" AND o.phase = 'open'{}", reads.clause());
    let mut found = BTreeMap::new();
    for mut row in by_keys::<D>(conn, &look, keys, &then).await? {
        found.insert(row.int()?, row.int()?);
    }
    Ok(found)
}

/// What a commit gets whose slot is elsewhere.
pub(super) const fn moved() -> PortError {
    PortError::new(PortErrorKind::Moved)
}
