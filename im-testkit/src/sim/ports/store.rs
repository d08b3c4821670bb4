//! A store that is slow, fails, forgets to answer and answers too late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use im_core::model::Slot;
use im_core::model::{ConversationId, Entry, Fact, Holder, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Cargo, CargoQuery, Changed, Commit, Committed, FactQuery, Hold, Holding, Holdings, LogQuery,
    MembershipPage, Place, PortError, PortErrorKind, RecordKey, Rejected, Shard, Store, View,
    Write,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::planted::Planted;
use super::gate::Gate;
use super::shared::{SimAtNode, SimShared};
use super::sky::Fate;
use crate::memory::MemoryStore;

/// A [`MemoryStore`] shared by the nodes of a run, with the faults of a seed.
pub type SimStore = SimShared<MemoryStore>;

impl SimStore {
    /// With a bug put in on purpose, if it is one of a store's.
    #[must_use]
    pub fn plant(mut self, planted: Option<Planted>) -> Self {
        self.planted = planted;
        if planted == Some(Planted::SlotUnfenced) {
            self.memory.unfence();
        }
        self
    }

    /// The store as one node reaches it, through its gate.
    #[must_use]
    pub fn of_node(self: &Arc<Self>, gate: Arc<Gate>) -> SimStoreNode {
        SimStoreNode {
            at: SimAtNode {
                shared: Arc::clone(self),
                gate,
            },
            late: Mutex::default(),
        }
    }

    /// The batch as a store with a planted bug takes it.
    fn bent(&self, batch: &[Commit]) -> Vec<Commit> {
        let mut batch = batch.to_vec();
        for commit in &mut batch {
            match self.planted {
                Some(Planted::ExpectVersionIgnored) => commit.expect_version = None,
                Some(Planted::NoDedupe) => {
                    for write in &mut commit.writes {
                        if let Write::Append(entry) = write {
                            entry.cm_id = None;
                        }
                    }
                }
                _ => {}
            }
        }
        batch
    }

    /// Does a batch; who holds a log, a store without the fence does not ask.
    fn apply(memory: &MemoryStore, batch: Vec<Commit>, is_fenced: bool) -> Answers {
        if is_fenced {
            return at_once(memory.commit(&batch));
        }
        let answers = batch.into_iter().flat_map(|mut commit| {
            let view = at_once(memory.view(&commit.conv, &[])).ok().flatten();
            let holder = view.map_or(Holder(0), |view| view.conversation.holder);
            match commit.writes.first_mut() {
                Some(Write::Hold(hold)) => hold.from = holder,
                _ if holder == Holder(0) => {}
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
            at_once(memory.commit(&[commit]))
        });
        answers.collect()
    }
}

type Answers = Vec<Result<Committed, Rejected>>;

/// What a store answers that does everything in one breath.
pub(super) fn at_once<T>(call: impl Future<Output = T>) -> T {
    match call.now_or_never() {
        Some(answer) => answer,
        None => unreachable!("what is in memory never waits"),
    }
}

fn unavailable(kind: PortErrorKind) -> Rejected {
    Rejected::Store(PortError::new(kind))
}

/// A [`SimStore`] as one node reaches it.
#[derive(Debug)]
pub struct SimStoreNode {
    at: SimAtNode<MemoryStore>,
    /// Commits that were answered and have not happened: only a planted bug has any.
    late: Mutex<JoinSet<()>>,
}

impl SimStoreNode {
    /// The node is gone, with what only it had.
    pub(crate) fn kill(&self) {
        self.late.lock().abort_all();
    }

    async fn commit_as(&self, fate: Fate, batch: &[Commit]) -> Answers {
        let (memory, commits) = (
            Arc::clone(&self.at.shared.memory),
            self.at.shared.bent(batch),
        );
        let is_fenced = self.at.shared.planted != Some(Planted::NoFence);
        let work = move || SimStore::apply(&memory, commits, is_fenced);
        let Some(answers) = fate.carry_out(&self.at.gate, work).await else {
            return batch.iter().map(|_| Err(unavailable(fate.kind))).collect();
        };
        let answers = answers.into_iter().enumerate();
        answers
            .map(|(at, answer)| match fate.loses(at) {
                true => Err(unavailable(fate.kind)),
                false => answer,
            })
            .collect()
    }

    /// Answers now and writes later: the bug that every durability claim is about.
    fn ack_before_commit(&self, batch: &[Commit]) -> Answers {
        let foretold = self.at.shared.memory.fork();
        let answers = at_once(foretold.commit(batch));
        let (memory, commits) = (Arc::clone(&self.at.shared.memory), batch.to_vec());
        self.late.lock().spawn(async move {
            sleep(Duration::from_millis(40)).await;
            drop(at_once(memory.commit(&commits)));
        });
        answers
    }
}

#[async_trait]
impl Store for SimStoreNode {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        if self.at.shared.planted == Some(Planted::AckBeforeCommit) {
            return self.ack_before_commit(batch);
        }
        let fate = self.at.shared.sky.fate().await;
        self.commit_as(fate, batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.at
            .ask(|memory| at_once(memory.view(conv, users)))
            .await?
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.at
            .ask(|memory| at_once(memory.members(conv, after, limit)))
            .await?
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.at
            .ask(|memory| at_once(memory.log(conv, query)))
            .await?
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.at
            .ask(|memory| at_once(memory.memberships(user, since, limit, detail)))
            .await?
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.at
            .ask(|memory| at_once(memory.changed(since, limit)))
            .await?
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.at
            .ask(|memory| at_once(memory.record(key, now)))
            .await?
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.at.ask(|memory| at_once(memory.facts(query))).await?
    }
}

#[async_trait]
impl Shard for SimStoreNode {
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError> {
        self.at
            .ask(|memory| at_once(memory.holdings(known)))
            .await?
    }

    async fn enroll(&self, place: Place, slots: &[Slot]) -> Result<(), PortError> {
        let slots = slots.to_vec();
        self.at
            .tell(move |memory| at_once(memory.enroll(place, &slots)))
            .await
    }

    async fn turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, PortError> {
        self.at
            .tell(move |memory| at_once(memory.turn(slot, from, to)))
            .await
    }

    async fn cargo(
        &self,
        slot: Slot,
        query: &CargoQuery,
        limit: usize,
    ) -> Result<Cargo, PortError> {
        self.at
            .ask(|memory| at_once(memory.cargo(slot, query, limit)))
            .await?
    }

    async fn receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError> {
        let cargo = cargo.clone();
        self.at
            .tell(move |memory| at_once(memory.receive(slot, mover, until, &cargo)))
            .await
    }

    async fn discard(&self, slot: Slot, limit: usize) -> Result<bool, PortError> {
        self.at
            .tell(move |memory| at_once(memory.discard(slot, limit)))
            .await
    }
}
