//! The stores made of stores that plans may ask for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::Slot;
use im_core::port::{Clock, Hot, PortError, PortErrorKind, Shard, Store};
use im_store_sharded::{MoveError, Mover, Sharded, ShardsError};
use im_store_tiered::{Durability, Options, Tiered};
use im_testkit::sim::{Lanes, Layers, Spread, Tier};

/// Longer than any run, whatever its clocks show.
const DEDUPE: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// `im-store-tiered` and `im-store-sharded`.
pub(crate) struct OurLayers;

#[async_trait]
impl Layers for OurLayers {
    fn tiered(
        &self,
        hot: Arc<dyn Hot>,
        cold: Arc<dyn Store>,
        tier: &Tier,
        seed: u64,
    ) -> Arc<dyn Store> {
        let options = Options {
            durability: match tier.is_cached {
                true => Durability::Cached,
                false => Durability::Committed,
            },
            warm_within: tier.warm_within,
            flush_every: tier.flush_every,
            flush_entries: tier.flush_entries,
            dedupe: DEDUPE,
            seed: Some(seed),
            ..Options::default()
        };
        Arc::new(Tiered::start(hot, cold, options))
    }

    async fn spread(
        &self,
        shards: Vec<Arc<dyn Shard>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn Spread>, PortError> {
        match Sharded::open(shards).await {
            Ok(sharded) => Ok(Arc::new(OurSpread(Arc::new(sharded.with_clock(clock))))),
            Err(ShardsError::Port { error, .. }) => Err(error),
            Err(error) => Err(PortError::with_source(PortErrorKind::Internal, error)),
        }
    }
}

#[derive(Debug)]
struct OurSpread(Arc<Sharded>);

#[async_trait]
impl Spread for OurSpread {
    fn store(&self) -> Arc<dyn Store> {
        Arc::<Sharded>::clone(&self.0)
    }

    async fn move_slot(&self, slot: Slot, to: usize, mover: u64) -> Result<(), PortError> {
        let run = async |to| Mover::new(&self.0, slot, to, mover)?.run().await;
        let moved = match run(to).await {
            Err(MoveError::OnItsWay { to, .. }) => run(to.into()).await,
            moved => moved,
        };
        moved.map_err(|error| match error {
            MoveError::Port(error) => error,
            error => PortError::with_source(PortErrorKind::Busy, error),
        })
    }

    fn lanes(&self) -> Lanes {
        Arc::new(self.0.lanes())
    }
}
