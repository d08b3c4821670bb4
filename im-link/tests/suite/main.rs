//! The bus over a broker that is made up, on paused time: bounds, deadlines, and what is told to
//! whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod broker;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Incoming, PortErrorKind, Subscription, To};
use im_link::ANSWER_WAIT;
use im_link::bus::{BrokerBus, Options};
use tokio::time::{Instant, sleep, timeout};

use crate::broker::{Made, World};

/// Longer than anything takes that is to happen.
const LONG: Duration = Duration::from_secs(30);

async fn connect<const CONFIRMS: bool>(world: &Arc<World>) -> Arc<BrokerBus<Made<CONFIRMS>>> {
    let options = Options {
        prefix: world.enter(),
        ca_pem: None,
    };
    Arc::new(BrokerBus::connect("made://up", options).await.unwrap())
}

fn to(id: &str) -> To {
    To::Node(NodeId::new(id).unwrap())
}

async fn next(from: &mut Box<dyn Subscription>) -> Incoming {
    timeout(LONG, from.next()).await.unwrap().unwrap()
}

async fn subscribe<const CONFIRMS: bool>(
    bus: &BrokerBus<Made<CONFIRMS>>,
    id: &str,
) -> Box<dyn Subscription> {
    bus.subscribe(&NodeId::new(id).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_silent_broker_is_bounded_and_soon_refused() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    for (bytes, most) in [(1, 4096), (1 << 20, 16), (100 << 10, 163)] {
        let payload = Bytes::from(vec![0; bytes.min(1_000_000)]);
        world.set_silent(true);
        let start = Instant::now();
        let sends = (0..5000).map(|_| {
            let (bus, payload) = (Arc::clone(&bus), payload.clone());
            tokio::spawn(async move {
                let refused = bus.publish(to("n"), payload).await.unwrap_err();
                assert_eq!(refused.kind(), PortErrorKind::Unavailable);
                Instant::now()
            })
        });
        let mut waited = 0;
        for send in sends.collect::<Vec<_>>() {
            let took = send.await.unwrap() - start;
            assert!(took <= ANSWER_WAIT, "{took:?}");
            waited += usize::from(took == ANSWER_WAIT);
        }
        assert_eq!(waited, most, "messages of {bytes} bytes waited");
        world.set_silent(false);
        sleep(LONG).await;
        bus.publish(to("n"), "well".into()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_could_not_send_tells_all_when_it_can() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    let mut other = subscribe(&bus, "other").await;
    world.cut_senders();
    assert!(bus.publish(to("n"), "lost".into()).await.is_err());
    assert_eq!(next(&mut other).await, Incoming::Reconnected);
    bus.publish(to("other"), "x".into()).await.unwrap();
    assert_eq!(next(&mut other).await, Incoming::Message("x".into()));
    // Once is enough; and who lost nothing tells nothing, if its broker says what it has.
    world.cut_senders();
    sleep(LONG).await;
    assert!(timeout(LONG, other.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_confirms_a_lost_connection_may_have_lost_something() {
    let world = World::new();
    let bus = connect::<false>(&world).await;
    let mut other = subscribe(&bus, "other").await;
    world.cut_senders();
    assert_eq!(next(&mut other).await, Incoming::Reconnected);
}

#[tokio::test(start_paused = true)]
async fn who_hears_nothing_is_asked_and_replaced_and_told() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    let mut heard = subscribe(&bus, "n").await;
    let start = Instant::now();
    world.set_silent(true);
    sleep(Duration::from_secs(10)).await;
    world.set_silent(false);
    assert_eq!(next(&mut heard).await, Incoming::Reconnected);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    // By then the one that sends is back, too.
    sleep(Duration::from_secs(15).saturating_sub(took)).await;
    bus.publish(To::All, "x".into()).await.unwrap();
    assert_eq!(next(&mut heard).await, Incoming::Message("x".into()));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_loses_the_oldest_and_is_told() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    let mut slow = subscribe(&bus, "n").await;
    for n in 0..5000 {
        bus.publish(to("n"), n.to_string().into()).await.unwrap();
    }
    assert_eq!(next(&mut slow).await, Incoming::Reconnected);
    for n in 5000 - 4096..5000 {
        let expected = Incoming::Message(n.to_string().into());
        assert_eq!(next(&mut slow).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_and_nothing_else() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    let largest = bus.capability().payload_bytes_max;
    bus.publish(To::All, vec![0; largest].into()).await.unwrap();
    let refused = bus.publish(To::All, vec![0; largest + 1].into()).await;
    assert_eq!(refused.unwrap_err().kind(), PortErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_leaves_no_session() {
    let world = World::new();
    let bus = connect::<true>(&world).await;
    let heard = subscribe(&bus, "n").await;
    assert_eq!(world.sessions(), 2);
    drop(heard);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.sessions(), 1);
    drop(bus);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.sessions(), 0);
}
