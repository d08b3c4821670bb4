//! One device, several connections: the one that came last stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_core::frame::CloseCode;
use im_core::model::{NodeId, UserId};
use im_core::port::{Lease, PortError, PortErrorKind, Registry, Route};
use im_node::local::LocalRegistry;

use super::kit::{Client, Cluster, text};

/// A lease that is soon over, with room for a busy machine to renew it.
const TTL: Duration = Duration::from_millis(1_500);

/// A registry that one node can't reach at times, or that is slow to write.
#[derive(Debug)]
struct Reach {
    local: LocalRegistry,
    lost: AtomicBool,
    slow: AtomicBool,
}

impl Reach {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            local: LocalRegistry::with_ttl(TTL),
            lost: AtomicBool::new(false),
            slow: AtomicBool::new(false),
        })
    }

    fn check(&self, node: &NodeId) -> Result<(), PortError> {
        let is_lost = self.lost.load(Ordering::Acquire) && node.as_str() == "a";
        if is_lost {
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        Ok(())
    }

    async fn devices(&self, user: &str) -> Vec<(String, String)> {
        let user = UserId::new(user).unwrap();
        let routes = self.local.find(&[user]).await.unwrap().into_iter();
        let name = |route: Route| (route.device.to_string(), route.node.to_string());
        routes.map(name).collect()
    }

    async fn shows(&self, user: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(device, node)| ((*device).to_owned(), (*node).to_owned()))
            .collect();
        for _ in 0..200 {
            if self.devices(user).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?} is not {expected:?}", self.devices(user).await);
    }
}

#[async_trait]
impl Registry for Reach {
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError> {
        self.check(node)?;
        self.local.enter(node).await
    }

    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.check(node)?;
        self.local.renew(node, epoch).await
    }

    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.local.leave(node, epoch).await
    }

    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.check(&route.node)?;
        if self.slow.swap(false, Ordering::AcqRel) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.local.put(route).await
    }

    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.check(&route.node)?;
        self.local.restore(route).await
    }

    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        self.check(&route.node)?;
        self.local.remove(route).await
    }

    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        self.local.find(users).await
    }
}

fn cluster() -> (Cluster, Arc<Reach>) {
    let reach = Reach::new();
    let cluster = Cluster::with_registry(Arc::clone(&reach) as _);
    (cluster, reach)
}

async fn lives(client: &mut Client) {
    client.say(r#"{"t":"ping"}"#);
    client.get("pong").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_enters_again_displaces_nobody_who_connected_elsewhere_meanwhile() {
    let (cluster, reach) = cluster();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut old = Client::connect(&a, "ana", "phone").await;
    let mut tablet = Client::connect(&a, "ana", "tablet").await;
    reach.lost.store(true, Ordering::Release);
    reach.shows("ana", &[]).await;
    let mut new = Client::connect(&b, "ana", "phone").await;
    reach.lost.store(false, Ordering::Release);
    assert_eq!(old.closed().await, CloseCode::Replaced);
    reach.shows("ana", &[("phone", "b"), ("tablet", "a")]).await;
    lives(&mut new).await;
    lives(&mut tablet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_registry_did_not_take_is_written_when_it_can_be_reached() {
    let (cluster, reach) = cluster();
    let a = cluster.node("a").await;
    // Shorter than the lease.
    reach.lost.store(true, Ordering::Release);
    let mut ana = Client::connect(&a, "ana", "phone").await;
    reach.lost.store(false, Ordering::Release);
    reach.shows("ana", &[("phone", "a")]).await;
    lives(&mut ana).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_the_registry_did_not_remove_is_removed_when_it_can_be_reached() {
    let (cluster, reach) = cluster();
    let a = cluster.node("a").await;
    let ana = Client::connect(&a, "ana", "phone").await;
    // Shorter than the lease.
    reach.lost.store(true, Ordering::Release);
    drop(ana);
    tokio::time::sleep(TTL / 10).await;
    reach.lost.store(false, Ordering::Release);
    reach.shows("ana", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_comes_late_does_not_displace_a_later_connection() {
    let (cluster, reach) = cluster();
    let a = cluster.node("a").await;
    let mut late = Client::silent(&a);
    let mut new = Client::connect(&a, "ana", "phone").await;
    late.say(r#"{"t":"hello","token":"ana","device":"phone"}"#);
    assert_eq!(late.closed().await, CloseCode::Replaced);
    lives(&mut new).await;
    reach.shows("ana", &[("phone", "a")]).await;
    // In the usual order the later one stays.
    let mut newest = Client::connect(&a, "ana", "phone").await;
    assert_eq!(new.closed().await, CloseCode::Replaced);
    lives(&mut newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_connections_that_come_at_once_the_last_is_the_one_that_is_registered() {
    let (cluster, reach) = cluster();
    let a = cluster.node("a").await;
    reach.slow.store(true, Ordering::Release);
    let mut first = Client::hello(&a, "ana", "phone");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut second = Client::connect(&a, "ana", "phone").await;
    assert_eq!(first.closed().await, CloseCode::Replaced);
    drop(first);
    lives(&mut second).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    reach.shows("ana", &[("phone", "a")]).await;
    drop(second);
    reach.shows("ana", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_on_another_node_ends_the_earlier_connection() {
    let (cluster, reach) = cluster();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut old = Client::connect(&a, "ana", "phone").await;
    let mut new = Client::connect(&b, "ana", "phone").await;
    assert_eq!(old.closed().await, CloseCode::Replaced);
    drop(old);
    lives(&mut new).await;
    reach.shows("ana", &[("phone", "b")]).await;
    assert_eq!(text(&new.send("c1", "ben", "x").await, "cm_id"), "c1");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_before_they_are_welcomed_is_never_shown_online() {
    let (cluster, reach) = cluster();
    let a = cluster.node("a").await;
    let mut ana = Client::connect(&a, "ana", "phone").await;
    ana.send("c1", "ben", "x").await;
    ana.say(r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben"]}}"#);
    ana.get("res").await;
    reach.slow.store(true, Ordering::Release);
    let ben = Client::hello(&a, "ben", "phone");
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(ben);
    // Until the registry has answered. He was offline before, and never anything else.
    tokio::time::sleep(Duration::from_millis(400)).await;
    ana.is_quiet("presence").await;
}
