//! The broker itself killed and paused, under load. It is not for the test alone then, so a test
//! that calls this is ignored, and run by `scripts/faults`, which says in `IMKIT_SERVICES` by which
//! script it is killed.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use im_core::port::{Bus, Incoming, Subscription, To};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::way::{SEND, until_delivered};
use super::{Reach, subscribe};

/// Who publish all the time, a message of 1 KiB every 5 ms each.
const PUBLISHERS: usize = 4;
/// How long all is well before a fault and after it.
const CALM: Duration = Duration::from_secs(3);
/// How long a paused broker is silent.
const PAUSE: Duration = Duration::from_secs(15);
/// How much the process may grow: the bus's bounds on what waits, both ways, and some room.
const GROWTH_BYTES_MAX: usize = 96 << 20;

async fn services(command: &str, name: &str) {
    let script = std::env::var("IMKIT_SERVICES").expect("IMKIT_SERVICES: run by scripts/faults");
    let (command, name) = (command.to_owned(), name.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        let mut run = Command::new(script);
        run.args([&command, &name]).output().expect("it runs")
    });
    let done = done.await.expect("it ends");
    assert!(done.status.success(), "{done:?}");
}

/// What the publishers found.
#[derive(Debug, Default)]
struct Load {
    until: AtomicBool,
    sent: AtomicU64,
    refused: AtomicU64,
    longest_ms: AtomicU64,
}

impl Load {
    async fn publish(&self, bus: Arc<dyn Bus>) {
        let payload = Bytes::from(vec![b'x'; 1 << 10]);
        while !self.until.load(Ordering::Acquire) {
            let start = Instant::now();
            let count = match bus.publish(To::All, payload.clone()).await {
                Ok(()) => &self.sent,
                Err(_) => &self.refused,
            };
            count.fetch_add(1, Ordering::Relaxed);
            let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.longest_ms.fetch_max(took, Ordering::Relaxed);
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads for some time; how many messages came, and whether it was told of a loss.
async fn read_for(time: Duration, from: &mut Box<dyn Subscription>) -> (u64, bool) {
    let (until, mut count, mut was_told) = (Instant::now() + time, 0, false);
    while let Ok(incoming) = tokio::time::timeout_at(until, from.next()).await {
        match incoming {
            Some(Incoming::Message(_)) => count += 1,
            Some(Incoming::Reconnected) => was_told = true,
            None => panic!("the bus is closed"),
        }
    }
    (count, was_told)
}

/// The resident memory of this process.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|it| it.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

/// Kills the broker `name` of `scripts/services` twice and pauses it for 15 s while messages are
/// published all the time. Delivery must resume within `resumes` of its being back, the loss must
/// be told, no publisher may be held, and the process must not grow.
///
/// # Panics
/// When one of them does not hold.
pub async fn outlives_faults(name: &str, reach: Reach, resumes: Duration) {
    let (one, two) = (reach.direct().await, reach.direct().await);
    let mut heard = subscribe(&two, "n").await;
    let load = Arc::new(Load::default());
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        let (load, bus) = (Arc::clone(&load), Arc::clone(&one));
        publishers.spawn(async move { load.publish(bus).await });
    }
    let (count, _) = read_for(CALM, &mut heard).await;
    assert!(count > 100, "{count} messages while all is well");
    let before = memory();
    for fault in ["killed", "killed again", "paused for 15 s"] {
        if fault.starts_with("killed") {
            services("kill", name).await;
            services("up", name).await;
        } else {
            services("pause", name).await;
            sleep(PAUSE).await;
            services("resume", name).await;
        }
        let (took, mut was_told) = until_delivered(&one, &mut heard, resumes * 4).await;
        println!("{name} {fault}: delivers {took:?} after it is back");
        assert!(took < resumes, "{took:?}");
        let (count, told) = read_for(CALM, &mut heard).await;
        was_told |= told;
        assert!(was_told, "messages may have been missed");
        assert!(count > 100, "{count} messages after it is back");
    }
    load.until.store(true, Ordering::Release);
    publishers.join_all().await;
    let [sent, refused, longest] =
        [&load.sent, &load.refused, &load.longest_ms].map(|it| it.load(Ordering::Relaxed));
    let grown = memory().saturating_sub(before);
    println!(
        "{name}: {sent} sent, {refused} refused, the longest publish took {longest} ms, grown by \
         {} KiB",
        grown >> 10
    );
    assert!(Duration::from_millis(longest) < SEND, "{longest} ms");
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes");
}
