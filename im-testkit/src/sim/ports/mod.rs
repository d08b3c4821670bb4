//! The ports of a simulated node: real ones in memory, behind faults drawn from a seed.

mod bus;
mod clock;
mod registry;
mod store;

pub use bus::{BusWeather, SimBus};
pub use clock::SimClock;
pub use registry::SimRegistry;
pub use store::{SimStore, StoreFault, StoreWeather};

pub(crate) use store::SimStoreNode;
