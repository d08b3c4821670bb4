//! The bus and the registry of one process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_core::model::{ConnectionId, DeviceId, NodeId, UserId};
use im_core::port::{Bus, Incoming, Registry, Route, To};
use im_node::local::{LocalBus, LocalRegistry};

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

mod bus_suite {
    use super::*;

    async fn fresh() -> ((), [Arc<dyn Bus>; 2]) {
        let bus = LocalBus::new();
        ((), [Arc::new(bus.clone()), Arc::new(bus)])
    }

    im_testkit::bus_suite!(fresh());
}

mod registry_suite {
    use super::*;

    /// Short enough to wait for; long enough that a busy machine can't end it by itself.
    const TTL: Duration = Duration::from_millis(600);

    async fn fresh() -> ((), Arc<dyn Registry>) {
        ((), Arc::new(LocalRegistry::with_ttl(TTL)))
    }

    im_testkit::registry_suite!(fresh());
}

#[tokio::test]
async fn one_node_is_alone_however_often_it_subscribes() {
    let bus = LocalBus::new();
    assert!(bus.capability().alone);
    let _one = bus.subscribe(&node("one")).await.unwrap();
    let _again = bus.subscribe(&node("one")).await.unwrap();
    assert!(bus.capability().alone);
    let two = bus.subscribe(&node("two")).await.unwrap();
    assert!(!bus.capability().alone && !bus.clone().capability().alone);
    drop(two);
    assert!(bus.capability().alone);
}

#[tokio::test]
async fn a_closed_bus_ends_its_subscriptions_after_what_is_left() {
    let bus = LocalBus::new();
    let mut one = bus.subscribe(&node("one")).await.unwrap();
    bus.publish(To::All, "last".into()).await.unwrap();
    drop(bus);
    let last = Incoming::Message("last".into());
    assert_eq!(one.next().await, Some(last));
    assert_eq!(one.next().await, None);
    assert_eq!(one.next().await, None);
}

#[tokio::test]
async fn a_subscriber_that_waits_hears_of_the_end() {
    let bus = LocalBus::new();
    let mut one = bus.subscribe(&node("one")).await.unwrap();
    let waiting = tokio::spawn(async move { one.next().await });
    tokio::task::yield_now().await;
    drop(bus);
    assert_eq!(waiting.await.unwrap(), None);
}

#[tokio::test]
async fn a_slow_subscriber_is_bounded_in_bytes_too() {
    const MEGABYTE: usize = 1 << 20;
    let bus = LocalBus::new();
    let mut one = bus.subscribe(&node("one")).await.unwrap();
    for n in 0..40 {
        let payload = Bytes::from(vec![n; MEGABYTE]);
        bus.publish(To::Node(node("one")), payload).await.unwrap();
    }
    assert_eq!(one.next().await, Some(Incoming::Reconnected));
    for n in 24..40 {
        let Some(Incoming::Message(payload)) = one.next().await else {
            panic!("the newest 16 MiB are kept");
        };
        assert_eq!(payload[0], n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_runs_by_tokios_clock() {
    let registry = LocalRegistry::new();
    let lease = registry.enter(&node("n")).await.unwrap();
    assert_eq!(lease.ttl, Duration::from_secs(30));
    let route = Route {
        user: UserId::new("al").unwrap(),
        device: DeviceId::new("phone").unwrap(),
        node: node("n"),
        epoch: lease.epoch,
        conn: ConnectionId(1),
    };
    registry.put(route.clone()).await.unwrap();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(29)).await;
        registry.renew(&node("n"), lease.epoch).await.unwrap();
    }
    let al = [route.user.clone()];
    assert_eq!(registry.find(&al).await.unwrap(), [route]);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(registry.find(&al).await.unwrap().is_empty());
    assert!(registry.renew(&node("n"), lease.epoch).await.is_err());
}
