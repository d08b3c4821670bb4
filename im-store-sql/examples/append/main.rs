//! How many rows a second `Store::commit` takes, beside plain sqlx with the same rows in the same
//! batches on the same database: `cargo run --release -p im-store-sql --example append`, for the
//! servers with `--features postgres,mysql` and `-- postgres://…` or `-- mysql://…` (a database of
//! its own: it makes tables there). Other batches than the usual follow the address.
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]

mod ours;
mod plain;

use std::time::Duration;

use im_core::model::Body;
use im_store_sql::SqliteStore;

const CONVERSATIONS: usize = 200;
const SECONDS: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1);
    println!(
        "{:>6} {:>12} {:>12} {:>6}",
        "batch", "plain row/s", "store row/s", "share"
    );
    let batches: Vec<usize> = std::env::args()
        .skip(2)
        .map(|it| it.parse().unwrap())
        .collect();
    let batches = match batches.is_empty() {
        true => vec![1, 10, 100, 1_000],
        false => batches,
    };
    for batch in batches {
        let mut best = (0.0_f64, 0.0_f64);
        // In turn, twice: the machine's disk is shared.
        for round in 0..2 {
            let (plain, ours) = match address.as_deref() {
                None => on_sqlite(batch).await,
                Some(address) => on_server(address, batch, round).await,
            };
            best = (best.0.max(plain), best.1.max(ours));
        }
        let share = 100.0 * best.1 / best.0;
        println!("{batch:>6} {:>12.0} {:>12.0} {share:>5.0}%", best.0, best.1);
    }
}

fn body() -> Body {
    Body::text("x".repeat(128))
}

async fn on_sqlite(batch: usize) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let plain = plain::sqlite(&path("plain.db"), batch).await;
    let store = SqliteStore::connect(&path("store.db")).await.unwrap();
    let ours = ours::rate(&store, batch, "c").await;
    store.close().await.unwrap();
    (plain, ours)
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
async fn on_server(address: &str, batch: usize, round: usize) -> (f64, f64) {
    use std::sync::Arc;

    use im_core::port::Store;
    use im_store_sql::{MySqlStore, PostgresStore};
    let is_postgres = address.starts_with("postgres");
    let (plain, store): (f64, Arc<dyn Store>) = if is_postgres {
        let store = PostgresStore::connect(address).await.unwrap();
        (plain::postgres(address, batch).await, Arc::new(store))
    } else {
        let store = MySqlStore::connect(address).await.unwrap();
        (plain::mysql(address, batch).await, Arc::new(store))
    };
    // Conversations of its own in each round, as the plain table is made anew.
    let prefix = format!("{}-{batch}-{round}", std::process::id());
    (plain, ours::rate(&*store, batch, &prefix).await)
}

#[cfg(not(all(feature = "postgres", feature = "mysql")))]
async fn on_server(_: &str, _: usize, _: usize) -> (f64, f64) {
    panic!("servers need --features postgres,mysql");
}
