//! A store that is slow, fails, forgets to answer and answers too late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use im_core::model::{ConversationId, Entry, Member, NodeId, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, LogQuery, MembershipPage, PortError, PortErrorKind, RecordKey,
    Rejected, Store, View,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::planted::Planted;
use crate::memory::MemoryStore;

/// How often what goes wrong, goes wrong: each is "one call in so many", 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreWeather {
    /// A call takes at most so many milliseconds before it happens, and again before it answers.
    pub slow_ms: u64,
    /// A write fails before it happens.
    pub fail_before: u32,
    /// A write happens and fails all the same: its outcome is unknown.
    pub fail_after: u32,
    /// Of a batch, some fail.
    pub fail_some: u32,
    /// A write takes seconds, so that nobody waits for its answer any more.
    pub hang: u32,
    /// A read fails.
    pub fail_read: u32,
}

/// What goes wrong with every call for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing works.
    Away,
    /// Nothing can be written.
    Full,
    /// Nothing answers in time.
    Hang,
}

/// The longest that a hanging write takes; it happens before or after the wait.
const HANG_MS: std::ops::RangeInclusive<u64> = 1_000..=9_000;

/// A [`MemoryStore`] shared by the nodes of a run, with the faults of a seed.
#[derive(Debug)]
pub struct SimStore {
    memory: Arc<MemoryStore>,
    planted: Option<Planted>,
    sky: Mutex<Sky>,
}

#[derive(Debug)]
struct Sky {
    rng: fastrand::Rng,
    weather: StoreWeather,
    fault: Option<StoreFault>,
}

/// What will happen to one write.
#[derive(Debug, Clone, Copy)]
struct Fate {
    before: Duration,
    after: Duration,
    /// It goes on when nobody waits for it any more.
    detached: bool,
    happens: bool,
    fails: Fails,
    kind: PortErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    None,
    /// By a bit for each commit of the batch.
    Some(u64),
    All,
}

impl SimStore {
    /// A store with that weather.
    #[must_use]
    pub fn new(memory: Arc<MemoryStore>, weather: StoreWeather, seed: u64) -> Self {
        Self::planted(memory, weather, seed, None)
    }

    pub(crate) fn planted(
        memory: Arc<MemoryStore>,
        weather: StoreWeather,
        seed: u64,
        planted: Option<Planted>,
    ) -> Self {
        Self {
            memory,
            planted,
            sky: Mutex::new(Sky {
                rng: fastrand::Rng::with_seed(seed),
                weather,
                fault: None,
            }),
        }
    }

    /// Begins or ends a fault.
    pub fn set_fault(&self, fault: Option<StoreFault>) {
        self.sky.lock().fault = fault;
    }

    /// Ends every fault, and the weather.
    pub fn calm(&self) {
        let mut sky = self.sky.lock();
        sky.fault = None;
        sky.weather = StoreWeather::default();
    }

    /// The store as one node reaches it.
    pub(crate) fn of_node(self: &Arc<Self>) -> SimStoreNode {
        SimStoreNode {
            shared: Arc::clone(self),
            late: Mutex::default(),
        }
    }

    async fn read<T>(&self, call: impl FnOnce(&MemoryStore) -> T) -> Result<T, PortError> {
        let (before, after, fails) = self.sky.lock().read();
        pause(before).await;
        if fails {
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        let answer = call(&self.memory);
        // What is true when it is read may be old when it arrives.
        pause(after).await;
        Ok(answer)
    }

    /// The batch as a store with a planted bug takes it.
    fn bent(&self, batch: &[Commit]) -> Vec<Commit> {
        let mut batch = batch.to_vec();
        for commit in &mut batch {
            match self.planted {
                Some(Planted::ExpectVersionIgnored) => commit.expect_version = None,
                Some(Planted::NoDedupe) => {
                    for write in &mut commit.writes {
                        if let im_core::port::Write::Append(entry) = write {
                            entry.cm_id = None;
                        }
                    }
                }
                _ => {}
            }
        }
        batch
    }
}

impl Sky {
    /// What will happen to the next write.
    fn fate(&mut self) -> Fate {
        let (before, after) = self.waits();
        let (weather, fault) = (self.weather, self.fault);
        let mut fate = Fate {
            before,
            after,
            detached: self.rng.bool(),
            happens: true,
            fails: Fails::None,
            kind: PortErrorKind::Unavailable,
        };
        let hangs = self.one_in(weather.hang) || fault == Some(StoreFault::Hang);
        if fault == Some(StoreFault::Full) {
            fate.happens = false;
            fate.kind = PortErrorKind::Exhausted;
        } else if fault == Some(StoreFault::Away) || self.one_in(weather.fail_before) {
            fate.happens = false;
        } else if self.one_in(weather.fail_after) {
            fate.fails = Fails::All;
        } else if self.one_in(weather.fail_some) {
            fate.fails = Fails::Some(self.rng.u64(..));
        }
        if hangs {
            let long = self.long();
            if self.rng.bool() {
                fate.before += long;
            } else {
                fate.after += long;
            }
        }
        fate
    }

    /// How long the next read takes before it happens and before it answers, and whether it fails.
    fn read(&mut self) -> (Duration, Duration, bool) {
        let (mut before, after) = self.waits();
        let unlucky = self.one_in(self.weather.fail_read);
        if self.fault == Some(StoreFault::Hang) {
            before += self.long();
        }
        (
            before,
            after,
            unlucky || self.fault == Some(StoreFault::Away),
        )
    }

    fn waits(&mut self) -> (Duration, Duration) {
        let slow_ms = self.weather.slow_ms;
        let mut wait = || Duration::from_millis(self.rng.u64(0..=slow_ms));
        (wait(), wait())
    }

    fn one_in(&mut self, many: u32) -> bool {
        many > 0 && self.rng.u32(0..many) == 0
    }

    fn long(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(HANG_MS))
    }
}

async fn pause(long: Duration) {
    // A sleep of nothing would still give way to others.
    if !long.is_zero() {
        sleep(long).await;
    }
}

/// What a store answers that does everything in one breath.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match call.now_or_never() {
        Some(answer) => answer,
        None => unreachable!("the store in memory never waits"),
    }
}

fn unavailable(kind: PortErrorKind) -> Rejected {
    Rejected::Store(PortError::new(kind))
}

/// The shared store as one node reaches it.
#[derive(Debug)]
pub(crate) struct SimStoreNode {
    shared: Arc<SimStore>,
    /// Commits that were answered and have not happened: only a planted bug has any.
    late: Mutex<JoinSet<()>>,
}

impl SimStoreNode {
    /// The node is gone, with what only it had.
    pub(crate) fn kill(&self) {
        self.late.lock().abort_all();
    }

    async fn commit_as(&self, fate: Fate, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        if !fate.happens {
            pause(fate.before).await;
            return batch.iter().map(|_| Err(unavailable(fate.kind))).collect();
        }
        let (memory, commits) = (Arc::clone(&self.shared.memory), self.shared.bent(batch));
        let (done, answer) = oneshot::channel();
        let work = async move {
            pause(fate.before).await;
            // Whoever asked may have gone meanwhile; it has happened all the same.
            let _ = done.send(at_once(memory.commit(&commits)));
        };
        if fate.detached {
            tokio::spawn(work);
        } else {
            work.await;
        }
        let answers = answer.await.unwrap_or_default();
        pause(fate.after).await;
        let lost = |at: usize| match fate.fails {
            Fails::None => false,
            Fails::Some(bits) => bits >> (at % 64) & 1 == 1,
            Fails::All => true,
        };
        let answers = answers.into_iter().enumerate();
        answers
            .map(|(at, answer)| match lost(at) {
                true => Err(unavailable(fate.kind)),
                false => answer,
            })
            .collect()
    }

    /// Answers now and writes later: the bug that every durability claim is about.
    fn ack_before_commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let foretold = self.shared.memory.fork();
        let answers = at_once(foretold.commit(batch));
        let (memory, commits) = (Arc::clone(&self.shared.memory), batch.to_vec());
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
        if self.shared.planted == Some(Planted::AckBeforeCommit) {
            return self.ack_before_commit(batch);
        }
        let fate = self.shared.sky.lock().fate();
        self.commit_as(fate, batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.view(conv, users));
        self.shared.read(read).await?
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.members(conv, after, limit));
        self.shared.read(read).await?
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.log(conv, query));
        self.shared.read(read).await?
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.memberships(user, since, limit, detail));
        self.shared.read(read).await?
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.changed(since, limit));
        self.shared.read(read).await?
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.record(key, now));
        self.shared.read(read).await?
    }

    async fn enter(&self, node: &NodeId) -> Result<u64, PortError> {
        let read = |memory: &MemoryStore| at_once(memory.enter(node));
        self.shared.read(read).await?
    }
}
