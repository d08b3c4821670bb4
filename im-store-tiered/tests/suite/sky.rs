//! The weather: tier and store take a while, and fail before or after the deed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Holder, Member, NodeId, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, Hold, Hot, HotAnswer, HotCommit, HotView, Lag, LogQuery,
    MembershipPage, Pending, PortError, PortErrorKind, RecordKey, Rejected, Settle, Store, View,
    Warming, Which, Write,
};
use im_testkit::memory::{MemoryHot, MemoryStore};
use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The flusher tells the tier before the cold store has the batch.
    EarlyWord,
    /// The tier does not say that it may have lost a log's end.
    NoDoubt,
    /// The cold store takes whoever writes for the holder.
    NoFence,
}

/// What happens to a call.
#[derive(Debug)]
pub(crate) struct Sky {
    pub(crate) rng: Mutex<fastrand::Rng>,
    pub(crate) is_calm: std::sync::atomic::AtomicBool,
}

impl Sky {
    fn roll(&self, one_in: u32) -> bool {
        !self.is_calm.load(std::sync::atomic::Ordering::Relaxed)
            && self.rng.lock().u32(0..one_in) == 0
    }

    async fn pass(&self) {
        let ms = self.rng.lock().u64(0..12);
        let long = if self.roll(60) { 400 } else { 0 };
        tokio::time::sleep(Duration::from_millis(ms + long)).await;
    }

    /// Runs a call that may fail before or after it happened.
    async fn around<T>(
        &self,
        call: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        self.pass().await;
        if self.roll(15) {
            return Err(away());
        }
        let done = call.await;
        self.pass().await;
        if self.roll(15) {
            return Err(away());
        }
        done
    }
}

const fn away() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}

#[derive(Debug)]
pub(crate) struct WildHot {
    pub(crate) inner: Arc<MemoryHot>,
    pub(crate) sky: Arc<Sky>,
    pub(crate) planted: Option<Planted>,
}

#[async_trait]
impl Hot for WildHot {
    async fn append(&self, commits: &[HotCommit]) -> Vec<Result<HotAnswer, PortError>> {
        let call = async { Ok(self.inner.append(commits).await) };
        match self.sky.around(call).await {
            Ok(answers) => answers,
            Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn read(
        &self,
        conv: &ConversationId,
        query: Option<&LogQuery>,
    ) -> Result<Option<HotView>, PortError> {
        self.sky.around(self.inner.read(conv, query)).await
    }

    async fn warm(&self, log: &Warming) -> Result<Holder, PortError> {
        self.sky.around(self.inner.warm(log)).await
    }

    async fn close(
        &self,
        conv: &ConversationId,
        holder: Option<Holder>,
    ) -> Result<Option<Pending>, PortError> {
        let mut closed = self.sky.around(self.inner.close(conv, holder)).await?;
        if self.planted == Some(Planted::NoDoubt)
            && let Some(closed) = &mut closed
        {
            closed.is_doubtful = false;
        }
        Ok(closed)
    }

    async fn settle(
        &self,
        conv: &ConversationId,
        holder: Holder,
        closing: u64,
        settle: Settle,
    ) -> Result<(), PortError> {
        let call = self.inner.settle(conv, holder, closing, settle);
        self.sky.around(call).await
    }

    async fn pending(&self, which: Which<'_>) -> Result<Vec<Pending>, PortError> {
        let pending = self.sky.around(self.inner.pending(which)).await?;
        if self.planted == Some(Planted::EarlyWord) {
            self.inner.done(&pending).await?;
        }
        Ok(pending)
    }

    async fn done(&self, flushed: &[Pending]) -> Result<(), PortError> {
        self.sky.around(self.inner.done(flushed)).await
    }

    async fn lag(&self) -> Result<Vec<Lag>, PortError> {
        self.sky.around(self.inner.lag()).await
    }
}

#[derive(Debug)]
pub(crate) struct WildStore {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) sky: Arc<Sky>,
    pub(crate) planted: Option<Planted>,
}

impl WildStore {
    async fn apply(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        if self.planted != Some(Planted::NoFence) {
            return self.inner.commit(batch).await;
        }
        let mut answers = Vec::new();
        for commit in batch {
            let mut commit = commit.clone();
            let view = self.inner.view(&commit.conv, &[]).await.unwrap();
            let holder = view.map_or(Holder(0), |view| view.conversation.holder);
            match commit.writes.first_mut() {
                Some(Write::Hold(hold)) => hold.from = holder,
                _ => commit.writes.insert(
                    0,
                    Write::Hold(Hold {
                        from: holder,
                        to: holder,
                        head: None,
                        lost: false,
                    }),
                ),
            }
            answers.extend(self.inner.commit(&[commit]).await);
        }
        answers
    }
}

#[async_trait]
impl Store for WildStore {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let call = async { Ok(self.apply(batch).await) };
        match self.sky.around(call).await {
            Ok(answers) => answers,
            Err(error) => batch.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.sky.around(self.inner.view(conv, users)).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.sky
            .around(self.inner.members(conv, after, limit))
            .await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.sky.around(self.inner.log(conv, query)).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let call = self.inner.memberships(user, since, limit, detail);
        self.sky.around(call).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.sky.around(self.inner.changed(since, limit)).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.sky.around(self.inner.record(key, now)).await
    }

    async fn enter(&self, node: &NodeId) -> Result<u64, PortError> {
        self.inner.enter(node).await
    }
}
