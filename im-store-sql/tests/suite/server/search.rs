//! What the index of a server holds.

use im_core::model::Seq;
use im_core::port::{Search as _, Store as _, Write};
use im_store_sql::{MySqlDialect, PostgresDialect};
use sqlx::Connection as _;

use super::{Database, Server};
use crate::words::{commit, create, say};

/// Words are there once for each entry that says something, whoever indexes, and go with what is
/// erased, in its transaction.
async fn what_is_erased_has_no_words<D: Server>(count: impl AsyncFn(&str) -> i64) {
    let Some(database) = Database::<D>::new().await else {
        return;
    };
    let (store, other) = (database.store().await, database.store().await);
    let mut batch = vec![create("g")];
    batch.extend((1..=9).map(|n| say("g", &format!("apple{n}"))));
    assert!(store.commit(&batch).await.iter().all(Result::is_ok));
    while store.index().await.unwrap() || other.index().await.unwrap() {}
    assert_eq!(count(&database.address).await, 9);
    let erase = commit("g", vec![Write::Erase(vec![Seq(1), Seq(5), Seq(99)])]);
    store.commit(&[erase]).await.remove(0).unwrap();
    assert_eq!(count(&database.address).await, 7);
    // Before anybody has indexed it, and in the batch that brings it.
    let batch = [
        say("g", "apple10"),
        commit("g", vec![Write::Erase(vec![Seq(10)])]),
    ];
    assert!(store.commit(&batch).await.iter().all(Result::is_ok));
    while other.index().await.unwrap() {}
    assert_eq!(count(&database.address).await, 7);
}

const COUNT: &str = "SELECT count(*) FROM im_text";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_has_no_words_on_postgres() {
    what_is_erased_has_no_words::<PostgresDialect>(async |address: &str| {
        let mut conn = sqlx::PgConnection::connect(address).await.unwrap();
        let count = sqlx::query_scalar(COUNT).fetch_one(&mut conn).await;
        count.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_has_no_words_on_mysql() {
    what_is_erased_has_no_words::<MySqlDialect>(async |address: &str| {
        let mut conn = sqlx::MySqlConnection::connect(address).await.unwrap();
        let count = sqlx::query_scalar(COUNT).fetch_one(&mut conn).await;
        count.unwrap()
    })
    .await;
}
