//! News that come late, while the sweep reads.
//!
//! Time is paused, so a pause is over when every task waits for something.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, Incoming, PortError, Subscription, To};
use im_node::Node;
use im_node::local::LocalBus;
use im_testkit::memory::Fault;
use parking_lot::Mutex;

use super::kit::{Client, Cluster, int};

/// Longer than anything of a node's own takes that is not to come.
const IDLE: Duration = Duration::from_millis(20);

/// A bus that keeps everything, until the test hands it out.
#[derive(Debug)]
struct HeldBus {
    local: LocalBus,
    held: Mutex<Vec<Bytes>>,
    /// Tells every node that it may have missed something, so that it sweeps.
    sweep: tokio::sync::watch::Sender<()>,
}

#[derive(Debug)]
struct HeldSubscription {
    local: Box<dyn Subscription>,
    sweep: tokio::sync::watch::Receiver<()>,
}

#[async_trait]
impl Bus for HeldBus {
    fn capability(&self) -> Capability {
        self.local.capability()
    }

    async fn publish(&self, _: To, payload: Bytes) -> Result<(), PortError> {
        self.held.lock().push(payload);
        Ok(())
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        Ok(Box::new(HeldSubscription {
            local: self.local.subscribe(node).await?,
            sweep: self.sweep.subscribe(),
        }))
    }
}

#[async_trait]
impl Subscription for HeldSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        tokio::select! {
            incoming = self.local.next() => incoming,
            Ok(()) = self.sweep.changed() => Some(Incoming::Reconnected),
        }
    }
}

/// Ana on a node that tells of her first message to Ben late, and of her second never; Ben on
/// another.
struct Late {
    cluster: Cluster,
    bus: Arc<HeldBus>,
    ben: Client,
    first: Vec<Bytes>,
    /// They live as long as the test.
    _nodes: [Node; 2],
}

impl Late {
    async fn new() -> Self {
        let bus = Arc::new(HeldBus {
            local: LocalBus::new(),
            held: Mutex::default(),
            sweep: tokio::sync::watch::Sender::new(()),
        });
        let mut cluster = Cluster::new();
        cluster.bus = Arc::clone(&bus) as _;
        let nodes = [cluster.node("a").await, cluster.node("b").await];
        let ben = Client::connect(&nodes[1], "ben", "d").await;
        let mut ana = Client::connect(&nodes[0], "ana", "d").await;
        tokio::time::sleep(IDLE).await;
        bus.held.lock().clear();
        ana.send("c1", "ben", "1").await;
        tokio::time::sleep(IDLE).await;
        let first = std::mem::take(&mut *bus.held.lock());
        ana.send("c2", "ben", "2").await;
        Self {
            cluster,
            bus,
            ben,
            first,
            _nodes: nodes,
        }
    }

    /// The sweep begins, and stands where its read number `at` has read and not answered.
    async fn sweep_to(&self, at: usize) {
        self.bus.sweep.send_replace(());
        for _ in 0..at {
            self.cluster.store.set_reads(Some(Fault::HangAfter));
            tokio::time::sleep(IDLE).await;
        }
    }

    /// The late news make the room, with the first message in it.
    async fn first_comes(&mut self) {
        for payload in std::mem::take(&mut self.first) {
            self.bus.local.publish(To::All, payload).await.unwrap();
        }
        assert_eq!(int(&self.ben.get("entry").await, "seq"), 1);
    }

    /// The sweep goes on, and Ben has the second message by it.
    async fn second_comes(mut self) {
        self.cluster.store.set_reads(None);
        assert_eq!(int(&self.ben.get("entry").await, "seq"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn old_news_that_overtake_the_sweeps_question_hide_no_later_entry() {
    // What changed, the conversation, its members: each is read before the room is there.
    for read in 1..=3 {
        let mut late = Late::new().await;
        late.sweep_to(read).await;
        late.first_comes().await;
        late.second_comes().await;
    }
}

#[tokio::test(start_paused = true)]
async fn old_news_that_overtake_a_join_of_the_sweep_hide_no_later_entry() {
    let mut late = Late::new().await;
    // The fourth read is the join's own.
    late.sweep_to(4).await;
    late.first_comes().await;
    late.second_comes().await;
}
