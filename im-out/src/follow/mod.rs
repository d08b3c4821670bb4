//! The outbox: who follows the log and tells a sink of every entry, at least once and in order.

mod admin;
mod book;
mod keep;
mod lease;
mod work;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::machine::Backoff;
use im_core::model::Entry;
use im_core::port::{Clock, Store};

pub use admin::{Dead, dead_letters, replay};
use book::Book;
use keep::Keep;
use lease::Watch;

/// Why entries were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In words for an operator, without a secret.
    pub why: String,
    /// When to try again, if the other side said so.
    pub after: Option<Duration>,
    /// The other side refused this very entry: it may be given up although nothing else was taken.
    pub refused: bool,
}

/// What a sink took of a run of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// So many of the first ones.
    pub count: usize,
    /// Why not the next one.
    pub failed: Option<Failed>,
}

impl Taken {
    /// All of them.
    #[must_use]
    pub const fn all(run: &[Entry]) -> Self {
        Self {
            count: run.len(),
            failed: None,
        }
    }
}

/// Whom a [`Follower`] tells.
#[async_trait]
pub trait Sink: Debug + Send + Sync + 'static {
    /// Entries of one conversation, in order, without a gap but for what is erased from the front
    /// of the log. An entry may come again: after a crash, or when another node takes over.
    async fn take(&self, run: &[Entry]) -> Taken;
}

/// Settings of a follower.
#[derive(Debug, Clone, Copy)]
pub struct FollowSettings {
    /// How often it looks what is new.
    pub every: Duration,
    /// A node that was not heard of for so long follows no more: another one does.
    pub lease: Duration,
    /// How many conversations are told of side by side.
    pub concurrency: usize,
    /// The waits of a conversation whose head is not taken.
    pub backoff: Backoff,
    /// So many attempts are made for an entry, if the sink took others meanwhile or refused this
    /// one: then it is a dead letter. While it takes nothing at all, nothing is given up.
    pub give_up: u32,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(500),
            lease: Duration::from_secs(10),
            concurrency: 8,
            backoff: Backoff::new(Duration::from_secs(5), Duration::from_secs(3_600)),
            // Three to four days.
            give_up: 100,
        }
    }
}

/// Follows the log for one sink. Every node may run one of the same name: one of them works, the
/// others are there for when it dies.
#[derive(Debug)]
pub struct Follower {
    keep: Keep,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
    settings: FollowSettings,
    holder: String,
    seed: u64,
}

impl Follower {
    /// A follower. `name` is the sink's own, at most 100 characters, and the same on every node;
    /// `holder` this start of this node's, and no other's. It begins with what is said after it
    /// ran for the first time.
    #[must_use]
    pub fn new(
        name: &str,
        holder: &str,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
    ) -> Self {
        let seed = holder.bytes().fold(0, |seed, byte| {
            u64::wrapping_add(u64::wrapping_mul(seed, 31), byte.into())
        });
        Self {
            keep: Keep::new(name, store),
            clock,
            sink,
            settings: FollowSettings::default(),
            holder: holder.to_owned(),
            seed,
        }
    }

    /// Other settings than the defaults.
    #[must_use]
    pub const fn settings(mut self, settings: FollowSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Follows until it is dropped, wherever it is then: what it was at is told again.
    pub async fn run(self) {
        let mut watch = Watch::default();
        loop {
            match self.hold(&mut watch).await {
                Ok(Some(held)) => {
                    let book = Book::new(&self.settings, self.seed);
                    let error = self.work(held, book).await;
                    tracing::info!(%error, "follows no more for a moment");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "what was told can't be read"),
            }
            tokio::time::sleep(self.settings.lease / 4).await;
        }
    }
}
