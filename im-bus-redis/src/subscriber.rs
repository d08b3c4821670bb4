//! The connection that listens: one for each subscription, replaced when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use im_core::port::{Incoming, Subscription};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connect::{ANSWER_WAIT, Backoff, ConnectError, PING_EVERY, Server};
use crate::frame::{self, Heard, Poison};
use crate::queue::Queue;
use crate::task::Task;

/// Passed over so far, by all subscriptions: says which are worth a line in the log.
static POISON: AtomicU64 = AtomicU64::new(0);

/// The channel of all, and the node's own.
type Channels = [String; 2];

#[derive(Debug)]
pub(crate) struct RedisSubscription {
    queue: Arc<Queue>,
    _keeping: Task,
}

#[async_trait]
impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        Some(self.queue.next().await)
    }
}

/// Once this answers, nothing that is published gets past the subscription.
pub(crate) async fn subscribe(
    server: Arc<Server>,
    channels: Channels,
) -> Result<RedisSubscription, ConnectError> {
    let queue = Arc::new(Queue::default());
    let ear = Ear::open(&server, &channels, &queue).await?;
    let keeping = Task::spawn(keep(server, channels, Arc::clone(&queue), ear));
    Ok(RedisSubscription {
        queue,
        _keeping: keeping,
    })
}

/// A connection that is subscribed.
struct Ear {
    connection: MultiplexedConnection,
    /// It was closed.
    closed: Arc<Notify>,
}

impl Ear {
    async fn open(
        server: &Server,
        channels: &Channels,
        queue: &Arc<Queue>,
    ) -> Result<Self, ConnectError> {
        let closed = Arc::new(Notify::new());
        let (into, over) = (Arc::clone(queue), Arc::clone(&closed));
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Message => take(&into, push.data),
                PushKind::Disconnection => over.notify_one(),
                _ => {}
            }
            Ok::<_, redis::aio::SendError>(())
        });
        let mut connection = server.open(config).await?;
        let subscribed = connection.subscribe(channels.as_slice());
        match timeout(ANSWER_WAIT, subscribed).await {
            Ok(Ok(())) => Ok(Self { connection, closed }),
            Ok(Err(error)) => Err(server.explain(&error)),
            Err(_) => Err(ConnectError::Unreachable {
                addr: server.addr().to_owned(),
                reason: "it does not answer to a subscription".to_owned(),
            }),
        }
    }

    async fn is_alive(&self) -> bool {
        let mut connection = self.connection.clone();
        let ping = redis::cmd("PING");
        let asked = ping.query_async::<()>(&mut connection);
        matches!(timeout(ANSWER_WAIT, asked).await, Ok(Ok(())))
    }
}

/// Called by the connection's own task, so that nothing waits anywhere but in the bounded queue.
fn take(queue: &Queue, data: Vec<Value>) {
    let Some(Value::BulkString(frame)) = data.into_iter().nth(1) else {
        return pass_over(Poison::Garbage);
    };
    match frame::read(frame) {
        Ok(Heard::Message(payload)) => queue.push(payload),
        Ok(Heard::Missed) => queue.mark_lossy(),
        Err(why) => pass_over(why),
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

/// Replaces the connection when it is lost, as long as the task lives.
async fn keep(server: Arc<Server>, channels: Channels, queue: Arc<Queue>, mut ear: Ear) {
    loop {
        let is_closed = timeout(PING_EVERY, ear.closed.notified()).await.is_ok();
        // Who is heard need not be asked, and on a full line the answer would be late.
        if !is_closed && (queue.take_heard() || ear.is_alive().await || queue.take_heard()) {
            continue;
        }
        tracing::warn!(addr = server.addr(), "the bus can't hear; connecting again");
        drop(ear);
        ear = reopen(&server, &channels, &queue).await;
        metrics::counter!("im_bus_reconnects_total").increment(1);
        tracing::info!(addr = server.addr(), "the bus hears again");
        queue.mark_lossy();
    }
}

async fn reopen(server: &Server, channels: &Channels, queue: &Arc<Queue>) -> Ear {
    let mut backoff = Backoff::new();
    loop {
        match Ear::open(server, channels, queue).await {
            Ok(ear) => return ear,
            Err(error) => backoff.wait(&error).await,
        }
    }
}
