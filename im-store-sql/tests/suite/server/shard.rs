//! A database that others make one of several while a store that knows nothing of it writes.

use im_core::model::{ConversationId, Seq, Slot};
use im_core::port::{LogQuery, Place, PortErrorKind, Rejected, Shard as _, Store as _};
use im_store_sql::{MySqlDialect, PostgresDialect};

use super::{Database, Server};
use crate::words::{create, say};

async fn who_does_not_know_writes_nothing_where_a_slot_is_elsewhere<D: Server>() {
    let Some(database) = Database::<D>::new().await else {
        return;
    };
    let (store, other) = (database.store().await, database.store().await);
    for commit in [create("g"), say("g", "first")] {
        store.commit(&[commit]).await.remove(0).unwrap();
    }
    let slot = Slot::of(&ConversationId::new("g").unwrap());
    let place = Place { set: 1, at: 0 };
    let others: Vec<_> = Slot::all().filter(|it| *it != slot).collect();
    other.enroll(place, &others).await.unwrap();
    let late = store.commit(&[say("g", "late")]).await.remove(0);
    assert!(
        matches!(&late, Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Moved),
        "{late:?}"
    );
    let query = LogQuery::After {
        seq: Seq(0),
        limit: 10,
        bytes: usize::MAX,
    };
    let conv = ConversationId::new("g").unwrap();
    assert_eq!(store.log(&conv, query).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_of_shards_writes_nothing_on_postgres() {
    who_does_not_know_writes_nothing_where_a_slot_is_elsewhere::<PostgresDialect>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_of_shards_writes_nothing_on_mysql() {
    who_does_not_know_writes_nothing_where_a_slot_is_elsewhere::<MySqlDialect>().await;
}
