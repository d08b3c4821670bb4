//! The bus on a real Redis, the one that `IMKIT_TEST_REDIS_URL` names; without it, what needs one
//! is passed over. `scripts/services up redis` starts one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod odd;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use im_bus_redis::{Options, RedisBus};
use im_core::model::NodeId;
use im_core::port::{Bus, Incoming, Subscription};
use im_testkit::suite::bus::{Reach, outlives_faults};
use tokio::time::timeout;

/// Longer than anything should take.
const LONG: Duration = Duration::from_secs(30);

mod bus {
    im_testkit::bus_suite!(crate::two());
}
mod way {
    im_testkit::bus_way_suite!(crate::reach());
}
mod start {
    im_testkit::bus_start_suite!(async { ((), crate::reach_by("redis://127.0.0.1:1".to_owned())) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the server: scripts/faults"]
async fn faults() {
    let reach = reach_by(url().unwrap());
    outlives_faults("redis", reach, Duration::from_secs(5)).await;
}

async fn two() -> Option<((), [Arc<dyn Bus>; 2])> {
    let ((), reach) = reach().await?;
    Some(((), [reach.direct().await, reach.direct().await]))
}

async fn reach() -> Option<((), Reach)> {
    Some(((), reach_by(url()?)))
}

fn reach_by(url: String) -> Reach {
    let options = options();
    Reach::new(url, move |url| {
        let options = options.clone();
        async move { Ok(Arc::new(RedisBus::connect(&url, options).await?) as _) }
    })
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

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

async fn next(from: &mut Box<dyn Subscription>) -> Incoming {
    let next = timeout(LONG, from.next()).await;
    next.expect("something arrives").expect("the bus is open")
}
