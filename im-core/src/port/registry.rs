//! The registry: which node has a user's connections.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::error::PortError;
use crate::model::{ConnectionId, DeviceId, NodeId, UserId};

/// A node's right to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// A number that grows with each start of any node under this registry.
    pub epoch: u64,
    /// How long it holds without a renewal; renew at a third of it.
    pub ttl: Duration,
}

/// Where a device is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose device.
    pub user: UserId,
    /// Which.
    pub device: DeviceId,
    /// On which node.
    pub node: NodeId,
    /// That node's lease.
    pub epoch: u64,
    /// Which connection of that node.
    pub conn: ConnectionId,
}

/// The registry. A route is written once and holds as long as its node's lease.
#[async_trait]
pub trait Registry: Debug + Send + Sync + 'static {
    /// A node starts. Routes of an earlier lease of the same name are void.
    ///
    /// # Errors
    /// `Fenced` when a live node has this name.
    async fn enter(&self, node: &NodeId) -> Result<Lease, PortError>;

    /// A node lives.
    ///
    /// # Errors
    /// `Fenced` when the lease is over: enter again and [`restore`](Self::restore) every route.
    async fn renew(&self, node: &NodeId, epoch: u64) -> Result<(), PortError>;

    /// A node leaves: its lease and its routes are void at once.
    async fn leave(&self, node: &NodeId, epoch: u64) -> Result<(), PortError>;

    /// A device connected. Gives the route that it displaces, if the device was connected
    /// elsewhere (or here, on another connection).
    ///
    /// # Errors
    /// `Fenced` when the route's lease is over; nothing is displaced then.
    async fn put(&self, route: Route) -> Result<Option<Route>, PortError>;

    /// A device that connected earlier still is: written anew after the lease was lost, or when it
    /// is not known whether it was. A live route of the device on another node, or of a later
    /// connection here, stays and is given. If this one had been written before, that one came
    /// after it.
    ///
    /// # Errors
    /// `Fenced` as for [`put`](Self::put).
    async fn restore(&self, route: Route) -> Result<Option<Route>, PortError>;

    /// A connection closed. A route that a later `put` replaced stays.
    async fn remove(&self, route: &Route) -> Result<(), PortError>;

    /// Where these users are connected, as far as the leases hold.
    async fn find(&self, users: &[UserId]) -> Result<Vec<Route>, PortError>;
}
