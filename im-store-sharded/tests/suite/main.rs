//! One store over several databases, as every other store; and slots on the move.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where it stands"
)]

use std::sync::Arc;

use im_core::port::{Search, Shard, Store};
use im_store_sharded::Sharded;
use im_testkit::memory::MemoryStore;

mod away;
mod kit;
mod load;
mod moves;
mod open;
mod search;
mod servers;

mod three_in_memory {
    im_testkit::store_suite!(super::fresh(3));
}

mod one_in_memory {
    im_testkit::store_suite!(super::fresh(1));
}

fn memories(count: usize) -> Vec<Arc<dyn Shard>> {
    let new = |_| Arc::new(MemoryStore::new()) as Arc<dyn Shard>;
    (0..count).map(new).collect()
}

async fn fresh(count: usize) -> ((), Arc<dyn Store>) {
    ((), Arc::new(Sharded::open(memories(count)).await.unwrap()))
}

async fn searched() -> ((), (Arc<dyn Store>, Arc<dyn Search>)) {
    let store = Arc::new(Sharded::open(memories(3)).await.unwrap());
    ((), (Arc::clone(&store) as _, store))
}
