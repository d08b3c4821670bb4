//! Who has which slot, by what the databases say.

use im_core::model::Slot;
use im_core::port::{Holding, Holdings, Phase};

/// Who has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Which database.
    pub(crate) at: usize,
    pub(crate) held: Holding,
}

impl Owner {
    pub(crate) fn is_open(&self) -> bool {
        self.held.phase == Phase::Open
    }
}

/// What the databases said, and what follows from it.
#[derive(Debug)]
pub(crate) struct Map {
    shards: Vec<Holdings>,
    /// By the slots' numbers.
    owners: Vec<Option<Owner>>,
}

impl Map {
    pub(crate) fn new(shards: Vec<Holdings>) -> Self {
        let mut owners = vec![None; Slot::COUNT.into()];
        for (at, holdings) in shards.iter().enumerate() {
            for held in &holdings.slots {
                let owner = &mut owners[usize::from(held.slot.number())];
                let serves = matches!(held.phase, Phase::Open | Phase::Closed { .. });
                if serves && owner.is_none_or(|known: Owner| known.held.epoch < held.epoch) {
                    *owner = Some(Owner { at, held: *held });
                }
            }
        }
        Self { shards, owners }
    }

    /// This one, but for what one database said.
    pub(crate) fn with(&self, at: usize, held: Holdings) -> Self {
        let mut shards = self.shards.clone();
        if let Some(known) = shards.get_mut(at) {
            *known = held;
        }
        Self::new(shards)
    }

    pub(crate) fn shards(&self) -> &[Holdings] {
        &self.shards
    }

    /// The database that reads of a slot are right in.
    pub(crate) fn owner(&self, slot: Slot) -> Option<Owner> {
        self.owners[usize::from(slot.number())]
    }

    /// Whether every slot is where it is in that map, and has been.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let of = |owner: &Option<Owner>| owner.map(|owner| (owner.at, owner.held.epoch));
        let (own, others) = (self.owners.iter().map(of), other.owners.iter().map(of));
        own.eq(others)
    }

    /// The first slot that nobody has.
    pub(crate) fn orphan(&self) -> Option<Slot> {
        Slot::all().find(|slot| self.owner(*slot).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(epoch: u64, phase: Phase) -> Holdings {
        let slot = Slot::new(7).unwrap();
        Holdings {
            version: 1,
            place: None,
            is_occupied: true,
            slots: vec![Holding { slot, epoch, phase }],
        }
    }

    #[test]
    fn of_two_that_say_they_have_a_slot_the_higher_epoch_has_it() {
        let slot = Slot::new(7).unwrap();
        let closed = Phase::Closed { to: 1 };
        let arriving = Phase::Arriving {
            mover: 1,
            until: im_core::model::Timestamp(0),
        };
        let table = [
            ((1, Phase::Open), (2, arriving), Some((0, true))),
            ((1, closed), (2, arriving), Some((0, false))),
            ((1, closed), (2, Phase::Open), Some((1, true))),
            // What was read of the first before it closed.
            ((1, Phase::Open), (2, Phase::Open), Some((1, true))),
            ((1, Phase::Gone), (2, Phase::Open), Some((1, true))),
            // What was read of the second before it opened.
            ((1, Phase::Gone), (2, arriving), None),
        ];
        for ((first, one), (second, other), expected) in table {
            let map = Map::new(vec![held(first, one), held(second, other)]);
            let owner = map.owner(slot).map(|owner| (owner.at, owner.is_open()));
            assert_eq!(owner, expected, "{one:?} {other:?}");
        }
    }
}
