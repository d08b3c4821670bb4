//! What lives in memory and is shared by the nodes of a run, with the faults of a seed.

use std::sync::Arc;

use im_core::port::PortError;

use super::super::planted::Planted;
use super::gate::Gate;
use super::sky::{Sky, StoreFault, StoreWeather};

/// A store or a tier in memory, under the weather of a seed.
#[derive(Debug)]
pub struct SimShared<M> {
    pub(super) memory: Arc<M>,
    pub(super) planted: Option<Planted>,
    pub(super) sky: Sky,
}

impl<M: Send + Sync + 'static> SimShared<M> {
    /// With that weather.
    #[must_use]
    pub fn new(memory: Arc<M>, weather: StoreWeather, seed: u64) -> Self {
        Self {
            memory,
            planted: None,
            sky: Sky::new(weather, seed),
        }
    }

    /// Begins or ends a fault.
    pub fn set_fault(&self, fault: Option<StoreFault>) {
        self.sky.set_fault(fault);
    }

    /// Whether somebody asked and asked, without a wait in between.
    #[must_use]
    pub fn has_circled(&self) -> bool {
        self.sky.has_circled()
    }

    /// Ends every fault, and the weather.
    pub fn calm(&self) {
        self.sky.calm();
    }
}

/// A [`SimShared`] as one node reaches it, through its gate.
#[derive(Debug)]
pub struct SimAtNode<M> {
    pub(super) shared: Arc<SimShared<M>>,
    pub(super) gate: Arc<Gate>,
}

impl<M: Send + Sync + 'static> SimAtNode<M> {
    pub(super) async fn ask<T>(&self, call: impl FnOnce(&M) -> T) -> Result<T, PortError> {
        let SimShared { memory, sky, .. } = &*self.shared;
        sky.read(&self.gate, || call(memory)).await
    }

    pub(super) async fn tell<T: Send + 'static>(
        &self,
        work: impl FnOnce(&M) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let memory = Arc::clone(&self.shared.memory);
        let write = self.shared.sky.write(&self.gate, move || work(&memory));
        write.await
    }
}
