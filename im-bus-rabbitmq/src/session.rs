//! The connection that sends, and the ones that listen. Each is given up when it is lost: the
//! client's own recovery would not say what was missed.

use std::future::{Ready, pending, ready};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{PortError, PortErrorKind, To};
use im_link::bus::{Inbox, Sender, Unsent};
use im_link::{ConnectError, Link};
use lapin::message::DeliveryResult;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ConsumerDelegate, ExchangeKind, Result};
use tokio::sync::Notify;

use crate::wire::{Wire, explain};
use crate::{Rabbit, key};

/// The most messages that a queue holds for a node that does not read them.
const WAITING_MAX: i32 = 4096;
/// The most bytes.
const WAITING_BYTES_MAX: i32 = 16 << 20;
/// A message that the broker need not write to its disk.
const IN_MEMORY: u8 = 1;

/// Sends.
pub(crate) struct Mouth {
    wire: Wire,
    exchange: String,
}

impl Mouth {
    pub(crate) async fn open(rabbit: &Rabbit) -> std::result::Result<Self, ConnectError> {
        let (wire, exchange) = (Wire::open(rabbit).await?, rabbit.names.exchange());
        let ready = async {
            declare(&wire.channel, &exchange, false).await?;
            let confirm = ConfirmSelectOptions::default();
            wire.channel.confirm_select(confirm).await
        };
        ready.await.map_err(|error| explain(rabbit, &error))?;
        Ok(Self { wire, exchange })
    }
}

/// Makes the exchange if it is not there; with `passive`, only asks for it.
async fn declare(channel: &Channel, exchange: &str, passive: bool) -> Result<()> {
    let options = ExchangeDeclareOptions {
        passive,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Direct;
    channel
        .exchange_declare(exchange.into(), kind, options, FieldTable::default())
        .await
}

#[async_trait]
impl Link for Mouth {
    /// It hears of its end by the next answer that is missing.
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        declare(&self.wire.channel, &self.exchange, true)
            .await
            .is_ok()
    }
}

#[async_trait]
impl Sender for Mouth {
    async fn send(&self, to: &To, frame: Bytes) -> std::result::Result<(), Unsent> {
        let properties = BasicProperties::default().with_delivery_mode(IN_MEMORY);
        let (exchange, key) = (self.exchange.as_str().into(), key(to).into());
        let options = BasicPublishOptions::default();
        let published = self
            .wire
            .channel
            .basic_publish(exchange, key, options, &frame, properties);
        let confirm = published.await.map_err(|_| Unsent::Lost)?;
        match confirm.await {
            Ok(Confirmation::Ack(_)) => Ok(()),
            Ok(_) => Err(Unsent::Refused(PortError::new(PortErrorKind::Unavailable))),
            Err(_) => Err(Unsent::Lost),
        }
    }
}

/// Listens.
pub(crate) struct Ear {
    wire: Wire,
    queue: String,
    closed: Arc<Notify>,
}

impl Ear {
    pub(crate) async fn open(
        rabbit: &Rabbit,
        node: &NodeId,
        inbox: Inbox,
    ) -> std::result::Result<Self, ConnectError> {
        let wire = Wire::open(rabbit).await?;
        let (exchange, queue) = (rabbit.names.exchange(), rabbit.names.queue(node, unique()));
        let closed = Arc::new(Notify::new());
        let taking = Taking {
            inbox,
            closed: Arc::clone(&closed),
        };
        let keys = [To::All, To::Node(node.clone())].map(|to| key(&to));
        listen(&wire.channel, &exchange, &queue, keys, taking)
            .await
            .map_err(|error| explain(rabbit, &error))?;
        Ok(Self {
            wire,
            queue,
            closed,
        })
    }
}

/// Nobody else's: while a connection that was lost still has the name of a queue, it is taken.
fn unique() -> u128 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.as_micros() << 64 | u128::from(RandomState::new().hash_one(now))
}

async fn listen(
    channel: &Channel,
    exchange: &str,
    queue: &str,
    keys: [String; 2],
    taking: Taking,
) -> Result<()> {
    declare(channel, exchange, false).await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut bounds = FieldTable::default();
    bounds.insert("x-max-length".into(), AMQPValue::LongInt(WAITING_MAX));
    let bytes = AMQPValue::LongInt(WAITING_BYTES_MAX);
    bounds.insert("x-max-length-bytes".into(), bytes);
    let drop = AMQPValue::LongString("drop-head".into());
    bounds.insert("x-overflow".into(), drop);
    channel.queue_declare(queue.into(), options, bounds).await?;
    // Before it is bound, so that nothing comes without somebody who takes it.
    let options = BasicConsumeOptions {
        no_ack: true,
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let tag = "imkit".into();
    let consumer = channel.basic_consume(queue.into(), tag, options, FieldTable::default());
    consumer.await?.set_delegate(taking);
    for key in keys {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, none)
            .await?;
    }
    Ok(())
}

/// Takes what comes at once, so that it waits nowhere but in the bounded inbox.
struct Taking {
    inbox: Inbox,
    closed: Arc<Notify>,
}

impl ConsumerDelegate for Taking {
    /// Called in the order of arrival; what it gives back is run in any.
    fn on_new_delivery(
        &self,
        delivery: DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match delivery {
            Ok(Some(delivery)) => self.inbox.take(&delivery.data.into()),
            // Its queue is gone, or the connection.
            Ok(None) | Err(_) => self.closed.notify_one(),
        }
        let done: Ready<()> = ready(());
        Box::pin(done)
    }
}

#[async_trait]
impl Link for Ear {
    async fn closed(&self) {
        self.closed.notified().await;
    }

    async fn is_alive(&self) -> bool {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let (queue, none) = (self.queue.as_str().into(), FieldTable::default());
        self.wire
            .channel
            .queue_declare(queue, options, none)
            .await
            .is_ok()
    }
}
