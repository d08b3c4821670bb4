//! How long full-text search takes on real talk: `cargo run --release -p im-store-sql --example
//! search -- FOLDER`, a folder of IRC logs (`[09:14] <nick> text`), one conversation each. For the
//! servers with `--features postgres,mysql` and an address behind the folder: a database of its
//! own, it makes tables there.
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]

mod talk;

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::model::{ConversationId, UserId};
use im_core::port::{Find, Search, Store};
use im_core::rule::Words;
use im_store_sql::SqliteStore;

/// Searches of each kind.
const SEARCHES: usize = 100;
/// Hits of a page.
const LIMIT: usize = 20;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (store, search) = match args.next() {
        None => {
            let store = SqliteStore::connect(path.to_str().unwrap()).await.unwrap();
            let store = Arc::new(store);
            (Arc::clone(&store) as Arc<dyn Store>, store as _)
        }
        Some(address) => server(&address).await,
    };
    let talk = talk::read(&folder);
    let started = Instant::now();
    let lines = talk::load(&*store, &talk).await;
    println!(
        "{lines} lines in {} conversations, {:.1?}",
        talk.len(),
        started.elapsed()
    );
    let size = || std::fs::metadata(&path).map_or(0, |it| it.len());
    let (before, started) = (size(), Instant::now());
    let mut steps = Vec::new();
    loop {
        let step = Instant::now();
        let more = search.index().await.unwrap();
        steps.push(step.elapsed());
        if !more {
            break;
        }
    }
    let took = started.elapsed();
    let rate = lines as f64 / took.as_secs_f64();
    println!(
        "indexed in {took:.1?}: {rate:.0} lines/s, a step {}",
        spread(steps)
    );
    println!("the file grew from {before} to {} bytes", size());
    searches(&*search, &talk).await;
}

async fn searches(search: &dyn Search, talk: &[talk::Talk]) {
    let words = talk::words(talk);
    let at = |part: f64| ((words.len() - 1) as f64 * part) as usize;
    let pick = |from: f64, n: usize| words[(at(from) + n * 7) % words.len()].clone();
    let one = ConversationId::new(talk[talk.len() / 2].name.clone()).unwrap();
    type Query<'a> = Box<dyn Fn(usize) -> String + 'a>;
    let kinds: [(&str, Option<&ConversationId>, Query<'_>); 6] = [
        (
            "one of the 20 most common words",
            None,
            Box::new(|n| format!("{} ", words[n % 20])),
        ),
        (
            "a common word in one conversation",
            Some(&one),
            Box::new(|n| format!("{} ", words[n % 20])),
        ),
        (
            "a word of the middle",
            None,
            Box::new(|n| format!("{} ", pick(0.02, n))),
        ),
        (
            "a rare word",
            None,
            Box::new(|n| format!("{} ", pick(0.5, n))),
        ),
        (
            "two words",
            None,
            Box::new(|n| format!("{} {} ", words[n % 50], pick(0.01, n))),
        ),
        (
            "the beginning of a word",
            None,
            Box::new(|n| pick(0.02, n).chars().take(3).collect()),
        ),
    ];
    for (name, conv, query) in kinds {
        let (mut times, mut found) = (Vec::new(), 0);
        for n in 0..SEARCHES {
            let find = Find {
                user: UserId::new("reader").unwrap(),
                words: Words::of(&query(n)).unwrap(),
                conv: conv.cloned(),
                from: None,
                kind: None,
                since: None,
                until: None,
                before: None,
                limit: LIMIT,
            };
            let started = Instant::now();
            found += search.find(&find).await.unwrap().entries.len();
            times.push(started.elapsed());
        }
        let hits = found as f64 / SEARCHES as f64;
        println!("{name:<34} {hits:>5.1} hits  {}", spread(times));
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    format!(
        "p50 {:.2?}  p99 {:.2?}  max {:.2?}",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
async fn server(address: &str) -> (Arc<dyn Store>, Arc<dyn Search>) {
    use im_store_sql::{MySqlStore, PostgresStore};
    if address.starts_with("postgres") {
        let store = Arc::new(PostgresStore::connect(address).await.unwrap());
        return (Arc::clone(&store) as _, store);
    }
    let store = Arc::new(MySqlStore::connect(address).await.unwrap());
    (Arc::clone(&store) as _, store)
}

#[cfg(not(all(feature = "postgres", feature = "mysql")))]
async fn server(_: &str) -> (Arc<dyn Store>, Arc<dyn Search>) {
    panic!("servers need --features postgres,mysql");
}
