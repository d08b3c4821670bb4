//! The store on a database server, PostgreSQL or MySQL/MariaDB, which any number of nodes share.
//!
//! A batch is one transaction: the rows of its conversations are locked in the order of their
//! ids, what the commits ask for is read, every commit is decided in memory by the core's own
//! rules, and what they say is written with one statement a table. Another transaction in the way
//! (a deadlock, two that make the same conversation) makes it run again.
//!
//! Stamps are taken last, right before the rows that carry them. On MySQL they come from one row
//! that whoever commits holds until they are done, so they become visible in their order. On
//! PostgreSQL commits don't wait for each other: a sequence numbers them, and who reads looks which
//! numbers are under way (`postgres/stamp.rs`). Either way a token covers nothing unseen.

mod commit;
mod commit_in;
mod dialect;
mod facts;
mod fence;
mod listing;
mod load;
#[cfg(feature = "mysql")]
mod mysql;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod quick;
mod read;
mod row;
mod search;
mod shard;
mod statement;
mod tx;
mod work;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Stamp, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, RecordKey,
    Rejected, Store, View,
};
use parking_lot::Mutex;
use sqlx::Pool;

pub use dialect::Dialect;
/// What a [`Dialect`] is made of. No part of the crate's promises.
#[doc(hidden)]
pub mod parts {
    pub use super::dialect::{Conn, End};
    pub use super::row::{Cell, Row};
    pub use super::statement::{Appends, Arg, Holds, Longer, Look, Statement, Table};
}
#[cfg(feature = "mysql")]
pub use mysql::MySqlDialect;
#[cfg(feature = "postgres")]
pub use postgres::PostgresDialect;

/// A store on PostgreSQL, 13 or later.
#[cfg(feature = "postgres")]
pub type PostgresStore = ServerStore<PostgresDialect>;

/// A store on MySQL, 8.0 or later, or MariaDB, 10.6 or later.
#[cfg(feature = "mysql")]
pub type MySqlStore = ServerStore<MySqlDialect>;

/// When a commit is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the server has made it durable, as its operator set it up: by default, flushed to disk.
    #[default]
    Committed,
    /// Before it is flushed: a crash of the *server* may lose the last moments (PostgreSQL's
    /// `synchronous_commit = off`). In MySQL that is no setting of a connection, and refused.
    Relaxed,
}

/// Settings of a store on a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The most connections, from 2.
    pub connections: u32,
    /// When a commit is answered.
    pub durability: Durability,
    /// How long a call may take, in milliseconds, until it is given up as `Unavailable`.
    pub timeout_ms: u64,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections: 8,
            durability: Durability::Committed,
            timeout_ms: 10_000,
        }
    }
}

/// A store on a database server. Clones share it.
#[derive(Debug, Clone)]
pub struct ServerStore<D: Dialect> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D: Dialect> {
    pool: Pool<D::Db>,
    options: ServerOptions,
    /// It is one of several, as far as is known: then commits ask for their slots.
    is_shard: AtomicBool,
    /// Who may search now.
    searching: tokio::sync::Semaphore,
    /// Everything up to there was seen to be in the full-text index.
    texted: Mutex<Stamp>,
}

#[async_trait]
impl<D: Dialect> Store for ServerStore<D> {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        self.shared.commit(batch).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.shared.within(self.shared.view(conv, users)).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        let members = self.shared.members(conv, after, limit);
        self.shared.within(members).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.shared.within(self.shared.log(conv, query)).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let list = self.shared.memberships(user, since.of(0), limit, detail);
        self.shared.within(list).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        let changed = self.shared.changed(since.of(0), limit);
        self.shared.within(changed).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.shared.within(self.shared.record(key, now)).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.shared.within(self.shared.facts(query)).await
    }
}
