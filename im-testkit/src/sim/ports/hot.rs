//! A hot tier that is slow, fails, forgets to answer, and forgets everything.

use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{ConversationId, Holder};
use im_core::port::{
    Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery, Pending, PortError, Settle, Warming, Which,
};

use super::super::planted::Planted;
use super::gate::Gate;
use super::sky::{Sky, StoreFault, StoreWeather};
use super::store::at_once;
use crate::memory::{Kept, MemoryHot};

/// A [`MemoryHot`] shared by the nodes of a run, with the faults of a seed.
#[derive(Debug)]
pub struct SimHot {
    memory: Arc<MemoryHot>,
    planted: Option<Planted>,
    sky: Sky,
}

impl SimHot {
    /// A tier with that weather.
    #[must_use]
    pub fn new(memory: Arc<MemoryHot>, weather: StoreWeather, seed: u64) -> Self {
        Self {
            memory,
            planted: None,
            sky: Sky::new(weather, seed),
        }
    }

    /// With a bug put in on purpose, if it is one of a tier's.
    #[must_use]
    pub const fn plant(mut self, planted: Option<Planted>) -> Self {
        self.planted = planted;
        self
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

    /// Forgets everything.
    pub fn forget(&self) {
        self.memory.clear();
    }

    /// What it has now.
    #[must_use]
    pub fn keep(&self) -> Kept {
        self.memory.keep()
    }

    /// Begins anew with what it had once, as a server does that lost the last of what it wrote.
    pub fn begin_with(&self, kept: Kept) {
        self.memory.begin_with(kept);
    }

    /// The tier as one node reaches it, through its gate.
    #[must_use]
    pub fn of_node(self: &Arc<Self>, gate: Arc<Gate>) -> SimHotNode {
        SimHotNode {
            shared: Arc::clone(self),
            gate,
        }
    }
}

/// A [`SimHot`] as one node reaches it.
#[derive(Debug)]
pub struct SimHotNode {
    shared: Arc<SimHot>,
    gate: Arc<Gate>,
}

impl SimHotNode {
    async fn read<T>(&self, call: impl FnOnce(&MemoryHot) -> T) -> Result<T, PortError> {
        let SimHot { memory, sky, .. } = &*self.shared;
        sky.read(&self.gate, || call(memory)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryHot) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let memory = Arc::clone(&self.shared.memory);
        let write = self.shared.sky.write(&self.gate, move || work(&memory));
        write.await
    }
}

#[async_trait]
impl Hot for SimHotNode {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        let copies = commits.to_vec();
        let append = move |memory: &MemoryHot| Ok(at_once(memory.append(&copies)));
        match self.write(append).await {
            Ok(answers) => answers,
            Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        Self::read(self, |memory| at_once(memory.read(conv, query))).await?
    }

    async fn warm(&self, log: &Warming) -> Result<Holder, PortError> {
        let log = log.clone();
        self.write(move |memory| at_once(memory.warm(&log))).await
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let conv = conv.clone();
        let has_doubts = self.shared.planted != Some(Planted::NoDoubt);
        self.write(move |memory| {
            let closed = at_once(memory.close(&conv, holder))?;
            Ok(closed.map(|closed| Pending {
                is_doubtful: closed.is_doubtful && has_doubts,
                ..closed
            }))
        })
        .await
    }

    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError> {
        let conv = conv.clone();
        self.write(move |memory| at_once(memory.settle(&conv, holder, closing, settle)))
            .await
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        let tells_early = self.shared.planted == Some(Planted::AckBeforeCold);
        Self::read(self, |memory| {
            let pending = at_once(memory.pending(which))?;
            if tells_early {
                at_once(memory.done(&pending))?;
            }
            Ok(pending)
        })
        .await?
    }

    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError> {
        let flushed = flushed.to_vec();
        self.write(move |memory| at_once(memory.done(&flushed)))
            .await
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        Self::read(self, |memory| at_once(memory.lag())).await?
    }
}
