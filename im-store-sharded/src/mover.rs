//! Moving a slot to another database while both are in use.
//!
//! The databases themselves say how far a move has come, so a mover that died is followed by any
//! other: it looks, and does the next step. Each step is one transaction, or may be done twice.
//!
//! | the slot where it is | where it goes | next |
//! | --- | --- | --- |
//! | open | – | it is *arriving* there, by this mover |
//! | open | arriving | copy; then *close* it here, for good: it goes there and nowhere else |
//! | closed | arriving | copy what is new; then *open* it there, with a higher epoch |
//! | closed | open | it is *gone* here |
//! | gone | open | remove what is left, a part at a time; then forget it |

mod copy;

use im_core::model::Slot;
use im_core::port::{Holding, Phase, PortError, PortErrorKind};

use self::copy::Copy;
use crate::map::{Map, Owner};
use crate::{MoveError, Sharded};

/// How long a mover that is silent keeps others away.
const LEASE_MS: u64 = 30_000;
/// Rows removed at once where a slot has gone.
const DISCARD_ROWS: usize = 2_000;

/// What a mover did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The slot is arriving, by this mover.
    Begun,
    /// What was there is copied; the slot was open meanwhile.
    Copied,
    /// The slot is closed: commits to it wait.
    Closed,
    /// What was new is copied.
    CopiedRest,
    /// The slot is open in the other database.
    Opened,
    /// It is gone where it was.
    Left,
    /// Some of what it left behind is removed.
    Discarded,
    /// Nothing of it is left where it was.
    Forgotten,
    /// There is nothing more to do.
    Done,
}

/// Moves a slot to another database while both are in use. Each [step](Self::step) is one
/// transaction, or may be done twice, and the databases say how far the move has come: a mover that
/// died is followed by any other.
#[derive(Debug)]
pub struct Mover<'a> {
    sharded: &'a Sharded,
    slot: Slot,
    to: usize,
    /// Which mover this is.
    id: u64,
    /// By the phase of where it comes from: whether this mover has copied in it.
    copied: (bool, bool),
}

impl<'a> Mover<'a> {
    /// A mover of a slot to a database, counted from 0. `id` is drawn at random by each.
    ///
    /// # Errors
    /// When there is no such database.
    pub fn new(sharded: &'a Sharded, slot: Slot, to: usize, id: u64) -> Result<Self, MoveError> {
        if to >= sharded.count() {
            return Err(MoveError::NoShard(to));
        }
        Ok(Self {
            sharded,
            slot,
            to,
            // A database's numbers have a sign.
            id: id & i64::MAX as u64,
            copied: (false, false),
        })
    }

    /// Goes on until there is nothing more to do.
    ///
    /// # Errors
    /// See [`MoveError`]. Whatever was done stays done, and any mover goes on from there.
    pub async fn run(&mut self) -> Result<(), MoveError> {
        while self.step().await? != Step::Done {}
        Ok(())
    }

    /// Does the next step.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub async fn step(&mut self) -> Result<Step, MoveError> {
        let map = self.sharded.refresh().await?;
        let owner = map.owner(self.slot).ok_or(MoveError::Orphan(self.slot))?;
        if owner.at == self.to {
            return self.tidy(&map, owner).await;
        }
        if let Phase::Closed { to } = owner.held.phase
            && usize::from(to) != self.to
        {
            let slot = self.slot;
            return Err(MoveError::OnItsWay { slot, to });
        }
        let there = map.shards()[self.to].of(self.slot).copied();
        match there.map(|there| (there.phase, there)) {
            Some((Phase::Arriving { mover, .. }, there))
                if mover == self.id && there.epoch == owner.held.epoch + 1 =>
            {
                self.go_on(owner, there).await
            }
            // From an earlier time.
            Some((Phase::Gone, there)) => self.discard(self.to, there).await,
            _ => self.begin(&map, owner, there).await,
        }
    }

    async fn begin(
        &mut self,
        map: &Map,
        owner: Owner,
        there: Option<Holding>,
    ) -> Result<Step, MoveError> {
        self.nobody_else(map)?;
        // What it copied in an earlier try was of another stay of the slot, and may be gone.
        self.copied = (false, false);
        let phase = Phase::Arriving {
            mover: self.id,
            until: self.sharded.now().plus_ms(LEASE_MS),
        };
        let epoch = owner.held.epoch + 1;
        self.turn(self.to, there, Some(self.holding(epoch, phase)))
            .await?;
        Ok(Step::Begun)
    }

    async fn go_on(&mut self, owner: Owner, there: Holding) -> Result<Step, MoveError> {
        let is_open = owner.is_open();
        let copied = if is_open {
            &mut self.copied.0
        } else {
            &mut self.copied.1
        };
        if !*copied {
            let until = self.sharded.now().plus_ms(LEASE_MS);
            let copy = Copy {
                from: &*self.sharded.shards[owner.at],
                to: &*self.sharded.shards[self.to],
                slot: self.slot,
                mover: self.id,
                until,
            };
            copy.run(!is_open).await?;
            *copied = true;
            return Ok(if is_open {
                Step::Copied
            } else {
                Step::CopiedRest
            });
        }
        if is_open {
            let to = Phase::Closed { to: self.to as u16 };
            let closed = self.holding(owner.held.epoch, to);
            self.turn(owner.at, Some(owner.held), Some(closed)).await?;
            return Ok(Step::Closed);
        }
        let open = self.holding(there.epoch, Phase::Open);
        self.turn(self.to, Some(there), Some(open)).await?;
        Ok(Step::Opened)
    }

    /// The slot is where it should be: what other databases have of it goes.
    async fn tidy(&self, map: &Map, owner: Owner) -> Result<Step, MoveError> {
        if let Phase::Closed { to } = owner.held.phase {
            let slot = self.slot;
            return Err(MoveError::OnItsWay { slot, to });
        }
        for (at, held) in map.shards().iter().enumerate() {
            let Some(held) = held.of(self.slot).filter(|_| at != owner.at) else {
                continue;
            };
            if held.phase == Phase::Gone {
                return self.discard(at, *held).await;
            }
            self.nobody_else(map)?;
            let gone = self.holding(held.epoch, Phase::Gone);
            self.turn(at, Some(*held), Some(gone)).await?;
            return Ok(Step::Left);
        }
        Ok(Step::Done)
    }

    async fn discard(&self, at: usize, held: Holding) -> Result<Step, MoveError> {
        let left = self.sharded.shards[at]
            .discard(self.slot, DISCARD_ROWS)
            .await;
        match left {
            Ok(true) => return Ok(Step::Discarded),
            Ok(false) => self.turn(at, Some(held), None).await?,
            Err(error) if error.kind() == PortErrorKind::Fenced => {
                return Err(MoveError::Lost(self.slot));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Step::Forgotten)
    }

    /// Refuses when another mover has the slot arriving somewhere, and its time is not over.
    fn nobody_else(&self, map: &Map) -> Result<(), MoveError> {
        let now = self.sharded.now();
        for held in map.shards().iter().filter_map(|held| held.of(self.slot)) {
            if let Phase::Arriving { mover, until } = held.phase
                && mover != self.id
                && until > now
            {
                let slot = self.slot;
                return Err(MoveError::Busy { slot, until });
            }
        }
        Ok(())
    }

    const fn holding(&self, epoch: u64, phase: Phase) -> Holding {
        Holding {
            slot: self.slot,
            epoch,
            phase,
        }
    }

    async fn turn(
        &self,
        at: usize,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<(), MoveError> {
        let turned = self.sharded.shards[at].turn(self.slot, from, to).await;
        match turned {
            Ok(true) => Ok(()),
            Ok(false) => Err(MoveError::Lost(self.slot)),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a copy that is no longer this mover's says.
fn lost(slot: Slot, error: PortError) -> MoveError {
    if error.kind() == PortErrorKind::Fenced {
        return MoveError::Lost(slot);
    }
    error.into()
}
