//! The registry on a real Redis, the one that `IMKIT_TEST_REDIS_URL` names; without it, what needs
//! one is passed over. `scripts/services up redis` starts one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod faults;
mod nodes;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use im_core::model::{ConnectionId, DeviceId, NodeId, UserId};
use im_core::port::{Lease, Registry, Route};
use im_store_redis::{Options, RedisRegistry};
use redis::aio::MultiplexedConnection;

im_testkit::registry_suite!(fresh());

async fn fresh() -> Option<(Leftovers, Arc<dyn Registry>)> {
    let (url, options) = (url()?, options());
    let registry = connect(&url, &options).await;
    Some((Leftovers::of(&url, &options), Arc::new(registry)))
}

/// Deletes a registry's keys when the test ends, also by a panic: the server is there for longer.
struct Leftovers {
    url: String,
    pattern: String,
}

impl Leftovers {
    fn of(url: &str, options: &Options) -> Self {
        Self {
            url: url.to_owned(),
            pattern: format!("{{{}}}*", options.prefix),
        }
    }

    fn delete(&self) -> redis::RedisResult<()> {
        let mut raw = redis::Client::open(&*self.url)?.get_connection()?;
        let keys: Vec<String> = redis::cmd("KEYS").arg(&self.pattern).query(&mut raw)?;
        for some in keys.chunks(1000) {
            redis::cmd("UNLINK").arg(some).exec(&mut raw)?;
        }
        Ok(())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            eprintln!("keys are left: {error}");
        }
    }
}

fn url() -> Option<String> {
    std::env::var("IMKIT_TEST_REDIS_URL").ok()
}

/// A prefix that no other test has, and a lease to wait for.
fn options() -> Options {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Options {
        prefix: format!("test-{process}-{now}-{count}"),
        lease: Duration::from_millis(1500),
        look_up: Duration::from_millis(700),
        ..Options::default()
    }
}

async fn connect(url: &str, options: &Options) -> RedisRegistry {
    let registry = RedisRegistry::connect(url, options.clone()).await;
    registry.expect("the server is up")
}

/// A connection of its own, to look behind the registry.
async fn raw(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// The keys of a registry, without what all begin with.
async fn keys(raw: &mut MultiplexedConnection, options: &Options) -> Vec<String> {
    let base = format!("{{{}}}:registry:", options.prefix);
    let mut ask = redis::cmd("KEYS");
    ask.arg(format!("{base}*"));
    let keys: Vec<String> = ask.query_async(raw).await.unwrap();
    let mut rest: Vec<_> = keys
        .iter()
        .map(|key| key.strip_prefix(&base).expect("the hash tag").to_owned())
        .collect();
    rest.sort();
    rest
}

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn route(on: &str, lease: &Lease, who: &str, conn: u64) -> Route {
    Route {
        user: user(who),
        device: DeviceId::new("phone").unwrap(),
        node: node(on),
        epoch: lease.epoch,
        conn: ConnectionId(conn),
    }
}
