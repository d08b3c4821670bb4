//! A host program of a server's database: every commit in a transaction of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::Seq;
use im_core::port::{Commit, Committed, MemberChange, MemberOp, Rejected, Store, Write};
use im_store_sql::{MySqlDialect, PostgresDialect, ServerStore};
use sqlx::Pool;

use super::{Database, Server};
use crate::host::{Host, HostStore};
use crate::words::{create, say, user};

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
            D::look(&mut tx).await;
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

/// Business code reads first, and the message comes last: what others wrote in between counts.
async fn what_others_committed_since_the_host_first_read_is_seen<D: Server>() {
    let Some(database) = Database::<D>::new().await else {
        return;
    };
    let store = database.store().await;
    let version = store
        .commit(&[create("g")])
        .await
        .remove(0)
        .unwrap()
        .version;
    let pool = Pool::<D::Db>::connect(&database.address).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    D::look(&mut tx).await;
    let removal = MemberChange {
        user: user("ana"),
        op: MemberOp::Remove,
    };
    let mut removed = say("g", "bye");
    removed.writes.push(Write::Member(removal));
    for answer in store.commit(&[say("g", "first"), removed]).await {
        answer.unwrap();
    }
    let retry = store.commit_in(&mut tx, &say("g", "first")).await.unwrap();
    assert_eq!(
        (retry.appended[0].seq, retry.appended[0].dup),
        (Seq(1), true)
    );
    let late = Commit {
        expect_version: Some(version),
        actor: Some(user("ana")),
        ..say("g", "late")
    };
    let refused = store.commit_in(&mut tx, &late).await;
    assert!(matches!(refused, Err(Rejected::Conflict)), "{refused:?}");
    tx.rollback().await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_committed_since_a_host_of_postgres_first_read_is_seen() {
    what_others_committed_since_the_host_first_read_is_seen::<PostgresDialect>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_committed_since_a_host_of_mysql_first_read_is_seen() {
    what_others_committed_since_the_host_first_read_is_seen::<MySqlDialect>().await;
}
