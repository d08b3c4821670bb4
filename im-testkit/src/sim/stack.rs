//! What a node's store is made of: its way to what all nodes share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use im_core::model::Slot;
use im_core::port::{Clock, Hot, PortError, PortErrorKind, Shard, Store};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::layers::{Lanes, Spread};
use super::ports::{Gate, SimStoreNode};
use super::world::World;

/// How long a mover that failed waits before it goes on.
const MOVE_AGAIN: Duration = Duration::from_millis(500);

/// A node's store, and its parts.
pub(crate) struct Stack {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) parts: Vec<Arc<SimStoreNode>>,
    /// With the count of what they divide by.
    pub(crate) lanes: Option<(usize, Lanes)>,
}

impl World {
    /// Puts a node's store together.
    pub(crate) async fn stack(&self, gate: &Arc<Gate>) -> Result<Stack, PortError> {
        let parts = self.parts(gate);
        let mut stack = match self.spread(&parts).await? {
            Some(spread) => Stack {
                lanes: Some((parts.len(), spread.lanes())),
                store: spread.store(),
                parts,
            },
            None => Stack {
                store: Arc::<SimStoreNode>::clone(&parts[0]),
                parts,
                lanes: None,
            },
        };
        if let (Some(layers), Some((tier, hot))) = (&self.layers, &self.tier) {
            let hot: Arc<dyn Hot> = Arc::new(hot.of_node(Arc::clone(gate)));
            stack.store = layers.tiered(hot, stack.store, tier, self.next_number());
        }
        Ok(stack)
    }

    fn parts(&self, gate: &Arc<Gate>) -> Vec<Arc<SimStoreNode>> {
        let parts = self.stores.iter();
        parts
            .map(|store| Arc::new(store.of_node(Arc::clone(gate))))
            .collect()
    }

    /// A store over several, if there are several.
    async fn spread(
        &self,
        parts: &[Arc<SimStoreNode>],
    ) -> Result<Option<Arc<dyn Spread>>, PortError> {
        let Some(layers) = self.layers.as_ref().filter(|_| parts.len() > 1) else {
            return Ok(None);
        };
        let shards = parts.iter().map(|part| Arc::clone(part) as Arc<dyn Shard>);
        let clock: Arc<dyn Clock> = Arc::<super::ports::SimClock>::clone(&self.store_clock);
        layers.spread(shards.collect(), clock).await.map(Some)
    }

    /// A number that nothing else in the run has, the same each time.
    fn next_number(&self) -> u64 {
        let drawn = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.plan.seed.wrapping_mul(1_000_003).wrapping_add(drawn)
    }

    /// An operator moves a slot, and may die on the way.
    pub(crate) fn start_move(
        self: &Arc<Self>,
        slot: Slot,
        to: usize,
        dies: Option<Duration>,
    ) -> JoinHandle<()> {
        let world = Arc::clone(self);
        let mover = self.next_number();
        let moves = async move {
            while let Err(error) = world.try_move(slot, to, mover).await {
                world.trace(|| format!("slot {slot} does not move to {to}: {error}"));
                sleep(MOVE_AGAIN).await;
            }
            world.trace(|| format!("slot {slot} is at {to}"));
        };
        tokio::spawn(async move {
            match dies {
                Some(dies) => drop(timeout(dies, moves).await),
                None => moves.await,
            }
        })
    }

    async fn try_move(&self, slot: Slot, to: usize, mover: u64) -> Result<(), PortError> {
        let parts = self.parts(&Arc::default());
        match self.spread(&parts).await? {
            Some(spread) => spread.move_slot(slot, to, mover).await,
            None => Err(PortError::new(PortErrorKind::Internal)),
        }
    }

    /// Operators go on with every move that somebody began, unless they do so already.
    pub(crate) fn finish_moves(self: &Arc<Self>) {
        let mut finishing = self.finishing.lock();
        finishing.retain(|_, mover| !mover.is_finished());
        for (slot, at) in self.slots_under_way() {
            finishing
                .entry(slot)
                .or_insert_with(|| self.start_move(slot, at, None));
        }
    }
}
