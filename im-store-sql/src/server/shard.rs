//! The store as one of several: what it holds, and how that changes.

mod cargo;

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{Slot, Timestamp};
use im_core::port::{
    Cargo, CargoQuery, Holding, Holdings, Phase, Place, PortError, PortErrorKind, Search, Shard,
};

use super::commit::{Broken, rows};
use super::dialect::{Conn, Dialect};
use super::row::Fields;
use super::statement::{Arg, SLOT, Statement};
use super::{ServerStore, Shared};
use crate::error::corrupt;

/// How long a step of a move may take: the largest slot is opened, or a part of it written.
const STEP_MAX: Duration = Duration::from_secs(60);
/// The columns of a holding, in the order of [`Fields::holding`].
const HOLDING: &str = "slot, epoch, phase, goes_to, mover, lease_until";

#[async_trait]
impl<D: Dialect> Shard for ServerStore<D> {
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError> {
        self.shared.within(self.shared.holdings(known)).await
    }

    async fn enroll(&self, place: Place, slots: &[Slot]) -> Result<(), PortError> {
        let enroll = self.shared.again(|| self.shared.try_enroll(place, slots));
        self.shared.within_for(STEP_MAX, enroll).await?;
        self.shared.is_shard.store(true, Ordering::Release);
        Ok(())
    }

    async fn turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, PortError> {
        let turn = self.shared.again(|| self.shared.try_turn(slot, from, to));
        self.shared.within_for(STEP_MAX, turn).await
    }

    async fn cargo(
        &self,
        slot: Slot,
        query: &CargoQuery,
        limit: usize,
    ) -> Result<Cargo, PortError> {
        self.shared
            .within(self.shared.cargo(slot, query, limit))
            .await
    }

    async fn receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError> {
        let receive = || self.shared.try_receive(slot, mover, until, cargo);
        self.shared
            .within_for(STEP_MAX, self.shared.again(receive))
            .await
    }

    async fn discard(&self, slot: Slot, limit: usize) -> Result<bool, PortError> {
        let discard = self.shared.again(|| self.shared.try_discard(slot, limit));
        self.shared.within_for(STEP_MAX, discard).await
    }

    fn search(&self) -> Option<&dyn Search> {
        Some(self)
    }
}

impl<D: Dialect> Shared<D> {
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError> {
        let meta = Statement::new("SELECT slots_version, shard_set, shard FROM im_meta");
        let meta = self.fetch(meta).await?.into_iter().next();
        let mut meta = meta.ok_or_else(|| corrupt("there is no version"))?;
        let version = meta.number()?;
        if known == Some(version) {
            return Ok(None);
        }
        let place = meta.opt_int()?.zip(meta.opt_int()?);
        let place = place.map(|(set, at)| Place {
            set: set.unsigned_abs(),
            at: at.unsigned_abs() as u16,
        });
        let slots = Statement::new(format!("SELECT {HOLDING} FROM im_slot ORDER BY slot"));
        let slots = self.fetch(slots).await?.into_iter();
        let slots: Result<_, _> = slots.map(|mut row| row.holding()).collect();
        let some = Statement::new("SELECT no FROM im_conversation LIMIT 1");
        Ok(Some(Holdings {
            version,
            place,
            is_occupied: !self.fetch(some).await?.is_empty(),
            slots: slots?,
        }))
    }

    async fn try_enroll(&self, place: Place, slots: &[Slot]) -> Result<(), Broken> {
        let mut tx = self.pool.begin().await?;
        let enrolled = D::advance(&mut tx, "slots_version", 1, "shard IS NULL").await?;
        if enrolled.is_none() {
            return Ok(());
        }
        D::end_alone(&mut tx).await?;
        let statement = Statement::new("UPDATE im_meta SET shard_set = ?, shard = ?")
            .bind(place.set as i64)
            .bind(i64::from(place.at));
        D::fetch(&mut tx, statement).await?;
        let open = |slot: &Slot| {
            values(&Holding {
                slot: *slot,
                epoch: 1,
                phase: Phase::Open,
            })
        };
        rows::<D>(&mut tx, &SLOT, slots.iter().map(open).collect()).await?;
        for text in D::SHARD_INDEXES {
            D::fetch(&mut tx, Statement::new(*text)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn try_turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, Broken> {
        let mut tx = self.pool.begin().await?;
        // From here on nobody commits to it, until this is done.
        D::take_slot(&mut tx, number(slot)).await?;
        D::advance(&mut tx, "slots_version", 1, "one = 1").await?;
        let found = locked::<D>(&mut tx, slot).await?;
        if !is_same(found.as_ref(), from.as_ref()) {
            return Ok(false);
        }
        match &to {
            Some(to) => rows::<D>(&mut tx, &SLOT, vec![values(to)]).await?,
            None => {
                let statement = Statement::new("DELETE FROM im_slot WHERE slot = ?");
                D::fetch(&mut tx, statement.bind(number(slot))).await?;
            }
        }
        if to.is_some_and(|to| to.phase == Phase::Open) {
            // A change there, for whoever lists or sweeps. Of members who are in, the
            // conversation's own counts.
            D::stamp_slot(&mut tx, number(slot)).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// How this database stands to a slot, locked until the transaction ends.
async fn locked<D: Dialect>(conn: &mut Conn<D>, slot: Slot) -> Result<Option<Holding>, Broken> {
    let text = format!("SELECT {HOLDING} FROM im_slot WHERE slot = ? FOR UPDATE");
    let found = D::fetch(conn, Statement::new(text).bind(number(slot))).await?;
    let found = found.into_iter().next().map(Fields::from);
    Ok(found.map(|mut row| row.holding()).transpose()?)
}

/// Whether it is the holding said; of one that arrives, by the same mover.
fn is_same(found: Option<&Holding>, said: Option<&Holding>) -> bool {
    match (found, said) {
        (None, None) => true,
        (Some(found), Some(said)) if found.epoch == said.epoch => match (found.phase, said.phase) {
            (Phase::Arriving { mover: one, .. }, Phase::Arriving { mover: other, .. }) => {
                one == other
            }
            (one, other) => one == other,
        },
        _ => false,
    }
}

fn number(slot: Slot) -> i64 {
    slot.number().into()
}

const fn fenced() -> Broken {
    Broken::Port(PortError::new(PortErrorKind::Fenced))
}

/// A holding's values.
fn values(held: &Holding) -> Vec<Arg> {
    let (phase, to, lease) = match held.phase {
        Phase::Open => ("open", None, None),
        Phase::Closed { to } => ("closed", Some(to), None),
        Phase::Arriving { mover, until } => ("arriving", None, Some((mover, until))),
        Phase::Gone => ("gone", None, None),
    };
    vec![
        number(held.slot).into(),
        (held.epoch as i64).into(),
        phase.into(),
        Arg::Int(to.map(i64::from)),
        Arg::Int(lease.map(|(mover, _)| mover as i64)),
        Arg::Int(lease.map(|(_, until)| until.0)),
    ]
}

impl Fields {
    fn holding(&mut self) -> Result<Holding, PortError> {
        let slot = u16::try_from(self.number()?).ok().and_then(Slot::new);
        let slot = slot.ok_or_else(|| corrupt("a slot is none"))?;
        let (epoch, phase) = (self.number()?, self.text()?);
        let (to, mover, until) = (self.opt_int()?, self.opt_int()?, self.opt_int()?);
        let phase = match (phase.as_str(), to, mover, until) {
            ("open", ..) => Phase::Open,
            ("closed", Some(to), ..) => Phase::Closed {
                to: to.unsigned_abs() as u16,
            },
            ("arriving", _, Some(mover), Some(until)) => Phase::Arriving {
                mover: mover.unsigned_abs(),
                until: Timestamp(until),
            },
            ("gone", ..) => Phase::Gone,
            _ => return Err(corrupt("a slot's phase is none")),
        };
        Ok(Holding { slot, epoch, phase })
    }
}
