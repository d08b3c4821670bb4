//! The suite of stores, on a sealed one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::port::Store;
use im_store_sql::{PostgresStore, SqliteStore};
use im_testkit::memory::MemoryStore;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use crate::kit::sealed;

static COUNT: AtomicU64 = AtomicU64::new(0);

async fn on_memory() -> ((), Arc<dyn Store>) {
    ((), sealed(Arc::new(MemoryStore::new())).await)
}

async fn on_sqlite() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("im.db").display());
    let store = SqliteStore::connect(&url).await.unwrap();
    (folder, sealed(Arc::new(store)).await)
}

/// A database of its own, if `IMKIT_TEST_POSTGRES_URL` says where a server is.
async fn on_postgres() -> Option<((), Arc<dyn Store>)> {
    let server = std::env::var("IMKIT_TEST_POSTGRES_URL").ok()?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("im_sealed_{}_{count}", std::process::id());
    let mut admin = PgConnection::connect(&server).await.unwrap();
    let make = format!("CREATE DATABASE {name}");
    admin.execute(AssertSqlSafe(make)).await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let store = PostgresStore::connect(&format!("{base}/{name}")).await;
    Some(((), sealed(Arc::new(store.unwrap())).await))
}

mod memory {
    im_testkit::store_suite!(super::on_memory());
    im_testkit::cold_store_suite!(super::on_memory());
}

mod sqlite {
    im_testkit::store_suite!(super::on_sqlite());
    im_testkit::cold_store_suite!(super::on_sqlite());
}

mod postgres {
    im_testkit::store_suite!(super::on_postgres());
}
