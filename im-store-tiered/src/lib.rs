//! imkit's two-tier store: the newest part of busy logs in a hot tier (Redis), everything in a cold
//! store (a database), and together one [`Store`].
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use im_core::port::{Hot, Store};
//! use im_store_tiered::{Options, Tiered};
//!
//! # fn start(redis: Arc<dyn Hot>, database: Arc<dyn Store>) {
//! let store = Tiered::start(redis, database, Options::default());
//! # }
//! ```
//!
//! - What only appends to a hot conversation is decided by the tier: dedupe, place, log. Everything
//!   else is the cold store's, which the log goes back to first.
//! - Who may write to a log stands in the cold store ([`Write::Hold`](im_core::port::Write::Hold)),
//!   so a flusher, a node or a whole tier that is late can do no harm.
//! - Lists and sweeps are the cold store's, read when what was appended before is there. So stamps
//!   cover what they say, and nothing is overlaid on them.

mod append;
mod ask;
mod direct;
mod flush;
mod options;
mod plan;
mod read;
mod touch;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Holder, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, Find, Found, Hot, LogQuery, MembershipPage, PortError,
    PortErrorKind, RecordKey, Rejected, Search, Store, View,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use self::options::{Durability, Options};
use self::touch::{Closed, Touched};

/// Locks of those who make logs hot; two logs seldom share one.
const WARMING_LOCKS: usize = 64;

/// A store of two tiers. It flushes for as long as it lives; what is left in the hot tier when it
/// is dropped, another node or the next start flushes.
#[derive(Debug)]
pub struct Tiered {
    inner: Arc<Inner>,
    flushing: JoinHandle<()>,
    search: Option<Arc<dyn Search>>,
}

#[derive(Debug)]
struct Inner {
    hot: Arc<dyn Hot>,
    cold: Arc<dyn Store>,
    options: Options,
    /// Whose leases are ours.
    worker: u64,
    touched: Touched,
    closed: Closed,
    /// Who makes a log hot; of those that share one, one after the other.
    warming: Vec<tokio::sync::Mutex<()>>,
    /// Something waits to be flushed.
    nudge: Notify,
    /// For numbers that nobody else has.
    seed: u64,
    drawn: AtomicU64,
}

impl Tiered {
    /// A store over these two, and its flusher, a task of the current runtime.
    #[must_use]
    pub fn start(hot: Arc<dyn Hot>, cold: Arc<dyn Store>, options: Options) -> Self {
        let seed = options.seed;
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
        let inner = Arc::new(Inner {
            hot,
            cold,
            worker: hash((seed, "worker")) >> 1,
            closed: Closed::default(),
            touched: Touched::new(options.warm_within),
            options,
            warming: (0..WARMING_LOCKS)
                .map(|_| tokio::sync::Mutex::default())
                .collect(),
            nudge: Notify::new(),
            seed,
            drawn: AtomicU64::new(0),
        });
        let flushing = tokio::spawn(flush::run(Arc::downgrade(&inner)));
        Self {
            inner,
            flushing,
            search: None,
        }
    }

    /// Searches in the cold store by that, which is its own search. What was answered before is
    /// there when it looks, as for lists.
    #[must_use]
    pub fn with_search(mut self, cold: Arc<dyn Search>) -> Self {
        self.search = Some(cold);
        self
    }

    /// Waits until what was appended before has reached the cold store.
    ///
    /// # Errors
    /// `Unavailable` when it does not within [`Options::list_wait`], or a tier is away.
    pub async fn settled(&self) -> Result<(), PortError> {
        self.inner.settled().await
    }
}

impl Drop for Tiered {
    fn drop(&mut self) {
        self.flushing.abort();
    }
}

/// The same in every process.
fn hash(of: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(of)
}

impl Inner {
    const fn is_cached(&self) -> bool {
        matches!(self.options.durability, Durability::Cached)
    }

    /// A number for a life of a log that no other has, except by a chance of 1 in 2^62.
    fn new_holder(&self) -> Holder {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        Holder((hash((self.seed, drawn)) >> 1).max(1))
    }
}

#[async_trait]
impl Store for Tiered {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        self.inner.commit(batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.inner.view(conv, users).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.inner.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.inner.log(conv, query).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.inner.settled().await?;
        let list = self.inner.cold.memberships(user, since, limit, detail);
        list.await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.inner.settled().await?;
        self.inner.cold.changed(since, limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.inner.cold.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.inner.cold.facts(query).await
    }
}

#[async_trait]
impl Search for Tiered {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        let search = self.search.as_ref();
        let search = search.ok_or_else(|| PortError::new(PortErrorKind::Internal))?;
        self.inner.settled().await?;
        search.find(find).await
    }

    async fn index(&self) -> Result<bool, PortError> {
        match &self.search {
            Some(search) => search.index().await,
            None => Ok(false),
        }
    }
}
