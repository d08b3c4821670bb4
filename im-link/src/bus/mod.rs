//! A whole [`Bus`] over whatever carries bytes from one node to another: a [`Broker`].
//!
//! An adapter says how a session is opened, how something is sent on it and how it listens. What
//! is the same for all is here: frames with a version, bounds on what waits, deadlines, and
//! connecting again. Who may have missed something is told [`Incoming::Reconnected`], so that it
//! asks the store: whose own connection was lost; who did not read fast enough; and, by a word on
//! the bus, those who only missed what another could not send.
//!
//! [`Incoming::Reconnected`]: im_core::port::Incoming::Reconnected

mod frame;
mod lane;
mod publisher;
mod queue;
mod subscriber;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, PortError, PortErrorKind, Subscription, To};

pub use self::lane::{ALL, lane_of};
use self::publisher::Publisher;
pub use self::subscriber::Inbox;
use crate::connect::{ANSWER_WAIT, At, ConnectError, check_prefix};
use crate::kept::Link;

/// The largest message: brokers take as much as they are delivered (NATS and Kafka 1 MiB with
/// their own heads), and a larger hint would hold all others up.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000;

/// How a bus is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What all names on the broker begin with, the same on all nodes of a cluster and on no
    /// other: 1–64 characters of `A-Z a-z 0-9 _ - .`
    pub prefix: String,
    /// For a URL with TLS: the certificates of the authorities that are trusted, as PEM text.
    /// Without, those that the web trusts.
    pub ca_pem: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "im".to_owned(),
            ca_pem: None,
        }
    }
}

impl Options {
    /// Whether they can be used with a URL that is with TLS or not.
    ///
    /// # Errors
    /// When the prefix can't be used, or authorities are given where there is no TLS.
    pub fn check(&self, is_secure: bool) -> Result<(), ConnectError> {
        check_prefix(&self.prefix)?;
        if self.ca_pem.is_some() && !is_secure {
            return Err(ConnectError::Ca);
        }
        Ok(())
    }
}

/// Why something was not sent.
#[derive(Debug)]
pub enum Unsent {
    /// The connection is over.
    Lost,
    /// This was refused; the connection is well.
    Refused(PortError),
}

/// What is sent on.
#[async_trait]
pub trait Sender: Link {
    /// Sends, and waits until the broker has it, if it says so. Called many times at once; whoever
    /// calls gives up after [`ANSWER_WAIT`].
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent>;
}

/// A broker: where it is, and how to talk to it.
#[async_trait]
pub trait Broker: Debug + Send + Sync + Sized + 'static {
    /// Messages of one publisher arrive in the order in which they were published.
    const ORDERED: bool;
    /// `send` has been answered by the broker. If not, what was sent just before a connection was
    /// lost may be lost, too.
    const CONFIRMS: bool;
    /// How long a session may take to open.
    const OPEN_WAIT: Duration = ANSWER_WAIT;

    /// What a URL and options say; nothing is connected yet.
    ///
    /// # Errors
    /// When they can't be used. No error shows the URL.
    fn parse(url: &str, options: Options) -> Result<Self, ConnectError>;

    /// Who it is.
    fn at(&self) -> &At;

    /// Opens a session that sends. Safe to drop while it waits.
    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError>;

    /// Opens a session that listens to what is sent to `node` and to all from the answer on. What
    /// it hears goes into `inbox`, which never makes it wait. Safe to drop while it waits.
    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError>;
}

/// The [`Bus`] on a broker: one session sends, each subscription has one of its own.
#[derive(Debug)]
pub struct BrokerBus<B: Broker> {
    broker: Arc<B>,
    publisher: Publisher<B>,
}

impl<B: Broker> BrokerBus<B> {
    /// Connects.
    ///
    /// # Errors
    /// When the URL or the options can't be used, or nobody answers there in time who takes the
    /// credentials. No error shows these.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let broker = Arc::new(B::parse(url, options)?);
        let publisher = Publisher::start(Arc::clone(&broker)).await?;
        Ok(Self { broker, publisher })
    }
}

#[async_trait]
impl<B: Broker> Bus for BrokerBus<B> {
    fn capability(&self) -> Capability {
        Capability {
            durable: false,
            ordered: B::ORDERED,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            alone: false,
        }
    }

    /// Waits for the broker's answer, at most 2 s. While it is away, or as many messages as may
    /// be are on their way to it, the answer is `Unavailable` at once.
    async fn publish(&self, to: To, payload: Bytes) -> Result<(), PortError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PortError::new(PortErrorKind::TooLarge));
        }
        self.publisher.publish(&to, &payload).await
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        match subscriber::subscribe(Arc::clone(&self.broker), node.clone()).await {
            Ok(subscription) => Ok(Box::new(subscription)),
            Err(error) => Err(PortError::with_source(PortErrorKind::Unavailable, error)),
        }
    }
}
