//! How many rows a second `Store::commit` takes, beside plain sqlx with the same rows in the same
//! batches on the same database: `cargo run --release -p im-store-sql --example append`, for the
//! servers with `--features postgres,mysql` and `-- postgres://…` or `-- mysql://…` (a database of
//! its own: it makes tables there). Other batches than the usual follow the address. `--nodes N`
//! before it: so many stores at once, each with connections of its own, as nodes have.
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
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut nodes = 1;
    if args.first().is_some_and(|it| it == "--nodes") {
        nodes = args[1].parse().unwrap();
        args.drain(..2);
    }
    let mut args = args.into_iter();
    let address = args.next();
    println!(
        "{:>6} {:>12} {:>12} {:>6}",
        "batch", "plain row/s", "store row/s", "share"
    );
    let batches: Vec<usize> = args.map(|it| it.parse().unwrap()).collect();
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
                Some(address) => on_server(address, batch, round, nodes).await,
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
async fn on_server(address: &str, batch: usize, round: usize, nodes: usize) -> (f64, f64) {
    use std::sync::Arc;

    use im_core::port::Store;
    use im_store_sql::{MySqlStore, PostgresStore};
    let is_postgres = address.starts_with("postgres");
    let mut running = tokio::task::JoinSet::new();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..nodes {
        stores.push(match is_postgres {
            true => Arc::new(PostgresStore::connect(address).await.unwrap()),
            false => Arc::new(MySqlStore::connect(address).await.unwrap()),
        });
    }
    let plain = match is_postgres {
        true => plain::postgres(address, batch).await,
        false => plain::mysql(address, batch).await,
    };
    for (node, store) in stores.into_iter().enumerate() {
        // Conversations of its own in each round, as the plain table is made anew.
        let prefix = format!("{}-{batch}-{round}-{node}", std::process::id());
        running.spawn(async move { ours::rate(&*store, batch, &prefix).await });
    }
    (plain, running.join_all().await.into_iter().sum())
}

#[cfg(not(all(feature = "postgres", feature = "mysql")))]
async fn on_server(_: &str, _: usize, _: usize, _: usize) -> (f64, f64) {
    panic!("servers need --features postgres,mysql");
}
