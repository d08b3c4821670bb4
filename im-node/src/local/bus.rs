//! The bus of one process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, Incoming, PortError, PortErrorKind, Subscription, To};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// The largest message: what a network's bus would take, so that an app that starts with this one
/// can go there.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The most messages that wait for a subscriber: at the load of a busy node some tens of
/// milliseconds, and beyond it a sweep is cheaper than catching up.
const QUEUE_MAX: usize = 4096;
/// The most bytes that wait for a subscriber.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// The [`Bus`] of one process: `Clone`s of it, and the nodes that share it, hear one another. A
/// message is kept in order, is not copied, and reaches its publisher's own node too.
#[derive(Debug, Clone, Default)]
pub struct LocalBus {
    hub: Arc<Hub>,
}

impl LocalBus {
    /// A bus that nobody has subscribed to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Bus for LocalBus {
    fn capability(&self) -> Capability {
        Capability {
            durable: false,
            ordered: true,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            alone: !self.hub.has_several_nodes.load(Ordering::Acquire),
        }
    }

    async fn publish(&self, to: To, payload: Bytes) -> Result<(), PortError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PortError::new(PortErrorKind::TooLarge));
        }
        for queue in &*self.hub.queues.read() {
            let is_meant = match &to {
                To::Node(node) => *node == queue.node,
                To::All => true,
            };
            if is_meant {
                queue.push(payload.clone());
            }
        }
        Ok(())
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        let queue = Arc::new(Queue {
            node: node.clone(),
            waiting: Mutex::default(),
            arrived: Notify::new(),
        });
        self.hub.change(|queues| queues.push(Arc::clone(&queue)));
        let hub = Arc::downgrade(&self.hub);
        Ok(Box::new(LocalSubscription { hub, queue }))
    }
}

/// Every subscriber's queue.
#[derive(Debug, Default)]
struct Hub {
    queues: RwLock<Vec<Arc<Queue>>>,
    /// Beside the list, since it is asked for with every message.
    has_several_nodes: AtomicBool,
}

impl Hub {
    fn change(&self, how: impl FnOnce(&mut Vec<Arc<Queue>>)) {
        let mut queues = self.queues.write();
        how(&mut queues);
        let first = queues.first().map(|queue| queue.node.clone());
        let several = queues
            .iter()
            .any(|queue| Some(&queue.node) != first.as_ref());
        self.has_several_nodes.store(several, Ordering::Release);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        for queue in self.queues.get_mut() {
            queue.close();
        }
    }
}

/// What waits for one subscriber.
#[derive(Debug)]
struct Queue {
    node: NodeId,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Messages were dropped that the subscriber has not been told of.
    is_lossy: bool,
    is_closed: bool,
}

impl Queue {
    fn push(&self, payload: Bytes) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += payload.len();
        waiting.messages.push_back(payload);
        while waiting.messages.len() > QUEUE_MAX || waiting.bytes > QUEUE_BYTES_MAX {
            let Some(oldest) = waiting.messages.pop_front() else {
                break;
            };
            waiting.bytes -= oldest.len();
            waiting.is_lossy = true;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// The next thing to tell; `None` when there is nothing now.
    fn pop(&self) -> Option<Option<Incoming>> {
        let mut waiting = self.waiting.lock();
        if std::mem::take(&mut waiting.is_lossy) {
            return Some(Some(Incoming::Reconnected));
        }
        if let Some(payload) = waiting.messages.pop_front() {
            waiting.bytes -= payload.len();
            return Some(Some(Incoming::Message(payload)));
        }
        waiting.is_closed.then_some(None)
    }
}

#[derive(Debug)]
struct LocalSubscription {
    hub: std::sync::Weak<Hub>,
    queue: Arc<Queue>,
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        loop {
            if let Some(incoming) = self.queue.pop() {
                return incoming;
            }
            // A message that came since `pop` has left a permit, so none is slept through.
            self.queue.arrived.notified().await;
        }
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.change(|queues| queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue)));
        }
    }
}
