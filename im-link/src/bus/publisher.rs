//! The session that sends: one, kept, with bounds on what is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::port::{PortError, PortErrorKind, To};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Broker, Sender, Unsent, frame};
use crate::connect::{ANSWER_WAIT, At, ConnectError};
use crate::kept::{Keep, Kept, Link};

/// The most messages that wait for the broker's answer.
const UNANSWERED_MAX: usize = 4096;
/// The most bytes that wait for it.
const UNANSWERED_BYTES_MAX: usize = 16 << 20;

/// Sends, over a session that a task of its own keeps.
#[derive(Debug)]
pub(crate) struct Publisher<B: Broker> {
    kept: Kept<Sending<B>>,
    count: Semaphore,
    bytes: Semaphore,
}

#[derive(Debug)]
struct Sending<B: Broker> {
    broker: Arc<B>,
    /// Something was not sent, and the others have not been told.
    owes: AtomicBool,
}

impl<B: Broker> Publisher<B> {
    pub(crate) async fn start(broker: Arc<B>) -> Result<Self, ConnectError> {
        let sending = Sending {
            broker,
            owes: AtomicBool::new(false),
        };
        Ok(Self {
            kept: Kept::start(sending).await?,
            count: Semaphore::new(UNANSWERED_MAX),
            bytes: Semaphore::new(UNANSWERED_BYTES_MAX),
        })
    }

    pub(crate) async fn publish(&self, to: &To, payload: &[u8]) -> Result<(), PortError> {
        let published = self.try_publish(to, payload).await;
        if published.is_err() {
            self.kept.keep().owes.store(true, Ordering::Release);
        }
        published
    }

    async fn try_publish(&self, to: &To, payload: &[u8]) -> Result<(), PortError> {
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let permits = (self.count.try_acquire(), self.bytes.try_acquire_many(bytes));
        let (Ok(_one), Ok(_bytes)) = permits else {
            return Err(unsent("full"));
        };
        let held = self.kept.link().ok_or_else(|| unsent("away"))?;
        let sent = held.link().send(to, frame::message(payload));
        let lost = match timeout(ANSWER_WAIT, sent).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Unsent::Refused(error))) => {
                count_unsent("refused");
                return Err(error);
            }
            Ok(Err(Unsent::Lost)) => "away",
            Err(_) => "silent",
        };
        self.kept.give_up(&held);
        Err(unsent(lost))
    }
}

impl<B: Broker> Sending<B> {
    /// Tells all that something was not sent, so that they look.
    async fn tell_missed(&self, link: &dyn Sender) {
        if !self.owes.swap(false, Ordering::AcqRel) {
            return;
        }
        let told = timeout(ANSWER_WAIT, link.send(&To::All, frame::missed())).await;
        if !matches!(told, Ok(Ok(()))) {
            self.owes.store(true, Ordering::Release);
        }
    }
}

#[async_trait]
impl<B: Broker> Keep for Sending<B> {
    type Link = Box<dyn Sender>;

    fn loss(&self) -> &'static str {
        "the bus can't send"
    }

    fn at(&self) -> &At {
        self.broker.at()
    }

    fn open_wait(&self) -> Duration {
        B::OPEN_WAIT
    }

    async fn open(&self) -> Result<Self::Link, ConnectError> {
        self.broker.sender().await
    }

    async fn on_new(&self, link: &Self::Link) {
        if !B::CONFIRMS {
            self.owes.store(true, Ordering::Release);
        }
        self.tell_missed(&**link).await;
    }

    async fn on_alive(&self, link: &Self::Link) {
        self.tell_missed(&**link).await;
    }
}

#[async_trait]
impl Link for Box<dyn Sender> {
    async fn closed(&self) {
        (**self).closed().await;
    }

    async fn is_alive(&self) -> bool {
        (**self).is_alive().await
    }
}

#[async_trait]
impl Sender for Box<dyn Sender> {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        (**self).send(to, frame).await
    }
}

fn unsent(reason: &'static str) -> PortError {
    count_unsent(reason);
    PortError::new(PortErrorKind::Unavailable)
}

fn count_unsent(reason: &'static str) {
    metrics::counter!("im_bus_unsent_total", "reason" => reason).increment(1);
}
