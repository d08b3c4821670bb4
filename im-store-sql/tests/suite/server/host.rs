//! A host program of a server's database: every commit in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::port::{Commit, Committed, Rejected, Store};
use im_store_sql::ServerStore;
use sqlx::Pool;

use super::{Database, Server};
use crate::host::{Host, HostStore};

/// How often the host runs a transaction again that another one was in the way of.
const TRIES_MAX: u64 = 50;

/// See the [module](self).
#[derive(Debug)]
struct ServerHost<D: Server> {
    store: Arc<ServerStore<D>>,
    pool: Pool<D::Db>,
}

pub(super) async fn fresh<D: Server>() -> Option<(Database<D>, Arc<dyn Store>)> {
    let database = Database::<D>::new().await?;
    let store = Arc::new(database.store().await);
    let host = ServerHost {
        store: Arc::clone(&store),
        pool: Pool::connect(&database.address).await.unwrap(),
    };
    Some((database, Arc::new(HostStore { store, host })))
}

#[async_trait]
impl<D: Server> Host for ServerHost<D> {
    async fn commit(&self, commit: &Commit) -> Result<Committed, Rejected> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut tx = self.pool.begin().await.unwrap();
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
