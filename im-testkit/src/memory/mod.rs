//! Adapters that live in memory: the whole contract of each port, exact and repeatable, for tests
//! of the node, of apps, and for the simulator. The bus and the registry of one process are
//! `im_node::local`.

mod apply;
mod blobs;
mod facts;
mod faulty;
mod hot;
mod log;
mod people;
mod search;
mod shard;
mod state;
mod store;

pub use blobs::{MemoryBlobs, TestInspect};
pub use faulty::{Fault, FaultyStore};
pub use hot::{Kept, MemoryHot};
pub use people::{FnHooks, MemoryDirectory, TokenTable};
pub use store::MemoryStore;
