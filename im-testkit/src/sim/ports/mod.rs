//! The ports of a simulated node: real ones in memory, behind faults drawn from a seed.

mod bus;
mod clock;
mod gate;
mod hot;
mod registry;
mod shared;
mod sky;
mod store;

pub use bus::{BusWeather, SimBus};
pub use clock::SimClock;
pub use gate::Gate;
pub use hot::{SimHot, SimHotNode};
pub use registry::SimRegistry;
pub use shared::{SimAtNode, SimShared};
pub use sky::{StoreFault, StoreWeather};
pub use store::{SimStore, SimStoreNode};
