//! A registry that is slow, at times away, and that forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{NodeId, UserId};
use im_core::port::{Lease, PortError, PortErrorKind, Registry, Route};
use im_node::local::LocalRegistry;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::gate::Gate;
use super::store::at_once;

/// A [`LocalRegistry`] with the faults of a seed.
#[derive(Debug)]
pub struct SimRegistry {
    local: LocalRegistry,
    rng: Mutex<fastrand::Rng>,
    slow_ms: AtomicU64,
    away: AtomicBool,
}

impl SimRegistry {
    /// A registry with leases of `ttl` whose answers take at most `slow_ms`.
    #[must_use]
    pub fn new(ttl: Duration, slow_ms: u64, seed: u64) -> Self {
        Self {
            local: LocalRegistry::with_ttl(ttl),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            slow_ms: AtomicU64::new(slow_ms),
            away: AtomicBool::new(false),
        }
    }

    /// Whether every call fails from now on; half of those that write happen all the same.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Forgets every lease and every route.
    pub fn forget(&self) {
        self.local.forget();
    }

    /// Where a user's devices are, as it says.
    pub(crate) fn routes(&self, user: &UserId) -> Vec<Route> {
        at_once(self.local.find(std::slice::from_ref(user))).unwrap_or_default()
    }

    /// The registry as one node reaches it, through its gate.
    #[must_use]
    pub fn of_node(self: &Arc<Self>, gate: Arc<Gate>) -> Arc<dyn Registry> {
        Arc::new(NodeRegistry {
            registry: Arc::clone(self),
            gate,
        })
    }

    /// Ends every fault.
    pub fn calm(&self) {
        self.set_away(false);
        self.slow_ms.store(0, Ordering::Relaxed);
    }

    async fn around<T>(
        &self,
        call: impl Future<Output = Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        let (wait, happens) = {
            let mut rng = self.rng.lock();
            let slow = self.slow_ms.load(Ordering::Relaxed);
            (rng.u64(0..=slow), rng.bool())
        };
        if wait > 0 {
            sleep(Duration::from_millis(wait)).await;
        }
        if self.away.load(Ordering::Relaxed) {
            if happens {
                // An answer that was lost.
                let _ = call.await;
            }
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        call.await
    }
}

#[async_trait]
impl Registry for SimRegistry {
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError> {
        self.around(self.local.enter(node)).await
    }

    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.around(self.local.renew(node, epoch)).await
    }

    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.around(self.local.leave(node, epoch)).await
    }

    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.around(self.local.put(route)).await
    }

    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.around(self.local.restore(route)).await
    }

    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        self.around(self.local.remove(route)).await
    }

    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        self.around(self.local.find(users)).await
    }
}

/// A [`SimRegistry`] as one node reaches it.
#[derive(Debug)]
struct NodeRegistry {
    registry: Arc<SimRegistry>,
    gate: Arc<Gate>,
}

impl NodeRegistry {
    async fn ask<T>(&self, call: impl Future<Output = T> + Send) -> T {
        self.gate.pass().await;
        let answer = call.await;
        self.gate.pass().await;
        answer
    }
}

#[async_trait]
impl Registry for NodeRegistry {
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError> {
        self.ask(self.registry.enter(node)).await
    }

    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.ask(self.registry.renew(node, epoch)).await
    }

    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        self.ask(self.registry.leave(node, epoch)).await
    }

    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.ask(self.registry.put(route)).await
    }

    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError> {
        self.ask(self.registry.restore(route)).await
    }

    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        self.ask(self.registry.remove(route)).await
    }

    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        self.ask(self.registry.find(users)).await
    }
}
