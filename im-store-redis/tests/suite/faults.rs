//! What happens when Redis, or the way to it, is not well.

use std::net::SocketAddr;
use std::time::Duration;

use im_core::port::{PortErrorKind, Registry};
use im_store_redis::{Options, RedisRegistry};
use im_testkit::proxy::{Faults, Proxy, Silence};
use tokio::time::{Instant, sleep};

use crate::{Leftovers, connect, node, options, route, url, user};

/// How long it may take until it works again after a fault ended.
const RESUMES: Duration = Duration::from_secs(5);
/// How long a call may take: what is promised, and room for a busy machine.
const CALL: Duration = Duration::from_secs(4);

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

fn long_leases() -> Options {
    Options {
        lease: Duration::from_secs(60),
        ..options()
    }
}

/// How long until a look-up answers.
async fn until_back(registry: &RedisRegistry) -> Duration {
    let start = Instant::now();
    while let Err(error) = registry.find(&[user("nobody")]).await {
        assert_eq!(error.kind(), PortErrorKind::Unavailable);
        assert!(start.elapsed() < RESUMES, "{:?}", start.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_comes_back_and_nothing_is_forgotten() {
    let Some(url) = url() else { return };
    let options = long_leases();
    let _gone = Leftovers::of(&url, &options);
    let (proxy, url) = proxied(&url).await;
    let registry = connect(&url, &options).await;
    let lease = registry.enter(&node("n")).await.unwrap();
    let al = route("n", &lease, "al", 1);
    registry.put(al.clone()).await.unwrap();
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        proxy.set(Faults {
            refuse: true,
            ..Faults::default()
        });
        proxy.reset_all();
        let start = Instant::now();
        let refused = registry.renew(&node("n"), lease.epoch).await.unwrap_err();
        assert_eq!(refused.kind(), PortErrorKind::Unavailable);
        assert!(start.elapsed() < CALL);
        sleep(away).await;
        proxy.set(Faults::default());
        println!(
            "away {away:?}: answers {:?} after",
            until_back(&registry).await
        );
        registry.renew(&node("n"), lease.epoch).await.unwrap();
        assert_eq!(
            registry.find(&[user("al")]).await.unwrap(),
            std::slice::from_ref(&al)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_redis_holds_nobody_up() {
    let Some(url) = url() else { return };
    let options = long_leases();
    let _gone = Leftovers::of(&url, &options);
    let (proxy, url) = proxied(&url).await;
    let registry = connect(&url, &options).await;
    let lease = registry.enter(&node("n")).await.unwrap();
    for silence in [Silence::ToClient, Silence::Both] {
        proxy.set(Faults {
            silence,
            ..Faults::default()
        });
        let start = Instant::now();
        let puts = (0..10_000).map(|n| registry.put(route("n", &lease, &format!("u{n}"), 1)));
        for put in futures_util::future::join_all(puts).await {
            assert_eq!(put.unwrap_err().kind(), PortErrorKind::Unavailable);
        }
        assert!(start.elapsed() < CALL, "{:?}", start.elapsed());
        // Later ones need not even wait: the caller tells all nodes at once.
        let start = Instant::now();
        assert!(registry.find(&[user("al")]).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(500));
        proxy.set(Faults::default());
        println!(
            "{silence:?}: answers {:?} after",
            until_back(&registry).await
        );
        registry.renew(&node("n"), lease.epoch).await.unwrap();
    }
}
