//! Pushing to the subscriptions of one user, and not waiting for them for long: who named a push
//! service that is slow, or never answers, must not hold up everybody else's pushes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use im_core::model::{Fact, FactKey, PushTarget};
use im_core::port::{Clock, Commit, Push, PushError, PushNote, Put, Store, Was, Write};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::late::{Late, Said};

/// Users pushed to at the same time; those beyond wait for one of them.
const ROUNDS_MAX: usize = 256;
/// Subscriptions of one user that are pushed to side by side.
const AT_ONCE: usize = 4;
/// How long the pushes of one user may take together.
const USER_WAIT: Duration = Duration::from_secs(15);
/// How long they are waited for; then they go on beside what comes next.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait before a push that failed is tried once more.
const AGAIN: Duration = Duration::from_secs(1);

/// A push to a subscription.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) fact: Fact,
    pub(super) target: PushTarget,
    pub(super) way: Arc<dyn Push>,
    pub(super) note: PushNote,
}

/// What pushes.
#[derive(Debug, Clone)]
pub(super) struct Rounds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    late: Late,
    under_way: Mutex<BTreeSet<FactKey>>,
    room: Arc<Semaphore>,
}

/// Subscriptions that are being pushed to: no second push to one begins meanwhile.
struct Claim {
    inner: Arc<Inner>,
    keys: Vec<FactKey>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut under_way = self.inner.under_way.lock();
        for key in &self.keys {
            under_way.remove(key);
        }
    }
}

impl Rounds {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            late: Late::default(),
            under_way: Mutex::default(),
            room: Arc::new(Semaphore::new(ROUNDS_MAX)),
        }))
    }

    /// Pushes to subscriptions of one user, but for those that rest or have not answered yet.
    /// Returns when that is done, or takes too long to be waited for.
    pub(super) async fn push(&self, mut all: Vec<Due>) {
        let claim = self.0.claim(&mut all);
        if all.is_empty() {
            return;
        }
        let Ok(room) = Arc::clone(&self.0.room).acquire_owned().await else {
            return;
        };
        let round = tokio::spawn(async move {
            claim.inner.round(all).await;
            drop(room);
        });
        // A round that goes on is bounded by itself.
        let _ = tokio::time::timeout(PATIENCE, round).await;
    }
}

impl Inner {
    fn claim(self: &Arc<Self>, all: &mut Vec<Due>) -> Claim {
        let now = self.clock.now();
        let mut under_way = self.under_way.lock();
        all.retain(|due| {
            !self.late.rests(&due.fact.key, now) && under_way.insert(due.fact.key.clone())
        });
        Claim {
            inner: Arc::clone(self),
            keys: all.iter().map(|due| due.fact.key.clone()).collect(),
        }
    }

    async fn round(&self, all: Vec<Due>) {
        let deadline = tokio::time::Instant::now() + USER_WAIT;
        let mut pushed = stream::iter(all)
            .map(|due| async move {
                // What has not begun by then has not failed either.
                if tokio::time::Instant::now() >= deadline {
                    return None;
                }
                let pushed = push(&*due.way, &due.target, &due.note);
                let pushed = tokio::time::timeout_at(deadline, pushed).await;
                Some((due.fact, pushed.unwrap_or(Err(PushError::Later))))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(pushed) = pushed.next().await {
            if let Some((fact, pushed)) = pushed {
                self.learn(&fact, pushed).await;
            }
        }
    }

    /// What a push came to decides what becomes of the subscription.
    async fn learn(&self, fact: &Fact, pushed: Result<(), PushError>) {
        let is_over = match pushed {
            Ok(()) | Err(PushError::Refused) => false,
            Err(PushError::Gone) => true,
            Err(PushError::Later) => {
                if self.late.handle_later(&fact.key, self.clock.now()) == Said::Rests {
                    return;
                }
                true
            }
        };
        self.late.handle_answer(&fact.key);
        if is_over {
            self.forget(fact).await;
        }
    }

    /// A subscription is no more: it is removed, if it is the same still.
    async fn forget(&self, fact: &Fact) {
        let Some(conv) = fact.key.place() else { return };
        let put = Put {
            key: fact.key.clone(),
            to: None,
            was: Was::Value(fact.value.clone()),
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(put)],
        };
        // Whether another one was there is as good; a failure shows the next time.
        let _ = self.store.commit(&[commit]).await;
    }
}

/// Pushes, and once more if that may help.
async fn push(way: &dyn Push, target: &PushTarget, note: &PushNote) -> Result<(), PushError> {
    metrics::counter!("im_pushes_total").increment(1);
    let mut pushed = way.push(target, note).await;
    if pushed == Err(PushError::Later) {
        tokio::time::sleep(AGAIN).await;
        pushed = way.push(target, note).await;
    }
    if let Err(error) = pushed {
        metrics::counter!("im_push_failures_total").increment(1);
        tracing::debug!(%error, "not pushed");
    }
    pushed
}
