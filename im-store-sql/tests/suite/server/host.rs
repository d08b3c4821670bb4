//! A store whose every message is written in a transaction of the host program.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Member, NodeId, Stamp, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, LogQuery, MembershipPage, PortError, RecordKey, Rejected, Store,
    View,
};
use im_store_sql::ServerStore;
use sqlx::Pool;

use super::{Database, Server};

/// How often the host runs a transaction again that another one was in the way of.
const TRIES_MAX: u64 = 50;

/// See the [module](self).
#[derive(Debug)]
struct HostStore<D: Server> {
    store: ServerStore<D>,
    host: Pool<D::Db>,
}

pub(super) async fn fresh<D: Server>() -> Option<(Database<D>, Arc<dyn Store>)> {
    let database = Database::<D>::new().await?;
    let store = database.store().await;
    let host = Pool::connect(&database.address).await.unwrap();
    Some((database, Arc::new(HostStore { store, host })))
}

impl<D: Server> HostStore<D> {
    async fn commit_one(&self, commit: &Commit) -> Result<Committed, Rejected> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut tx = self.host.begin().await.unwrap();
            let answer = self.store.commit_in(&mut tx, commit).await;
            match answer {
                Ok(answer) => {
                    tx.commit().await.unwrap();
                    return Ok(answer);
                }
                Err(Rejected::Store(error)) if error.is_retryable() && tries < TRIES_MAX => {
                    tx.rollback().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(tries)).await;
                }
                Err(rejected) => {
                    tx.rollback().await.unwrap();
                    return Err(rejected);
                }
            }
        }
    }
}

#[async_trait]
impl<D: Server> Store for HostStore<D> {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let mut answers = Vec::new();
        for commit in batch {
            answers.push(self.commit_one(commit).await);
        }
        answers
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.store.view(conv, users).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.store.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.store.log(conv, query).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: Stamp,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.store.memberships(user, since, limit, detail).await
    }

    async fn changed(&self, since: Stamp, limit: usize) -> Result<Changed, PortError> {
        self.store.changed(since, limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.store.record(key, now).await
    }

    async fn enter(&self, node: &NodeId) -> Result<u64, PortError> {
        self.store.enter(node).await
    }
}
