//! One [`Store`](im_core::port::Store) over several databases: conversations are spread by
//! [slots](im_core::model::Slot), and a slot [moves](Mover) to another database while the service
//! runs.
//!
//! ```
//! # use std::sync::Arc;
//! # use im_testkit::memory::MemoryStore;
//! # async fn open() -> Result<(), im_store_sharded::ShardsError> {
//! let shards = vec![Arc::new(MemoryStore::new()) as _, Arc::new(MemoryStore::new()) as _];
//! let store = im_store_sharded::Sharded::open(shards).await?;
//! # Ok(()) }
//! ```
//!
//! **Who is right about a slot** is what the databases themselves say: each holds its slots with an
//! epoch, and the map is no more than what they said last. A commit to a database that does
//! not have the slot open is refused by that database, in the commit's own transaction; then the
//! map is read again.
//!
//! **Why no read is stale.** A slot is open in one database from the moment its holding says so
//! until another change of that holding, and epochs never come back. So when the database that was
//! read still has the slot open *with the same epoch* after the read, it had it open at the moment
//! of the read, and nobody else took a commit. While a slot is closed nobody takes any: a read of
//! it counts if, after it, no other database has opened it. A list is read from all databases, and
//! counts if afterwards every slot is where it was before.
//!
//! **Why no change is missed.** What a move brings to a database gets new stamps there, in the
//! transaction that opens the slot: whoever asks that database for what changed is given it.
//!
//! **Facts** are kept with the conversation that each is placed with.
//!
//! **Records.** Blocks are kept with the direct conversation of the two. The answer to a request is
//! kept with the conversation that it wrote to, in the same transaction, and looked for in every
//! database. Of one key used for *different* conversations at the same moment, several may be done.

mod counts;
mod error;
mod map;
mod merge;
mod mover;
mod open;
mod route;
mod search;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use im_core::model::{ConversationId, Slot, Timestamp};
use im_core::port::{Clock, Holdings, PortError, Shard};
use parking_lot::{Mutex, RwLock};

pub use error::{MoveError, ShardsError};
use map::Map;
pub use mover::{Mover, Step};

/// The most databases: a sync token names a stamp of each, in at most 256 bytes.
pub const SHARDS_MAX: usize = 16;

/// A store over several databases. See the [crate].
#[derive(Debug)]
pub struct Sharded {
    shards: Vec<Arc<dyn Shard>>,
    /// What they said last.
    map: RwLock<Arc<Map>>,
    /// Slots that stayed closed longer than a commit waits, with the epoch they had: nobody waits
    /// for them again until they move on.
    stuck: Mutex<BTreeMap<Slot, u64>>,
    /// Ends records; `None` for the system's time.
    clock: Option<Arc<dyn Clock>>,
}

impl Sharded {
    /// Ends records and a mover's time by that clock, not by the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many databases there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// The database that has a conversation, as far as is known, counted from 0.
    #[must_use]
    pub fn shard_of(&self, conv: &ConversationId) -> usize {
        self.map().owner(Slot::of(conv)).map_or(0, |owner| owner.at)
    }

    /// What a node divides its lanes by, so that sends to one database don't wait for another:
    /// where each conversation is now. It stays that when slots move, as sends to a conversation
    /// must stay in one lane; the next start divides anew.
    pub fn lanes(&self) -> impl Fn(&ConversationId) -> usize + Send + Sync + 'static {
        let map = self.map();
        move |conv| map.owner(Slot::of(conv)).map_or(0, |owner| owner.at)
    }

    /// What each database holds now.
    ///
    /// # Errors
    /// When one of them is away.
    pub async fn holdings(&self) -> Result<Vec<Holdings>, PortError> {
        Ok(self.refresh().await?.shards().to_vec())
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read())
    }

    /// Asks every database what it holds. Of one that is away, what it said last stays.
    async fn refresh(&self) -> Result<Arc<Map>, PortError> {
        let map = self.map();
        let asked = self.shards.iter().zip(map.shards());
        let asked = asked.map(|(shard, held)| shard.holdings(Some(held.version)));
        let mut failed = None;
        for (at, answer) in join_all(asked).await.into_iter().enumerate() {
            counts::note(at, &answer);
            match answer {
                Ok(Some(held)) => self.learn(at, held),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or_else(|| Ok(self.map()), Err)
    }

    /// Takes what a database said, unless a newer answer came before it.
    fn learn(&self, at: usize, held: Holdings) {
        let mut map = self.map.write();
        let known = map.shards().get(at).map_or(0, |known| known.version);
        if held.version > known {
            counts::note_slots(at, &held);
            *map = Arc::new(map.with(at, held));
        }
    }

    fn now(&self) -> Timestamp {
        if let Some(clock) = &self.clock {
            return clock.timestamp();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since.map_or(0, |since| since.as_millis());
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use im_core::model::{Stamps, UserId};
    use im_core::port::{Phase, Store as _};
    use im_testkit::memory::MemoryStore;

    use super::*;

    /// What was read of one database after a slot had gone, of the other before it was open, says
    /// that nobody has it. A list looks again, although nobody else does.
    #[tokio::test(start_paused = true)]
    async fn a_list_gets_over_a_slot_that_nobody_seemed_to_have() {
        let shards: Vec<_> = (0..2)
            .map(|_| Arc::new(MemoryStore::new()) as Arc<dyn Shard>)
            .collect();
        let sharded = Sharded::open(shards.clone()).await.unwrap();
        let operator = Sharded::open(shards).await.unwrap();
        let slot = Slot::new(0).unwrap();
        let mut mover = Mover::new(&operator, slot, 1, 1).unwrap();
        while mover.step().await.unwrap() != Step::Left {}
        let held = operator.shards[0].holdings(None).await.unwrap().unwrap();
        assert_eq!(held.of(slot).unwrap().phase, Phase::Gone);
        sharded.learn(0, held);
        assert_eq!(sharded.map().orphan(), Some(slot));
        let (user, since) = (UserId::new("al").unwrap(), Stamps::START);
        let list = sharded.memberships(&user, &since, 10, false);
        assert!(list.await.unwrap().lines.is_empty());
    }
}
