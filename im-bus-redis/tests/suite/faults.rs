//! What happens when the broker, or the way to it, is not well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_bus_redis::RedisBus;
use im_core::port::{Bus, Incoming, PortErrorKind, Subscription, To};
use im_testkit::proxy::{Faults, Proxy, Silence};
use tokio::time::{Instant, sleep, timeout};

use crate::{connect, next, node, options, url};

/// How long a node may be deaf after a fault ended.
const RESUMES: Duration = Duration::from_secs(5);
/// How long a send may take: what the bus promises, and room for a busy machine.
const SEND: Duration = Duration::from_secs(4);

/// A proxy before the server, and a URL through it.
async fn proxied(url: &str) -> (Proxy, String) {
    let rest = url.strip_prefix("redis://").expect("no TLS here");
    let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (server, path) = place.split_once('/').unwrap_or((place, ""));
    let server: SocketAddr = server.parse().expect("address and port");
    let proxy = Proxy::start(server).await.unwrap();
    let at = if login.is_empty() { "" } else { "@" };
    let url = format!("redis://{login}{at}{}/{path}", proxy.addr());
    (proxy, url)
}

/// Sends until something gets through; how long that took. Says whether the loss was told.
async fn until_delivered(bus: &RedisBus, from: &mut Box<dyn Subscription>) -> (Duration, bool) {
    let start = Instant::now();
    let mut was_told = false;
    while start.elapsed() < RESUMES * 2 {
        let _ = bus.publish(To::Node(node("n")), "again".into()).await;
        let until = Instant::now() + Duration::from_millis(50);
        while let Ok(incoming) = tokio::time::timeout_at(until, from.next()).await {
            match incoming {
                Some(Incoming::Reconnected) => was_told = true,
                Some(Incoming::Message(it)) if it == "again" => return (start.elapsed(), was_told),
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("nothing in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_comes_back_and_the_loss_is_told() {
    let Some(url) = url() else { return };
    let (proxy, url) = proxied(&url).await;
    let bus = connect(&url, &options()).await;
    let mut heard = bus.subscribe(&node("n")).await.unwrap();
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        bus.publish(To::All, "before".into()).await.unwrap();
        assert_eq!(next(&mut heard).await, Incoming::Message("before".into()));
        proxy.set(Faults {
            refuse: true,
            ..Faults::default()
        });
        proxy.reset_all();
        sleep(away).await;
        proxy.set(Faults::default());
        let (took, was_told) = until_delivered(&bus, &mut heard).await;
        assert!(took < RESUMES, "{took:?}");
        assert!(was_told, "messages may have been missed");
        println!("away {away:?}: delivers {took:?} after");
        // What else may be told belongs to this loss.
        while timeout(Duration::from_secs(2), heard.next()).await.is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broker_holds_no_sender_up_and_takes_no_memory() {
    let Some(url) = url() else { return };
    let (proxy, url) = proxied(&url).await;
    let bus = Arc::new(connect(&url, &options()).await);
    let mut heard = bus.subscribe(&node("n")).await.unwrap();
    for silence in [Silence::ToClient, Silence::Both] {
        proxy.set(Faults {
            silence,
            ..Faults::default()
        });
        let payload = Bytes::from(vec![0; 64 << 10]);
        let start = Instant::now();
        let sends = (0..10_000).map(|_| {
            let (bus, payload) = (Arc::clone(&bus), payload.clone());
            tokio::spawn(async move { bus.publish(To::Node(node("x")), payload).await })
        });
        for send in sends.collect::<Vec<_>>() {
            let refused = send.await.unwrap().expect_err("nobody answers");
            assert_eq!(refused.kind(), PortErrorKind::Unavailable);
        }
        assert!(start.elapsed() < SEND, "{:?}", start.elapsed());
        // Later ones need not even wait.
        let start = Instant::now();
        assert!(bus.publish(To::All, "x".into()).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(500));
        proxy.set(Faults::default());
        let (took, was_told) = until_delivered(&bus, &mut heard).await;
        assert!(took < RESUMES, "{took:?}");
        println!("{silence:?}: delivers {took:?} after");
        if !was_told {
            // The word of what could not be sent may come behind.
            assert_eq!(next(&mut heard).await, Incoming::Reconnected);
        }
        while timeout(Duration::from_secs(2), heard.next()).await.is_ok() {}
    }
}

/// The listener's own connection was well all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_sent_is_told_to_the_others() {
    let Some(direct) = url() else { return };
    let (proxy, url) = proxied(&direct).await;
    let options = options();
    let (sender, other) = (
        connect(&url, &options).await,
        connect(&direct, &options).await,
    );
    let mut heard = other.subscribe(&node("n")).await.unwrap();
    proxy.set(Faults {
        refuse: true,
        ..Faults::default()
    });
    proxy.close_all();
    let start = Instant::now();
    let refused = sender.publish(To::Node(node("n")), "lost".into()).await;
    assert_eq!(refused.unwrap_err().kind(), PortErrorKind::Unavailable);
    assert!(start.elapsed() < SEND);
    proxy.set(Faults::default());
    assert_eq!(next(&mut heard).await, Incoming::Reconnected);
    let (took, _) = until_delivered(&sender, &mut heard).await;
    assert!(took < RESUMES, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed_over() {
    let Some(url) = url() else { return };
    let options = options();
    let bus = connect(&url, &options).await;
    let mut heard = bus.subscribe(&node("n")).await.unwrap();
    let client = redis::Client::open(url).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let channels = ["all", "node:n"].map(|it| format!("{}:{it}", options.prefix));
    let oversized = [&[0xB5, 1, 0][..], &vec![0; 2 << 20]].concat();
    let poison = [
        &b""[..],
        b"garbage",
        &[0xB5, 9, 0, 1],
        &[0xB5, 1, 77, 1],
        &oversized,
    ];
    for channel in &channels {
        for frame in poison {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(frame);
            let heard_by: u32 = publish.query_async(&mut raw).await.unwrap();
            assert_eq!(heard_by, 1, "the names of the channels");
        }
    }
    bus.publish(To::All, "good".into()).await.unwrap();
    assert_eq!(next(&mut heard).await, Incoming::Message("good".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_leaves_no_connection() {
    let Some(url) = url() else { return };
    let (proxy, url) = proxied(&url).await;
    let bus = connect(&url, &options()).await;
    let heard = bus.subscribe(&node("n")).await.unwrap();
    assert_eq!(proxy.connections(), 2);
    drop(heard);
    until_connections(&proxy, 1).await;
    drop(bus);
    until_connections(&proxy, 0).await;
}

async fn until_connections(proxy: &Proxy, count: usize) {
    let start = Instant::now();
    while proxy.connections() != count {
        assert!(
            start.elapsed() < RESUMES,
            "{} connections",
            proxy.connections()
        );
        sleep(Duration::from_millis(10)).await;
    }
}
