//! The store in memory.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use im_core::model::{
    ConversationId, Entry, Fact, Member, MessageId, Slot, Stamps, Timestamp, UserId,
};
use im_core::port::{
    Changed, Clock, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, RecordKey,
    Rejected, Store, View,
};
use parking_lot::{Mutex, MutexGuard};

use super::state::State;

/// A [`Store`] in memory: the whole contract, nothing kept after it is dropped. Every call is done
/// when it returns (no `await` inside), and the same calls give the same answers.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    /// Ends records; `None` for the system's time.
    clock: Option<Arc<dyn Clock>>,
}

impl MemoryStore {
    /// An empty store, by the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose records end by that clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Mutex::default(),
            clock: Some(clock),
        }
    }

    /// A store with the same content, that goes its own way.
    pub(crate) fn fork(&self) -> Self {
        Self {
            state: Mutex::new(self.state.lock().clone()),
            clock: self.clock.clone(),
        }
    }

    /// Takes commits to slots that it has not: a planted bug.
    pub(crate) fn unfence(&self) {
        self.state.lock().is_unfenced = true;
    }

    /// The epoch in which reads of a slot are right here, if they are.
    pub(crate) fn serves(&self, slot: Slot) -> Option<u64> {
        self.state.lock().serves(slot)
    }

    /// Slots on their way from here or to here.
    pub(crate) fn under_way(&self) -> Vec<Slot> {
        self.state.lock().under_way()
    }

    /// What stands in a log, from its first entry on.
    pub(crate) fn ids(&self, conv: &ConversationId) -> Vec<MessageId> {
        let state = self.state.lock();
        let log = state.convs.get(conv);
        log.map_or_else(Vec::new, |log| {
            log.entries.iter().map(|entry| entry.id).collect()
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn now(&self) -> Timestamp {
        if let Some(clock) = &self.clock {
            return clock.timestamp();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_millis() as i64))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let now = self.now();
        let mut state = self.state.lock();
        batch
            .iter()
            .map(|commit| state.apply(commit, now))
            .collect()
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        Ok(self.state.lock().view(conv, users))
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        Ok(self.state.lock().members(conv, after, limit))
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        Ok(self.state.lock().log(conv, &query))
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let state = self.state.lock();
        Ok(state.memberships(user, since.of(0), limit, detail))
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        Ok(self.state.lock().changed(since.of(0), limit))
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        let state = self.state.lock();
        Ok(state.record(key, now).map(|record| record.value.clone()))
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        Ok(self.state.lock().facts(query))
    }
}
