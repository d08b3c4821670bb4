//! What a bus must do when the way to its broker is not well. For brokers that are reached at the
//! address of the URL alone: a client that follows the addresses that its broker names goes
//! round the proxy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_core::port::{Bus, Incoming, PortErrorKind, Subscription, To};
use tokio::time::{Instant, sleep, timeout};

use super::{Reach, next, subscribe, to};
use crate::proxy::{Faults, Proxy, Silence};

/// How long a node may be deaf after a fault ended.
pub(super) const RESUMES: Duration = Duration::from_secs(5);
/// How long a send may take: what the bus promises, and room for a busy machine.
pub(super) const SEND: Duration = Duration::from_secs(4);
/// How long a broker may be silent until a bus does not try any more.
const NOTICED: Duration = Duration::from_secs(5);
/// Many more messages than may be on their way.
const FLOOD: usize = 10_000;
/// After it nothing more comes of what has been.
const CALM: Duration = Duration::from_secs(2);

/// Sends until something gets through to node `n`; how long that took. Says whether the loss was
/// told.
pub(super) async fn until_delivered(
    bus: &Arc<dyn Bus>,
    from: &mut Box<dyn Subscription>,
    patience: Duration,
) -> (Duration, bool) {
    let start = Instant::now();
    let mut was_told = false;
    while start.elapsed() < patience {
        let _ = bus.publish(to("n"), "again".into()).await;
        let until = Instant::now() + Duration::from_millis(50);
        while let Ok(incoming) = tokio::time::timeout_at(until, from.next()).await {
            match incoming {
                Some(Incoming::Reconnected) => was_told = true,
                Some(Incoming::Message(it)) if it == "again" => return (start.elapsed(), was_told),
                Some(Incoming::Message(_)) => {}
                None => panic!("the bus is closed"),
            }
        }
    }
    panic!("nothing in {:?}", start.elapsed());
}

/// A loss is told, at the latest when everything is well again.
async fn assert_told(from: &mut Box<dyn Subscription>, mut was_told: bool) {
    while let Ok(incoming) = timeout(CALM, from.next()).await {
        was_told |= incoming == Some(Incoming::Reconnected);
    }
    assert!(was_told, "messages may have been missed");
}

const REFUSE: Faults = Faults {
    delay: Duration::ZERO,
    silence: Silence::None,
    split: false,
    pause: false,
    refuse: true,
};

/// A connection that is cut comes back by itself, and the loss is told.
pub async fn a_cut_connection_comes_back_and_the_loss_is_told(reach: Reach) {
    let proxy = reach.proxy().await;
    let bus = reach.through(&proxy).await;
    let mut heard = subscribe(&bus, "n").await;
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        bus.publish(To::All, "before".into())
            .await
            .expect("it is well");
        assert_eq!(next(&mut heard).await, "before");
        proxy.set(REFUSE);
        proxy.reset_all();
        sleep(away).await;
        proxy.set(Faults::default());
        let (took, was_told) = until_delivered(&bus, &mut heard, RESUMES * 2).await;
        assert!(took < RESUMES, "{took:?}");
        println!("away {away:?}: delivers {took:?} after");
        assert_told(&mut heard, was_told).await;
    }
}

/// A broker that is silent holds no sender up, and what waits for it is bounded.
pub async fn a_silent_broker_holds_no_sender_up(reach: Reach) {
    let proxy = reach.proxy().await;
    let bus = reach.through(&proxy).await;
    let mut heard = subscribe(&bus, "n").await;
    for silence in [Silence::ToClient, Silence::Both] {
        proxy.set(Faults {
            silence,
            ..Faults::default()
        });
        let start = Instant::now();
        let refused = flood(&bus).await;
        // One way, a broker that confirms nothing may get it all.
        assert!(
            refused > FLOOD / 2 || silence == Silence::ToClient,
            "only {refused} were refused: where are the others?"
        );
        sleep(NOTICED.saturating_sub(start.elapsed())).await;
        // By now it is known, and none need wait.
        let start = Instant::now();
        let refused = bus.publish(To::All, "x".into()).await;
        assert_eq!(
            refused.expect_err("nobody answers").kind(),
            PortErrorKind::Unavailable
        );
        assert!(start.elapsed() < Duration::from_millis(500));
        proxy.set(Faults::default());
        proxy.close_all();
        let (took, was_told) = until_delivered(&bus, &mut heard, RESUMES * 2).await;
        assert!(took < RESUMES, "{took:?}");
        println!("{silence:?}: delivers {took:?} after");
        assert_told(&mut heard, was_told).await;
    }
}

/// Sends 640 MB at once; how many were refused.
async fn flood(bus: &Arc<dyn Bus>) -> usize {
    let payload = Bytes::from(vec![0; 64 << 10]);
    let start = Instant::now();
    let sends = (0..FLOOD).map(|_| {
        let (bus, payload) = (Arc::clone(bus), payload.clone());
        tokio::spawn(async move { bus.publish(to("x"), payload).await })
    });
    let mut refused = 0;
    for send in sends.collect::<Vec<_>>() {
        if let Err(error) = send.await.expect("no panic") {
            assert_eq!(error.kind(), PortErrorKind::Unavailable);
            refused += 1;
        }
    }
    assert!(start.elapsed() < SEND, "{:?}", start.elapsed());
    refused
}

/// What one could not send is told to the others, whose own connection was well all the time.
pub async fn what_could_not_be_sent_is_told_to_the_others(reach: Reach) {
    let proxy = reach.proxy().await;
    let (sender, other) = (reach.through(&proxy).await, reach.direct().await);
    let mut heard = subscribe(&other, "n").await;
    proxy.set(REFUSE);
    proxy.close_all();
    let start = Instant::now();
    // What goes into a connection that has just been cut may be taken.
    while sender.publish(to("n"), "lost".into()).await.is_ok() {
        assert!(start.elapsed() < NOTICED, "it is still sent");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() < NOTICED + SEND);
    proxy.set(Faults::default());
    while timeout(RESUMES * 2, heard.next())
        .await
        .expect("it is told")
        != Some(Incoming::Reconnected)
    {}
    let (took, _) = until_delivered(&sender, &mut heard, RESUMES * 2).await;
    assert!(took < RESUMES, "{took:?}");
}

/// What is dropped leaves no connection.
pub async fn what_is_dropped_leaves_no_connection(reach: Reach) {
    let proxy = reach.proxy().await;
    let bus = reach.through(&proxy).await;
    let sending = proxy.connections();
    let heard = subscribe(&bus, "n").await;
    assert!(proxy.connections() > sending);
    drop(heard);
    until_connections(&proxy, sending).await;
    drop(bus);
    until_connections(&proxy, 0).await;
}

async fn until_connections(proxy: &Proxy, count: usize) {
    let start = Instant::now();
    while proxy.connections() != count {
        let left = proxy.connections();
        assert!(start.elapsed() < RESUMES, "{left} connections");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Makes the tests of a [`Bus`] behind a broken way: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Reach)`, evaluated for each case.
#[macro_export]
macro_rules! bus_way_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, bus_way,
            a_cut_connection_comes_back_and_the_loss_is_told
            a_silent_broker_holds_no_sender_up
            what_could_not_be_sent_is_told_to_the_others
            what_is_dropped_leaves_no_connection
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("way.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
