//! The bus between nodes: a hint, never the truth.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::PortError;
use crate::model::NodeId;

/// What a bus can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// A message outlives the broker's restart.
    pub durable: bool,
    /// Messages of one publisher arrive in the order in which they were published.
    pub ordered: bool,
    /// The largest message in bytes.
    pub payload_bytes_max: usize,
    /// There is no other node: publishing reaches nobody, and need not be tried.
    pub alone: bool,
}

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One node.
    Node(NodeId),
    /// Every node, the publisher too or not.
    All,
}

/// What a subscription gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Bytes),
    /// The connection to the broker was lost and is back: messages may have been missed.
    Reconnected,
}

/// A node's stream of messages.
#[async_trait]
pub trait Subscription: Debug + Send + 'static {
    /// The next one; `None` when the bus is closed for good. Safe to drop while it waits.
    async fn next(&mut self) -> Option<Incoming>;
}

/// The bus: messages may be lost, doubled, late or out of order, and it costs latency only.
#[async_trait]
pub trait Bus: Debug + Send + Sync + 'static {
    /// What it can do.
    fn capability(&self) -> Capability;

    /// Sends. `Ok` means that the bus took it, not that anybody got it.
    async fn publish(&self, to: To, payload: Bytes) -> Result<(), PortError>;

    /// Receives what is sent to `node` and to all from now on. Bounded: a subscriber that does
    /// not read loses the oldest and gets [`Incoming::Reconnected`].
    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError>;
}
