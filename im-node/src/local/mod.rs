//! One process: its bus and its registry, shared by the nodes that run in it.

mod bus;
mod registry;

pub use bus::LocalBus;
pub use registry::LocalRegistry;
