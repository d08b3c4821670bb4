//! Group commit: concurrent commits of a lane become one batch, so throughput grows with load.
//!
//! A lane commits one batch at a time, shows it to the rooms and answers those who wait: so sends
//! of one connection to one conversation are stored, and shown, in order. Rooms with many users
//! here come after the answers: no answer waits for a large fan-out.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_core::frame::{ErrorCode, Failure, ServerFrame};
use im_core::model::{CmId, ConversationId, Seq};
use im_core::port::{Appended, Commit, Committed, PortError, PortErrorKind, Rejected, Write};
use tokio::sync::{mpsc, oneshot};

use crate::dispatch::News;
use crate::link::Link;
use crate::node::Inner;

/// How long a sender should wait before it tries again when the store failed.
const RETRY_STORE_MS: u64 = 1_000;
/// The same when the members changed under its message, or a lane was full.
const RETRY_SOON_MS: u64 = 50;

/// Who waits for a commit.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A `send` frame of a connection.
    Link { link: Arc<Link>, cm_id: CmId },
    /// A call.
    Call(oneshot::Sender<Result<Committed, Rejected>>),
    /// Nobody.
    None,
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) commit: Commit,
    pub(crate) waiter: Waiter,
}

/// What the lanes are divided by, so that what is slow holds up no other part.
#[derive(Clone)]
pub(crate) struct Partition {
    /// How many parts there are, from 1.
    pub(crate) count: usize,
    /// The part of a conversation, always the same; modulo the count.
    pub(crate) of: Arc<dyn Fn(&ConversationId) -> usize + Send + Sync>,
}

impl Partition {
    /// One part for all.
    pub(crate) fn none() -> Self {
        Self {
            count: 1,
            of: Arc::new(|_| 0),
        }
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partition({})", self.count)
    }
}

/// The lanes.
#[derive(Debug)]
pub(crate) struct Appender {
    lanes: Vec<mpsc::Sender<Submission>>,
    partition: Partition,
    // Which lane a conversation has is this process's own business, so any hash will do; one
    // without a key of its own, so that a simulated run repeats.
    hash: BuildHasherDefault<DefaultHasher>,
}

/// The receiving ends, for [`run_lane`].
pub(crate) type LaneReceiver = mpsc::Receiver<Submission>;

impl Appender {
    pub(crate) fn new(
        lanes: usize,
        lane_max: usize,
        partition: Partition,
    ) -> (Self, Vec<LaneReceiver>) {
        let (senders, receivers) = (0..lanes).map(|_| mpsc::channel(lane_max)).unzip();
        (
            Self {
                lanes: senders,
                partition,
                hash: BuildHasherDefault::default(),
            },
            receivers,
        )
    }

    /// Queues a commit; commits of one conversation keep their order.
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), Submission> {
        let lane = self.lane(&submission.commit.conv);
        self.lanes[lane]
            .try_send(submission)
            .map_err(mpsc::error::TrySendError::into_inner)
    }

    fn lane(&self, conv: &ConversationId) -> usize {
        if self.lanes.len() == 1 {
            return 0;
        }
        // Each part has as many lanes of its own as there are, one at least.
        let each = (self.lanes.len() / self.partition.count.max(1)).max(1);
        let part = (self.partition.of)(conv) % self.partition.count.max(1);
        let within = (self.hash.hash_one(conv) % each as u64) as usize;
        (part * each + within) % self.lanes.len()
    }

    /// Waits for room in the lane and for the answer.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<Committed, Rejected> {
        let (waiter, answer) = oneshot::channel();
        let lane = self.lane(&commit.conv);
        let gone = || Rejected::Store(PortError::new(PortErrorKind::Unavailable));
        let submission = Submission {
            commit,
            waiter: Waiter::Call(waiter),
        };
        self.lanes[lane]
            .send(submission)
            .await
            .map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Large fan-outs that wait; beyond it the lane waits for the rooms.
const UNSHOWN_MAX: usize = 64;

/// What is new in a conversation with many users here.
type Large = (ConversationId, News);

/// Starts a lane: one task commits, shows what is small and answers; another shows to large rooms,
/// in the same order, so that no answer waits for a large fan-out.
pub(crate) fn start_lane(
    inner: &Arc<Inner>,
    lane: LaneReceiver,
) -> [tokio::task::JoinHandle<()>; 2] {
    let (large, mut waiting) = mpsc::channel::<Large>(UNSHOWN_MAX);
    let committing = tokio::spawn(run_lane(Arc::clone(inner), lane, large));
    let inner = Arc::clone(inner);
    let showing = tokio::spawn(async move {
        while let Some((conv, news)) = waiting.recv().await {
            // The connections that were just answered write first.
            tokio::task::yield_now().await;
            inner.deliver(&conv, news);
        }
    });
    [committing, showing]
}

/// Runs a lane until every sender is gone and what was queued is done.
async fn run_lane(inner: Arc<Inner>, mut lane: LaneReceiver, large: mpsc::Sender<Large>) {
    let batch_max = inner.settings.batch_max;
    let mut waiting = Vec::with_capacity(64);
    let mut stop = inner.lanes_stop.subscribe();
    loop {
        tokio::select! {
            biased;
            count = lane.recv_many(&mut waiting, batch_max) => if count == 0 { return },
            _ = stop.changed() => {
                lane.close();
                while lane.recv_many(&mut waiting, batch_max).await > 0 {
                    commit_batch(&inner, &mut waiting, &large).await;
                }
                return;
            }
        }
        commit_batch(&inner, &mut waiting, &large).await;
    }
}

async fn commit_batch(
    inner: &Arc<Inner>,
    waiting: &mut Vec<Submission>,
    large: &mpsc::Sender<Large>,
) {
    let mut commits = Vec::with_capacity(waiting.len());
    let mut waiters = Vec::with_capacity(waiting.len());
    for Submission { commit, waiter } in waiting.drain(..) {
        commits.push(commit);
        waiters.push(waiter);
    }
    let started = inner.clock.now();
    let answer = tokio::time::timeout(inner.settings.commit_deadline, inner.store.commit(&commits));
    let results = answer.await.unwrap_or_else(|_| {
        let late = || Err(Rejected::Store(PortError::new(PortErrorKind::Unavailable)));
        (0..commits.len()).map(|_| late()).collect()
    });
    let took = inner.clock.now().saturating_duration_since(started);
    metrics::histogram!("im_commit_seconds").record(took.as_secs_f64());
    let failed = results.iter().find_map(|result| match result {
        // It has too much in hand, and says so where it counts that.
        Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Busy => None,
        Err(Rejected::Store(error)) => Some(error),
        _ => None,
    });
    inner.store_ok.store(failed.is_none(), Ordering::Release);
    if let Some(error) = failed {
        tracing::error!(error = %error, cause = ?std::error::Error::source(error), "commit failed");
    }
    // To few users it is shown first: then the answer and the entry leave in one write.
    let many = inner.dispatch(&commits, &results);
    for ((commit, result), waiter) in commits.iter().zip(&results).zip(waiters) {
        answer_waiter(inner, commit, result, waiter);
    }
    for news in many {
        // Only a node that is killed has nobody to show it to.
        let _ = large.send(news).await;
    }
}

fn answer_waiter(
    inner: &Inner,
    commit: &Commit,
    result: &Result<Committed, Rejected>,
    waiter: Waiter,
) {
    match waiter {
        Waiter::None => {}
        // Who no longer waits has gone; the log has it all the same.
        Waiter::Call(call) => drop(call.send(result.clone())),
        Waiter::Link { link, cm_id } => {
            match result {
                Ok(committed) => {
                    if let Some(appended) = committed.appended.first() {
                        answer_sent(inner, &link, &commit.conv, cm_id, *appended);
                    }
                }
                Err(rejected) => link.refuse("send", None, Some(cm_id), failure(rejected)),
            }
            link.send_answered();
        }
    }
}

/// Tells a connection that its message is stored.
pub(crate) fn answer_sent(
    inner: &Inner,
    link: &Link,
    conv: &ConversationId,
    cm_id: CmId,
    appended: Appended,
) {
    let Appended { seq, id, at, dup } = appended;
    if dup && let Some((user, _)) = link.who() {
        inner.hub.give_token(user);
    }
    link.send(ServerFrame::Sent {
        cm_id,
        conv: conv.clone(),
        seq,
        id,
        at,
        dup,
    });
}

/// A rejected commit as the client gets it.
pub(crate) fn failure(rejected: &Rejected) -> Failure {
    match rejected {
        Rejected::CmIdReused => Failure::new(
            ErrorCode::CmIdReused,
            "the cm_id stands for another message here",
        ),
        Rejected::Conflict => Failure::retry(
            ErrorCode::Conflict,
            "the members changed meanwhile",
            RETRY_SOON_MS,
        ),
        Rejected::NotFound => Failure::new(ErrorCode::NotFound, "no such conversation"),
        Rejected::Done(_) => Failure::new(ErrorCode::Conflict, "done before"),
        Rejected::Store(error) => port_failure(error),
    }
}

/// An error of a port as the client gets it: no internal text.
pub(crate) fn port_failure(error: &PortError) -> Failure {
    match error.kind() {
        PortErrorKind::Unavailable | PortErrorKind::Exhausted | PortErrorKind::Fenced => {
            Failure::retry(
                ErrorCode::Unavailable,
                "a backend is unavailable",
                RETRY_STORE_MS,
            )
        }
        PortErrorKind::Busy => busy(),
        PortErrorKind::TooLarge => Failure::new(ErrorCode::TooLarge, "too large to store"),
        _ => Failure::new(ErrorCode::Internal, "an internal error"),
    }
}

/// A lane that is full.
pub(crate) fn busy() -> Failure {
    Failure::retry(ErrorCode::Busy, "too much in flight", RETRY_SOON_MS)
}

/// The entries of a committed commit, at their places; none of a duplicate.
pub(crate) fn entries<'a>(
    commit: &'a Commit,
    committed: &'a Committed,
) -> impl Iterator<Item = im_core::model::Entry> + 'a {
    let new = commit.writes.iter().filter_map(|write| match write {
        Write::Append(new) => Some(new),
        _ => None,
    });
    new.zip(&committed.appended)
        .filter(|(_, appended)| !appended.dup && appended.seq > Seq(0))
        .map(|(new, appended)| new.at(commit.conv.clone(), appended.seq))
}
