//! Adapters that live in memory: the whole contract of each port, exact and repeatable, for tests
//! of the node, of apps, and for the simulator.

mod apply;
mod log;
mod state;
mod store;

pub use store::MemoryStore;
