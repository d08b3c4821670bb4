//! A hot tier that is slow, fails, forgets to answer, and forgets everything.

use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{ConversationId, Holder};
use im_core::port::{
    Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery, Pending, PortError, Settle, Warming, Which,
};

use super::super::planted::Planted;
use super::gate::Gate;
use super::shared::{SimAtNode, SimShared};
use super::store::at_once;
use crate::memory::{Kept, MemoryHot};

/// A [`MemoryHot`] shared by the nodes of a run, with the faults of a seed.
pub type SimHot = SimShared<MemoryHot>;

/// A [`SimHot`] as one node reaches it.
pub type SimHotNode = SimAtNode<MemoryHot>;

impl SimHot {
    /// With a bug put in on purpose, if it is one of a tier's.
    #[must_use]
    pub const fn plant(mut self, planted: Option<Planted>) -> Self {
        self.planted = planted;
        self
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

#[async_trait]
impl Hot for SimHotNode {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        let copies = commits.to_vec();
        let append = move |memory: &MemoryHot| Ok(at_once(memory.append(&copies)));
        match self.tell(append).await {
            Ok(answers) => answers,
            Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        self.ask(|memory| at_once(memory.read(conv, query))).await?
    }

    async fn warm(&self, log: &Warming) -> Result<Holder, PortError> {
        let log = log.clone();
        self.tell(move |memory| at_once(memory.warm(&log))).await
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let conv = conv.clone();
        let has_doubts = self.shared.planted != Some(Planted::NoDoubt);
        self.tell(move |memory| {
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
        self.tell(move |memory| at_once(memory.settle(&conv, holder, closing, settle)))
            .await
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        let tells_early = self.shared.planted == Some(Planted::AckBeforeCold);
        self.ask(|memory| {
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
        self.tell(move |memory| at_once(memory.done(&flushed)))
            .await
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        self.ask(|memory| at_once(memory.lag())).await?
    }
}
