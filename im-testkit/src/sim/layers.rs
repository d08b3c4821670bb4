//! Stores made of stores: a tier before one, one over several. This crate knows ports and no
//! adapter, so whoever runs the simulator gives them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{ConversationId, Slot};
use im_core::port::{Clock, Hot, PortError, Shard, Store};

use super::plan::Tier;

/// Which lane a conversation's sends go through.
pub type Lanes = Arc<dyn Fn(&ConversationId) -> usize + Send + Sync>;

/// What a node's store is made with. All of it must be repeatable: no clock but tokio's, no chance
/// but from the seeds given.
#[async_trait]
pub trait Layers: Send + Sync + 'static {
    /// A store of two tiers, which flushes until it is dropped. No two have the same seed.
    fn tiered(
        &self,
        hot: Arc<dyn Hot>,
        cold: Arc<dyn Store>,
        tier: &Tier,
        seed: u64,
    ) -> Arc<dyn Store>;

    /// A store over several, in this order.
    ///
    /// # Errors
    /// When one of them fails.
    async fn spread(
        &self,
        shards: Vec<Arc<dyn Shard>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Spread>, PortError>;
}

/// A store over several.
#[async_trait]
pub trait Spread: Debug + Send + Sync + 'static {
    /// It.
    fn store(&self) -> Arc<dyn Store>;

    /// Moves a slot to a store, counted from 0, or goes on with where it is on its way to already;
    /// `mover` is a number that no other has.
    ///
    /// # Errors
    /// When a store fails, or another mover is at work: then it is to be tried again.
    async fn move_slot(&self, slot: Slot, to: usize, mover: u64) -> Result<(), PortError>;

    /// What a node divides its lanes by: the store that has a conversation.
    fn lanes(&self) -> Lanes;
}
