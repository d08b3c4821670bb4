//! A database that is away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Slot, Stamps, Timestamp, UserId};
use im_core::port::{
    Cargo, CargoQuery, Changed, Commit, Committed, FactQuery, Holding, Holdings, LogQuery,
    MembershipPage, Place, PortError, RecordKey, Rejected, Shard, Store, View,
};
use im_store_sharded::Sharded;
use im_testkit::memory::{Fault, FaultyStore, MemoryStore};

use crate::kit::*;

/// A shard whose store can be made to fail; it fails as a whole.
#[derive(Debug)]
struct FaultyShard {
    memory: Arc<MemoryStore>,
    faulty: FaultyStore,
}

impl FaultyShard {
    fn new() -> Self {
        let memory = Arc::new(MemoryStore::new());
        let faulty = FaultyStore::new(Arc::<MemoryStore>::clone(&memory));
        Self { memory, faulty }
    }

    fn set(&self, fault: Option<Fault>) {
        self.faulty.set_reads(fault);
        self.faulty.set_writes(fault);
    }
}

#[async_trait]
impl Store for FaultyShard {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        self.faulty.commit(batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.faulty.view(conv, users).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.faulty.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.faulty.log(conv, query).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.faulty.memberships(user, since, limit, detail).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.faulty.changed(since, limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.faulty.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.faulty.facts(query).await
    }
}

#[async_trait]
impl Shard for FaultyShard {
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError> {
        // Fails with the reads.
        self.faulty.changed(&Stamps::START, 0).await?;
        self.memory.holdings(known).await
    }

    async fn enroll(&self, place: Place, slots: &[Slot]) -> Result<(), PortError> {
        self.memory.enroll(place, slots).await
    }

    async fn turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, PortError> {
        self.memory.turn(slot, from, to).await
    }

    async fn cargo(
        &self,
        slot: Slot,
        query: &CargoQuery,
        limit: usize,
    ) -> Result<Cargo, PortError> {
        self.memory.cargo(slot, query, limit).await
    }

    async fn receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError> {
        self.memory.receive(slot, mover, until, cargo).await
    }

    async fn discard(&self, slot: Slot, limit: usize) -> Result<bool, PortError> {
        self.memory.discard(slot, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_fails_only_what_needs_it() {
    let shards: Vec<_> = (0..3).map(|_| Arc::new(FaultyShard::new())).collect();
    let all = shards
        .iter()
        .map(|shard| Arc::clone(shard) as Arc<dyn Shard>);
    let store = Sharded::open(all.collect()).await.unwrap();
    let groups: Vec<_> = (0..12).map(|n| conv(&format!("g{n}"))).collect();
    for id in &groups {
        give(&store, commit(id, vec![group(&["al"])]))
            .await
            .unwrap();
    }
    let (_, since) = list(&store, "al", &Stamps::START).await;
    shards[1].set(Some(Fault::FailBefore));
    let batch: Vec<_> = groups
        .iter()
        .map(|id| commit(id, vec![entry("al", "m", "m")]))
        .collect();
    let started = tokio::time::Instant::now();
    let answers = store.commit(&batch).await;
    assert!(started.elapsed() < Duration::from_millis(1), "nobody waits");
    let mut gone_on = 0;
    for (id, answer) in groups.iter().zip(answers) {
        let is_away = store.shard_of(id) == 1;
        assert_eq!(answer.is_err(), is_away, "{answer:?}");
        assert_eq!(store.view(id, &[]).await.is_err(), is_away);
        gone_on += usize::from(!is_away);
    }
    assert!((1..groups.len()).contains(&gone_on), "{gone_on}");
    // A list would not be whole, and says so; the sweep of the others goes on.
    let page = store.memberships(&user("al"), &since, 99, true).await;
    assert!(page.unwrap_err().is_retryable());
    assert!(
        store.changed(&since, 0).await.is_err(),
        "it is seen that one is away"
    );
    let swept = store.changed(&since, 99).await.unwrap();
    assert_eq!(swept.convs.len(), gone_on);
    assert_eq!(swept.stamps.of(1), since.of(1));
    assert!(
        give(&store, commit(&groups[0], vec![record("k", "v")]))
            .await
            .is_err()
    );
    shards[1].set(None);
    let rest = store.commit(&batch).await;
    assert!(rest.iter().all(Result::is_ok));
    let swept = store.changed(&swept.stamps, 99).await.unwrap();
    assert_eq!(swept.convs.len(), groups.len() - gone_on);
    let (lines, _) = list(&store, "al", &since).await;
    assert_eq!(lines.len(), groups.len());
}
