//! The connection that sends, and the ones that listen.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::port::{PortError, PortErrorKind, To};
use im_link::bus::{Inbox, Sender, Unsent};
use im_link::redis::Server;
use im_link::{ConnectError, Link};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;

use crate::channel;

/// Sends.
pub(crate) struct Mouth {
    server: Arc<Server>,
    prefix: String,
    connection: MultiplexedConnection,
}

impl Mouth {
    pub(crate) async fn open(server: Arc<Server>, prefix: String) -> Result<Self, ConnectError> {
        let connection = server.open(AsyncConnectionConfig::new()).await?;
        Ok(Self {
            server,
            prefix,
            connection,
        })
    }

    fn judge(&self, error: &RedisError) -> Unsent {
        if error.is_io_error() || error.is_unrecoverable_error() {
            return Unsent::Lost;
        }
        let kind = match error.code() {
            Some("NOPERM") => PortErrorKind::Internal,
            _ => PortErrorKind::Unavailable,
        };
        // Explained, since a server's own words may quote what was sent.
        Unsent::Refused(PortError::with_source(kind, self.server.explain(error)))
    }
}

#[async_trait]
impl Link for Mouth {
    /// It hears of its end by the next answer that is missing.
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        Server::is_alive(&self.connection).await
    }
}

#[async_trait]
impl Sender for Mouth {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        let mut connection = self.connection.clone();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel(&self.prefix, to)).arg(&*frame);
        let published = publish.query_async::<()>(&mut connection).await;
        published.map_err(|error| self.judge(&error))
    }
}

/// Listens.
pub(crate) struct Ear {
    connection: MultiplexedConnection,
    closed: Arc<Notify>,
}

impl Ear {
    pub(crate) async fn open(
        server: &Server,
        channels: &[String; 2],
        inbox: Inbox,
    ) -> Result<Self, ConnectError> {
        let closed = Arc::new(Notify::new());
        let over = Arc::clone(&closed);
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Message => take(&inbox, push.data),
                PushKind::Disconnection => over.notify_one(),
                _ => {}
            }
            Ok::<_, redis::aio::SendError>(())
        });
        let mut connection = server.open(config).await?;
        let subscribed = connection.subscribe(channels.as_slice()).await;
        subscribed.map_err(|error| server.explain(&error))?;
        Ok(Self { connection, closed })
    }
}

/// Called by the connection's own task, so that nothing waits anywhere but in the bounded inbox.
fn take(inbox: &Inbox, data: Vec<Value>) {
    match data.into_iter().nth(1) {
        Some(Value::BulkString(frame)) => inbox.take(&frame.into()),
        _ => inbox.take_garbage(),
    }
}

#[async_trait]
impl Link for Ear {
    async fn closed(&self) {
        self.closed.notified().await;
    }

    async fn is_alive(&self) -> bool {
        Server::is_alive(&self.connection).await
    }
}
