//! The registry of one process.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{DeviceId, NodeId, UserId};
use im_core::port::{Lease, PortError, PortErrorKind, Registry, Route};
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a lease holds without a renewal, if nothing else is said.
const TTL: Duration = Duration::from_secs(30);

/// The [`Registry`] of one process, shared by the nodes that run in it. Leases run by tokio's
/// clock, so a paused one stops them.
#[derive(Debug)]
pub struct LocalRegistry {
    ttl: Duration,
    state: Mutex<State>,
}

impl LocalRegistry {
    /// An empty registry with leases of 30 s.
    #[must_use]
    pub fn new() -> Self {
        Self::with_ttl(TTL)
    }

    /// An empty registry with leases of that length.
    #[must_use]
    pub fn with_ttl(ttl: Duration) -> Self {
        Self {
            ttl,
            state: Mutex::default(),
        }
    }

    /// Forgets every lease and every route, as a server does that lost its memory: nodes enter
    /// again, and get greater epochs.
    pub fn forget(&self) {
        let mut state = self.state.lock();
        state.leases.clear();
        state.routes.clear();
    }
}

impl Default for LocalRegistry {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Registry for LocalRegistry {
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.leases.get(node).is_some_and(|held| held.until > now) {
            return Err(fenced());
        }
        state.forget_the_dead(now);
        state.epoch += 1;
        let epoch = state.epoch;
        let held = Held {
            epoch,
            until: now + self.ttl,
        };
        state.leases.insert(node.clone(), held);
        Ok(Lease {
            epoch,
            ttl: self.ttl,
        })
    }

    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.holds(node, epoch, now) {
            return Err(fenced());
        }
        if let Some(held) = state.leases.get_mut(node) {
            held.until = now + self.ttl;
        }
        Ok(())
    }

    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.holds(node, epoch, now) {
            return Err(fenced());
        }
        state.leases.remove(node);
        state.forget_the_dead(now);
        Ok(())
    }

    async fn put(&self, route: Route) -> Result<Option<Route>, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.holds(&route.node, route.epoch, now) {
            return Err(fenced());
        }
        let devices = state.routes.entry(route.user.clone()).or_default();
        let before = devices.insert(route.device.clone(), route.clone());
        let before = before.filter(|before| *before != route);
        Ok(before.filter(|before| state.is_live(before, now)))
    }

    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if !state.holds(&route.node, route.epoch, now) {
            return Err(fenced());
        }
        let there = state.routes.get(&route.user);
        let there = there.and_then(|devices| devices.get(&route.device));
        let is_later = |there: &&Route| there.node != route.node || there.conn > route.conn;
        let later = there.filter(is_later).cloned();
        if let Some(later) = later.filter(|later| state.is_live(later, now)) {
            return Ok(Some(later));
        }
        let devices = state.routes.entry(route.user.clone()).or_default();
        devices.insert(route.device.clone(), route);
        Ok(None)
    }

    async fn remove(&self, route: &Route) -> Result<(), PortError> {
        let mut state = self.state.lock();
        let Some(devices) = state.routes.get_mut(&route.user) else {
            return Ok(());
        };
        if devices.get(&route.device) == Some(route) {
            devices.remove(&route.device);
        }
        if devices.is_empty() {
            state.routes.remove(&route.user);
        }
        Ok(())
    }

    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError> {
        let now = Instant::now();
        let state = self.state.lock();
        let routes = users.iter().filter_map(|user| state.routes.get(user));
        let routes = routes.flat_map(BTreeMap::values);
        Ok(routes
            .filter(|route| state.is_live(route, now))
            .cloned()
            .collect())
    }
}

#[derive(Debug, Default)]
struct State {
    /// The last number given.
    epoch: u64,
    leases: BTreeMap<NodeId, Held>,
    /// Also those of ended leases, until a node enters or leaves.
    routes: BTreeMap<UserId, BTreeMap<DeviceId, Route>>,
}

#[derive(Debug)]
struct Held {
    epoch: u64,
    until: Instant,
}

impl State {
    fn holds(&self, node: &NodeId, epoch: u64, now: Instant) -> bool {
        let held = self.leases.get(node);
        held.is_some_and(|held| held.epoch == epoch && held.until > now)
    }

    fn is_live(&self, route: &Route, now: Instant) -> bool {
        self.holds(&route.node, route.epoch, now)
    }

    fn forget_the_dead(&mut self, now: Instant) {
        let Self { leases, routes, .. } = self;
        leases.retain(|_, held| held.until > now);
        routes.retain(|_, devices| {
            devices.retain(|_, route| {
                let held = leases.get(&route.node);
                held.is_some_and(|held| held.epoch == route.epoch)
            });
            !devices.is_empty()
        });
    }
}

const fn fenced() -> PortError {
    PortError::new(PortErrorKind::Fenced)
}
