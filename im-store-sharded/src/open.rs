//! Putting databases together.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use im_core::model::Slot;
use im_core::port::{Holdings, Place, PortError, PortErrorKind, Shard};
use parking_lot::{Mutex, RwLock};

use crate::map::Map;
use crate::{SHARDS_MAX, Sharded, ShardsError};

impl Sharded {
    /// Opens a store over these databases, whose order must stay. The first time, each gets its
    /// share of the slots, or the first one all of them if it has conversations already: then its
    /// slots are to be moved. Databases that are added later, at the end, get none until some move.
    ///
    /// Any number of nodes may do so at once; each asks for what the first one began.
    ///
    /// # Errors
    /// See [`ShardsError`]; also when one of them is away.
    pub async fn open(shards: Vec<Arc<dyn Shard>>) -> Result<Self, ShardsError> {
        if shards.is_empty() || shards.len() > SHARDS_MAX {
            return Err(ShardsError::Count(shards.len()));
        }
        let mut held = Vec::with_capacity(shards.len());
        for (at, shard) in shards.iter().enumerate() {
            held.push(ask(shard, at).await?);
        }
        if held.iter().any(|held| held.place.is_none()) {
            enroll(&shards, &mut held).await?;
        }
        check(&held)?;
        let map = Map::new(held);
        if let Some(slot) = map.orphan() {
            return Err(ShardsError::Orphan(slot));
        }
        for (at, held) in map.shards().iter().enumerate() {
            crate::counts::note_slots(at, held);
        }
        Ok(Self {
            shards,
            map: RwLock::new(Arc::new(map)),
            stuck: Mutex::new(BTreeMap::new()),
            clock: None,
        })
    }
}

async fn ask(shard: &Arc<dyn Shard>, at: usize) -> Result<Holdings, ShardsError> {
    let error = |error| ShardsError::Port { at, error };
    let held = shard.holdings(None).await.map_err(error)?;
    held.ok_or_else(|| error(PortError::new(PortErrorKind::Internal)))
}

/// Makes shards of those that are none. The first comes last: as long as it is none, whoever opens
/// them does the rest of the same plan.
async fn enroll(shards: &[Arc<dyn Shard>], held: &mut [Holdings]) -> Result<(), ShardsError> {
    let begins = held[0].place.is_none();
    let has_slots = |held: &Holdings| !held.slots.is_empty();
    let is_even = held.iter().any(has_slots) || !held[0].is_occupied;
    for at in (1..shards.len()).chain([0]) {
        if held[at].place.is_some() {
            continue;
        }
        if at > 0 && held[at].is_occupied {
            return Err(ShardsError::Occupied(at));
        }
        let is_its = |slot: &Slot| {
            begins
                && if is_even {
                    even(*slot, shards.len()) == at
                } else {
                    at == 0
                }
        };
        let share: Vec<_> = Slot::all().filter(is_its).collect();
        // Whoever was first has drawn the number.
        let set = held.iter().find_map(|held| held.place);
        let set = set.map_or_else(|| RandomState::new().hash_one(at) >> 1, |place| place.set);
        let place = Place { set, at: at as u16 };
        let enrolled = shards[at].enroll(place, &share).await;
        enrolled.map_err(|error| ShardsError::Port { at, error })?;
        held[at] = ask(&shards[at], at).await?;
    }
    Ok(())
}

/// The database of a slot when so many have the same share.
fn even(slot: Slot, databases: usize) -> usize {
    usize::from(slot.number()) * databases / usize::from(Slot::COUNT)
}

fn check(held: &[Holdings]) -> Result<(), ShardsError> {
    let set = held[0].place.map(|place| place.set);
    for (given, held) in held.iter().enumerate() {
        let Some(place) = held.place.filter(|place| Some(place.set) == set) else {
            return Err(ShardsError::Foreign(given));
        };
        let found = usize::from(place.at);
        if found != given {
            return Err(ShardsError::Order { given, found });
        }
    }
    Ok(())
}
