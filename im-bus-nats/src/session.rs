//! The connection that sends, and the ones that listen. Each is given up when it is lost: the
//! client's own reconnecting would not say what was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::client::{PublishErrorKind, RequestErrorKind};
use async_nats::{Client, ConnectErrorKind, Event, ServerError, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use im_core::port::{PortError, PortErrorKind, To};
use im_link::bus::{Inbox, Sender, Unsent};
use im_link::{At, ConnectError, Link, Task};
use tokio::sync::Notify;

use crate::{Nats, subject};

/// A connection, and what is heard of it.
struct Session {
    client: Client,
    prefix: String,
    events: Arc<Events>,
}

#[derive(Default)]
struct Events {
    over: Notify,
    /// The server said no to something.
    is_refused: AtomicBool,
}

impl Session {
    async fn open(nats: &Nats, inbox: Option<Inbox>) -> Result<Self, ConnectError> {
        let events = Arc::new(Events::default());
        let heard = Arc::clone(&events);
        let options = nats.options().event_callback(move |event| {
            heard.take(&event, inbox.as_ref());
            std::future::ready(())
        });
        let connected = options.connect(nats.servers()).await;
        Ok(Self {
            client: connected.map_err(|error| explain(&nats.at, &error))?,
            prefix: nats.prefix.clone(),
            events,
        })
    }

    /// A question that nobody answers but the server, who says so.
    async fn is_alive(&self) -> bool {
        let nobody = format!("{}.nobody", self.prefix);
        match self.client.request(nobody, Bytes::new()).await {
            Ok(_) => true,
            Err(error) => error.kind() == RequestErrorKind::NoResponders,
        }
    }
}

impl Events {
    fn take(&self, event: &Event, inbox: Option<&Inbox>) {
        match event {
            Event::Disconnected | Event::Closed => self.over.notify_one(),
            Event::SlowConsumer(_) => {
                if let Some(inbox) = inbox {
                    inbox.missed();
                }
            }
            Event::ServerError(ServerError::Other(words)) => {
                tracing::warn!(words, "NATS says no");
                self.is_refused.store(true, Ordering::Release);
            }
            _ => {}
        }
    }
}

fn explain(at: &At, error: &async_nats::ConnectError) -> ConnectError {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ConnectError::Credentials { at: at.clone() }
        }
        kind => {
            let cause = std::error::Error::source(error);
            let cause = cause.map(|it| format!(": {it}")).unwrap_or_default();
            ConnectError::unreachable(at, format!("{kind}{cause}"))
        }
    }
}

/// Sends.
pub(crate) struct Mouth(Session);

impl Mouth {
    pub(crate) async fn open(nats: &Nats) -> Result<Self, ConnectError> {
        Ok(Self(Session::open(nats, None).await?))
    }
}

#[async_trait]
impl Link for Mouth {
    async fn closed(&self) {
        self.0.events.over.notified().await;
    }

    async fn is_alive(&self) -> bool {
        self.0.is_alive().await
    }
}

#[async_trait]
impl Sender for Mouth {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        let subject = subject(&self.0.prefix, to);
        match self.0.client.publish(subject, frame).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(Unsent::Refused(PortError::new(PortErrorKind::TooLarge)))
            }
            Err(_) => Err(Unsent::Lost),
        }
    }
}

/// Listens.
pub(crate) struct Ear {
    session: Session,
    _taking: Task,
}

impl Ear {
    pub(crate) async fn open(
        nats: &Nats,
        subjects: [String; 2],
        inbox: Inbox,
    ) -> Result<Self, ConnectError> {
        let session = Session::open(nats, Some(inbox.clone())).await?;
        let lost = || ConnectError::unreachable(&nats.at, "it closed the connection");
        let [all, own] = subjects;
        let all = session.client.subscribe(all).await.map_err(|_| lost())?;
        let own = session.client.subscribe(own).await.map_err(|_| lost())?;
        // It reads in order: what it answers, it answers after it has subscribed us.
        if !session.is_alive().await {
            return Err(lost());
        }
        if session.events.is_refused.load(Ordering::Acquire) {
            return Err(ConnectError::Credentials {
                at: nats.at.clone(),
            });
        }
        Ok(Self {
            session,
            _taking: Task::spawn(take(all, own, inbox)),
        })
    }
}

/// Takes what comes at once, so that it waits nowhere but in the bounded inbox.
async fn take(mut all: Subscriber, mut own: Subscriber, inbox: Inbox) {
    loop {
        let next = tokio::select! {
            next = all.next() => next,
            next = own.next() => next,
        };
        let Some(message) = next else { return };
        inbox.take(&message.payload);
    }
}

#[async_trait]
impl Link for Ear {
    async fn closed(&self) {
        self.session.events.over.notified().await;
    }

    async fn is_alive(&self) -> bool {
        self.session.is_alive().await
    }
}
