//! A connection that a task replaces when it is lost.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connect::{ANSWER_WAIT, At, ConnectError};
use crate::task::Task;

/// How often a connection is asked whether it is one: with [`ANSWER_WAIT`] and the longest wait
/// between two attempts (1 s), a silent one is replaced within the five seconds that a node may be
/// deaf.
pub const PING_EVERY: Duration = Duration::from_millis(1500);
/// The first wait between two attempts to connect; each is twice the one before.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A connection.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Answers when the connection has ended; never, if it does not hear so by itself.
    async fn closed(&self);

    /// Asks the server whether it is there. Whoever asks waits [`ANSWER_WAIT`] at most.
    async fn is_alive(&self) -> bool;
}

/// How a connection is made anew, and what is to be done then.
#[async_trait]
pub trait Keep: fmt::Debug + Send + Sync + 'static {
    /// The connection.
    type Link: Link;

    /// What it is for, as the log says it: `the bus can't send`.
    fn loss(&self) -> &'static str;

    /// Who is talked to.
    fn at(&self) -> &At;

    /// How long [`open`](Self::open) may take.
    fn open_wait(&self) -> Duration {
        ANSWER_WAIT
    }

    /// Connects. Safe to drop while it waits.
    async fn open(&self) -> Result<Self::Link, ConnectError>;

    /// Whether it is one; asked every [`PING_EVERY`].
    async fn is_alive(&self, link: &Self::Link) -> bool {
        asked(link).await
    }

    /// A new one took the place of one that was lost.
    async fn on_new(&self, link: &Self::Link);

    /// It is still the one it was.
    async fn on_alive(&self, link: &Self::Link);
}

/// Asks a connection, and takes silence for a no.
pub(crate) async fn asked(link: &impl Link) -> bool {
    matches!(timeout(ANSWER_WAIT, link.is_alive()).await, Ok(true))
}

/// A connection that is replaced when it is lost, as long as this lives.
pub struct Kept<K: Keep> {
    shared: Arc<Shared<K>>,
    _keeping: Task,
}

struct Shared<K: Keep> {
    keep: K,
    link: Mutex<Option<Arc<Held<K::Link>>>>,
}

/// A connection as long as somebody uses it.
#[derive(Debug)]
pub struct Held<L> {
    link: L,
    /// It did not answer, and the task that keeps it hears so.
    is_hurt: AtomicBool,
    hurt: Notify,
}

impl<L> Held<L> {
    fn new(link: L) -> Arc<Self> {
        Arc::new(Self {
            link,
            is_hurt: AtomicBool::new(false),
            hurt: Notify::new(),
        })
    }

    /// The connection.
    pub const fn link(&self) -> &L {
        &self.link
    }
}

impl<K: Keep> Kept<K> {
    /// Connects.
    ///
    /// # Errors
    /// When that fails, or takes longer than it may.
    pub async fn start(keep: K) -> Result<Self, ConnectError> {
        let held = Held::new(open(&keep).await?);
        let shared = Arc::new(Shared {
            keep,
            link: Mutex::new(Some(Arc::clone(&held))),
        });
        let keeping = Task::spawn(keep_up(Arc::clone(&shared), held));
        Ok(Self {
            shared,
            _keeping: keeping,
        })
    }

    /// What keeps it.
    pub fn keep(&self) -> &K {
        &self.shared.keep
    }

    /// The connection; `None` while there is none.
    pub fn link(&self) -> Option<Arc<Held<K::Link>>> {
        self.shared.link.lock().clone()
    }

    /// It does not answer, or says that it has ended: nobody else is to wait for it.
    pub fn give_up(&self, held: &Arc<Held<K::Link>>) {
        self.shared.cut(held);
        if !held.is_hurt.swap(true, Ordering::AcqRel) {
            held.hurt.notify_one();
        }
    }
}

impl<K: Keep> fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.shared.keep).finish()
    }
}

impl<K: Keep> Shared<K> {
    fn cut(&self, held: &Arc<Held<K::Link>>) {
        let mut current = self.link.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, held)) {
            *current = None;
        }
    }
}

async fn keep_up<K: Keep>(shared: Arc<Shared<K>>, mut held: Arc<Held<K::Link>>) {
    let keep = &shared.keep;
    loop {
        let is_alive = tokio::select! {
            () = held.hurt.notified() => false,
            () = held.link.closed() => false,
            is_alive = is_alive_later(keep, &held.link) => is_alive,
        };
        if is_alive {
            keep.on_alive(&held.link).await;
            continue;
        }
        shared.cut(&held);
        // What is left of it goes before the next one comes, unless somebody waits on it.
        drop(held);
        tracing::warn!(at = %keep.at(), "{}; connecting again", keep.loss());
        held = Held::new(reopen(keep).await);
        *shared.link.lock() = Some(Arc::clone(&held));
        tracing::info!(at = %keep.at(), "connected again");
        keep.on_new(&held.link).await;
    }
}

async fn is_alive_later<K: Keep>(keep: &K, link: &K::Link) -> bool {
    tokio::time::sleep(PING_EVERY).await;
    keep.is_alive(link).await
}

async fn open<K: Keep>(keep: &K) -> Result<K::Link, ConnectError> {
    within(keep.at(), keep.open_wait(), keep.open()).await
}

/// Gives up after `wait`.
pub(crate) async fn within<T>(
    at: &At,
    wait: Duration,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    match timeout(wait, work).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::silent(at, wait)),
    }
}

async fn reopen<K: Keep>(keep: &K) -> K::Link {
    let mut backoff = Backoff::new();
    loop {
        match open(keep).await {
            Ok(link) => return link,
            Err(error) => backoff.wait(&error).await,
        }
    }
}

/// The waits between attempts: doubled up to a second, and spread, so that the nodes of a cluster
/// do not come all at once.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    tries: u64,
}

impl Backoff {
    const fn new() -> Self {
        Self {
            next: BACKOFF_MIN,
            tries: 0,
        }
    }

    /// Waits after a failure, and says so now and then.
    async fn wait(&mut self, error: &ConnectError) {
        self.tries += 1;
        if self.tries.is_power_of_two() {
            tracing::warn!(%error, tries = self.tries, "still away; trying again");
        }
        let half = self.next / 2;
        let spread = RandomState::new().hash_one(self.tries) % 1000;
        let spread = u32::try_from(spread).unwrap_or_default();
        tokio::time::sleep(half + half * spread / 1000).await;
        self.next = (self.next * 2).min(BACKOFF_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_waits_grow_up_to_their_bound() {
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let start = tokio::time::Instant::now();
            backoff.wait(&ConnectError::Ca).await;
            waits.push(start.elapsed());
        }
        assert!(waits[0] >= BACKOFF_MIN / 2 && waits[0] <= BACKOFF_MIN * 2);
        assert!(waits[11] >= BACKOFF_MAX / 2);
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= BACKOFF_MAX + Duration::from_millis(2))
        );
    }
}
