//! The bus on a real Redis, the one that `IMKIT_TEST_REDIS_URL` names; without it, what needs one
//! is passed over. `scripts/services up redis` starts one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod faults;
mod start;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use im_bus_redis::{Options, RedisBus};
use im_core::model::NodeId;
use im_core::port::{Bus, Incoming, Subscription};
use tokio::time::timeout;

/// Longer than anything should take.
const LONG: Duration = Duration::from_secs(30);

im_testkit::bus_suite!(two());

async fn two() -> Option<((), [Arc<dyn Bus>; 2])> {
    let (url, options) = (url()?, options());
    let one = connect(&url, &options).await;
    Some(((), [Arc::new(one), Arc::new(connect(&url, &options).await)]))
}

fn url() -> Option<String> {
    std::env::var("IMKIT_TEST_REDIS_URL").ok()
}

/// A prefix that no other test has.
fn options() -> Options {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Options {
        prefix: format!("test-{process}-{now}-{count}"),
        ..Options::default()
    }
}

async fn connect(url: &str, options: &Options) -> RedisBus {
    let bus = RedisBus::connect(url, options.clone()).await;
    bus.expect("the server is up")
}

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

async fn next(from: &mut Box<dyn Subscription>) -> Incoming {
    let next = timeout(LONG, from.next()).await;
    next.expect("something arrives").expect("the bus is open")
}
