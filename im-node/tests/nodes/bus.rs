//! A bus that carries what nobody can read, one that gives a node its own words back, and one that
//! is slow, or never says whether it took something.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, Incoming, PortError, Subscription, To};
use im_node::local::LocalBus;

use super::kit::{Client, Cluster, int, text};

/// How many messages are looked at.
const MESSAGES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_dropped_and_what_follows_arrives() {
    let cluster = Cluster::new();
    let mut spy = cluster
        .bus
        .subscribe(&NodeId::new("spy").unwrap())
        .await
        .unwrap();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Client::connect(&a, "ana", "d").await;
    let mut ben = Client::connect(&b, "ben", "d").await;
    ana.send("c1", "ben", "1").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 1);
    let mut poison: Vec<Vec<u8>> = vec![vec![], vec![0xc1], vec![0xff; 4_096], b"{}".to_vec()];
    for _ in 0..MESSAGES {
        let Some(Incoming::Message(good)) = spy.next().await else {
            panic!("the bus is there")
        };
        for at in 0..good.len() {
            poison.push(good[..at].to_vec());
            let mut flipped = good.to_vec();
            flipped[at] ^= 0xff;
            poison.push(flipped);
        }
    }
    for bytes in poison {
        cluster
            .bus
            .publish(To::All, Bytes::from(bytes))
            .await
            .unwrap();
    }
    for at in 2..5 {
        ana.send(&format!("c{at}"), "ben", "after").await;
        let entry = ben.get("entry").await;
        assert_eq!(int(&entry, "seq"), at);
        assert_eq!(text(entry.get("body").unwrap(), "text"), "after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_itself_tells_nobody_twice() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Client::connect(&a, "ana", "d").await;
    let ben = Client::connect(&a, "ben", "d1").await;
    let conv = text(&ana.send("c1", "ben", "1").await, "conv");
    ana.say(r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben"]}}"#);
    assert_eq!(text(&ana.get("presence").await, "state"), "online");
    drop(ben);
    assert_eq!(text(&ana.get("presence").await, "state"), "offline");
    ana.is_quiet("presence").await;
    let mut ben = Client::connect(&a, "ben", "d1").await;
    assert_eq!(text(&ana.get("presence").await, "state"), "online");
    ana.is_quiet("presence").await;
    ben.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":1}}"#));
    assert_eq!(int(&ana.get("receipt").await, "read"), 1);
    ana.is_quiet("receipt").await;
    ben.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#));
    ana.get("typing").await;
    ana.is_quiet("typing").await;
    // The other node's users hear of it once, too.
    let mut far = Client::connect(&b, "ana", "far").await;
    ben.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#));
    ana.send("c2", "ben", "2").await;
    ben.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":2}}"#));
    assert_eq!(int(&far.get("receipt").await, "read"), 2);
    far.is_quiet("receipt").await;
}

/// A bus that takes its time for each payload, and for one of them for ever, without carrying it.
#[derive(Debug)]
struct SlowBus {
    local: LocalBus,
    taken: AtomicUsize,
    /// The number of the one that it says nothing of.
    stuck_at: AtomicUsize,
}

#[async_trait]
impl Bus for SlowBus {
    fn capability(&self) -> Capability {
        self.local.capability()
    }

    async fn publish(&self, to: To, payload: Bytes) -> Result<(), PortError> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
        if number == self.stuck_at.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.local.publish(to, payload).await
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        self.local.subscribe(node).await
    }
}

/// Ana and Ben on nodes of their own with a slow bus between them, which has nothing to do.
async fn slow() -> (Arc<SlowBus>, Client, Client, [im_node::Node; 2]) {
    let bus = Arc::new(SlowBus {
        local: LocalBus::new(),
        taken: AtomicUsize::new(0),
        stuck_at: AtomicUsize::new(usize::MAX),
    });
    let mut cluster = Cluster::new();
    cluster.bus = Arc::clone(&bus) as _;
    let nodes = [cluster.node("a").await, cluster.node("b").await];
    let mut ana = Client::connect(&nodes[0], "ana", "d").await;
    let mut ben = Client::connect(&nodes[1], "ben", "d").await;
    ana.send("first", "ben", "1").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    (bus, ana, ben, nodes)
}

#[tokio::test(start_paused = true)]
async fn what_gathers_while_the_bus_is_slow_crosses_together_and_in_order() {
    let (bus, mut ana, mut ben, _nodes) = slow().await;
    let before = bus.taken.load(Ordering::Relaxed);
    for number in 2..=40 {
        ana.send(&format!("c{number}"), "ben", "x").await;
    }
    for number in 2..=40 {
        assert_eq!(int(&ben.get("entry").await, "seq"), number);
    }
    // Ben's node tells of his cursor now and then, too.
    let taken = bus.taken.load(Ordering::Relaxed) - before;
    assert!(taken < 12, "{taken} payloads");
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_never_took_is_told_and_read_from_the_store() {
    let (bus, mut ana, mut ben, _nodes) = slow().await;
    let next = bus.taken.load(Ordering::Relaxed);
    bus.stuck_at.store(next, Ordering::Relaxed);
    ana.send("c2", "ben", "2").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 2);
    ana.send("c3", "ben", "3").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 3);
}

#[tokio::test(start_paused = true)]
async fn that_somebody_may_be_seen_no_longer_is_found_where_the_bus_lost_it() {
    let (bus, mut ana, mut ben, _nodes) = slow().await;
    ana.say(r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben"]}}"#);
    assert_eq!(text(&ana.get("presence").await, "state"), "online");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let next = bus.taken.load(Ordering::Relaxed);
    bus.stuck_at.store(next, Ordering::Relaxed);
    ben.say(r#"{"t":"req","id":1,"method":"privacy.set","params":{"presence":"nobody"}}"#);
    ben.get("res").await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    let told = ana.get("presence").await;
    assert_eq!(
        (text(&told, "state").as_str(), int(&told, "at")),
        ("offline", 0)
    );
}
