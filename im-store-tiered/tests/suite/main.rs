//! The store of two tiers: the whole suite of stores on it, and faults of both tiers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod circles;
mod faults;
mod outage;
mod seam;
mod servers;
mod world;

use std::sync::Arc;
use std::time::Duration;

use im_core::port::{Hot, Search, Shard, Store};
use im_store_sharded::Sharded;
use im_store_tiered::{Durability, Options, Tiered};
use im_testkit::memory::{MemoryHot, MemoryStore};

mod cached_in_memory {
    im_testkit::store_suite!(super::in_memory(
        super::options(super::Durability::Cached),
        1000
    ));
}

mod committed_in_memory {
    im_testkit::store_suite!(super::in_memory(
        super::options(super::Durability::Committed),
        1000
    ));
}

/// The tier keeps next to nothing that the store has: every read is over the seam.
mod with_little_kept {
    im_testkit::store_suite!(super::in_memory(
        super::options(super::Durability::Cached),
        1
    ));
}

/// The first append to a conversation goes to the cold store.
mod with_a_first_touch {
    im_testkit::store_suite!(super::in_memory(
        super::Options {
            warm_within: super::Duration::from_secs(60),
            ..super::options(super::Durability::Cached)
        },
        1000
    ));
}

mod cached_on_redis_and_sqlite {
    im_testkit::store_suite!(super::servers::tiered(
        super::servers::redis(500).await,
        Some(super::servers::sqlite().await),
        super::options(super::Durability::Cached)
    ));
}

mod committed_on_redis_and_sqlite {
    im_testkit::store_suite!(super::servers::tiered(
        super::servers::redis(500).await,
        Some(super::servers::sqlite().await),
        super::options(super::Durability::Committed)
    ));
}

mod with_little_kept_on_redis {
    im_testkit::store_suite!(super::servers::tiered(
        super::servers::redis(1).await,
        Some(super::servers::sqlite().await),
        super::options(super::Durability::Cached)
    ));
}

mod cached_on_redis_and_mysql {
    im_testkit::store_suite!(super::servers::tiered(
        super::servers::redis(500).await,
        super::servers::mysql().await,
        super::options(super::Durability::Cached)
    ));
}

mod cached_on_redis_and_postgres {
    im_testkit::store_suite!(super::servers::tiered(
        super::servers::redis(500).await,
        super::servers::postgres().await,
        super::options(super::Durability::Cached)
    ));
}

mod cached_on_a_cluster {
    im_testkit::store_suite!(super::on_cluster());
}

mod cached_over_two_shards {
    im_testkit::store_suite!(super::over_shards(super::Durability::Cached));
}

mod committed_over_two_shards {
    im_testkit::store_suite!(super::over_shards(super::Durability::Committed));
}

mod cached_on_redis_over_two_shards {
    im_testkit::store_suite!(super::on_redis_over_shards());
}

mod search {
    im_testkit::search_suite!(super::searched(super::Durability::Cached));

    mod committed {
        im_testkit::search_suite!(crate::searched(crate::Durability::Committed));
    }
}

async fn searched(durability: Durability) -> ((), (Arc<dyn Store>, Arc<dyn Search>)) {
    let (hot, cold) = (MemoryHot::new(1000, 100_000), Arc::new(MemoryStore::new()));
    let store = Tiered::start(Arc::new(hot), Arc::clone(&cold) as _, options(durability));
    let store = Arc::new(store.with_search(cold));
    ((), (Arc::clone(&store) as _, store))
}

/// A store of two shards in memory.
async fn shards() -> Arc<dyn Store> {
    let new = || Arc::new(MemoryStore::new()) as Arc<dyn Shard>;
    Arc::new(Sharded::open(vec![new(), new()]).await.unwrap())
}

async fn over_shards(durability: Durability) -> ((), Arc<dyn Store>) {
    let hot = Arc::new(MemoryHot::new(1000, 100_000));
    let store = Tiered::start(hot, shards().await, options(durability));
    ((), Arc::new(store))
}

async fn on_redis_over_shards() -> Option<(servers::Leftovers, Arc<dyn Store>)> {
    let (keys, hot) = servers::redis(500).await?;
    let store = Tiered::start(hot, shards().await, options(Durability::Cached));
    Some((keys, Arc::new(store)))
}

/// A tier on a Redis Cluster, before a store in memory.
async fn on_cluster() -> Option<((), Arc<dyn Store>)> {
    let hot = servers::cluster().await?;
    let options = options(Durability::Cached);
    let store = Tiered::start(hot, Arc::new(MemoryStore::new()), options);
    Some(((), Arc::new(store)))
}

fn options(durability: Durability) -> Options {
    Options {
        durability,
        warm_within: Duration::ZERO,
        flush_every: Duration::from_millis(5),
        ..Options::default()
    }
}

async fn in_memory(options: Options, keep: usize) -> ((), Arc<dyn Store>) {
    let hot: Arc<dyn Hot> = Arc::new(MemoryHot::new(keep, 100_000));
    (
        (),
        Arc::new(Tiered::start(hot, Arc::new(MemoryStore::new()), options)),
    )
}
