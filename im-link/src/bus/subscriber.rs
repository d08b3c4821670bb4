//! The session that listens: one for each subscription, kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Incoming, Subscription};

use super::Broker;
use super::frame::{self, Heard, Poison};
use super::queue::Queue;
use crate::connect::{At, ConnectError};
use crate::kept::{Keep, Kept, Link, asked};

/// Passed over so far, by all subscriptions: says which are worth a line in the log.
static POISON: AtomicU64 = AtomicU64::new(0);

/// Where a session puts what it hears. Never waits: who does not read loses the oldest.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Queue>);

impl Inbox {
    /// A frame came.
    pub fn take(&self, frame: &Bytes) {
        match frame::read(frame) {
            Ok(Heard::Message(payload)) => self.0.push(payload),
            Ok(Heard::Missed) => self.0.mark_lossy(),
            Err(why) => pass_over(why),
        }
    }

    /// Something came that is no frame at all.
    pub fn take_garbage(&self) {
        pass_over(Poison::Garbage);
    }

    /// Something may have been missed.
    pub fn missed(&self) {
        self.0.mark_lossy();
    }
}

fn pass_over(why: Poison) {
    let reason = why.as_str();
    metrics::counter!("im_bus_poison_total", "reason" => reason).increment(1);
    let count = POISON.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_power_of_two() {
        tracing::warn!(reason, count, "a message on the bus was passed over");
    }
}

#[derive(Debug)]
pub(crate) struct BrokerSubscription<B: Broker> {
    queue: Arc<Queue>,
    _kept: Kept<Hearing<B>>,
}

#[async_trait]
impl<B: Broker> Subscription for BrokerSubscription<B> {
    async fn next(&mut self) -> Option<Incoming> {
        Some(self.queue.next().await)
    }
}

/// Once this answers, nothing that is published gets past the subscription.
pub(crate) async fn subscribe<B: Broker>(
    broker: Arc<B>,
    node: NodeId,
) -> Result<BrokerSubscription<B>, ConnectError> {
    let queue = Arc::new(Queue::default());
    let hearing = Hearing {
        broker,
        node,
        queue: Arc::clone(&queue),
    };
    Ok(BrokerSubscription {
        queue,
        _kept: Kept::start(hearing).await?,
    })
}

#[derive(Debug)]
struct Hearing<B: Broker> {
    broker: Arc<B>,
    node: NodeId,
    queue: Arc<Queue>,
}

#[async_trait]
impl<B: Broker> Keep for Hearing<B> {
    type Link = Box<dyn Link>;

    fn loss(&self) -> &'static str {
        "the bus can't hear"
    }

    fn at(&self) -> &At {
        self.broker.at()
    }

    fn open_wait(&self) -> Duration {
        B::OPEN_WAIT
    }

    async fn open(&self) -> Result<Self::Link, ConnectError> {
        let inbox = Inbox(Arc::clone(&self.queue));
        self.broker.receiver(&self.node, inbox).await
    }

    /// Who is heard need not be asked, and on a full line the answer would be late.
    async fn is_alive(&self, link: &Self::Link) -> bool {
        self.queue.take_heard() || asked(link).await || self.queue.take_heard()
    }

    async fn on_new(&self, _link: &Self::Link) {
        metrics::counter!("im_bus_reconnects_total").increment(1);
        self.queue.mark_lossy();
    }

    async fn on_alive(&self, _link: &Self::Link) {}
}

#[async_trait]
impl Link for Box<dyn Link> {
    async fn closed(&self) {
        (**self).closed().await;
    }

    async fn is_alive(&self) -> bool {
        (**self).is_alive().await
    }
}
