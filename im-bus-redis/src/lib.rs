//! The [`Bus`] of a cluster on Redis pub/sub.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_bus_redis::ConnectError> {
//! use im_bus_redis::{Options, RedisBus};
//!
//! let bus = RedisBus::connect("redis://user:password@127.0.0.1:6379", Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A node has a channel of its own and one that it shares with all; a message is whole, in the
//! order of its publisher, and gone if nobody listens. What gets lost on the way (a broker that
//! restarts, stalls or has no room) is told to the nodes as [`Incoming::Reconnected`], so that they
//! ask the store: to those whose own connection was lost, and by a word on the bus to those who
//! only missed what another could not send.
//!
//! Redis 6 or newer. With `rediss://`, the program has installed rustls' provider, or `connect`
//! says so. Pub/sub is no part of a database: two clusters on one server need two prefixes.
//!
//! [`Incoming::Reconnected`]: im_core::port::Incoming::Reconnected

mod connect;
mod frame;
mod publisher;
mod queue;
mod subscriber;
mod task;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, PortError, PortErrorKind, Subscription, To};

pub use self::connect::ConnectError;
use self::connect::Server;
use self::publisher::Publisher;

/// The largest message. Any Redis takes more; a hint of that size would hold all others up.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The longest prefix.
const PREFIX_CHARS_MAX: usize = 64;

/// How a bus is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the names of all channels begin with, the same on all nodes of a cluster and on no
    /// other: 1–64 characters of `A-Z a-z 0-9 _ - .`
    pub prefix: String,
    /// For `rediss://`: the certificates of the authorities that are trusted, as PEM text. Without,
    /// those that the web trusts.
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

/// The [`Bus`] on Redis. One connection sends; each subscription has one of its own.
#[derive(Debug)]
pub struct RedisBus {
    server: Arc<Server>,
    channels: Channels,
    publisher: Publisher,
}

impl RedisBus {
    /// Connects to `redis://[user[:password]@]host[:port]`, or `rediss://` for TLS.
    ///
    /// # Errors
    /// When the URL or the prefix can't be used, or nobody answers there within 2 s as a Redis that
    /// takes the credentials. No error shows these.
    pub async fn connect(url: &str, options: Options) -> Result<Self, ConnectError> {
        let channels = Channels::new(&options.prefix)?;
        let server = Arc::new(Server::parse(url, options.ca_pem.as_deref())?);
        let all = channels.all.clone();
        let publisher = Publisher::start(Arc::clone(&server), all).await?;
        Ok(Self {
            server,
            channels,
            publisher,
        })
    }
}

#[async_trait]
impl Bus for RedisBus {
    fn capability(&self) -> Capability {
        Capability {
            durable: false,
            ordered: true,
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
        let channel = match &to {
            To::Node(node) => &self.channels.of(node),
            To::All => &self.channels.all,
        };
        self.publisher.publish(channel, &payload).await
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        let channels = [self.channels.all.clone(), self.channels.of(node)];
        let subscribed = subscriber::subscribe(Arc::clone(&self.server), channels).await;
        match subscribed {
            Ok(subscription) => Ok(Box::new(subscription)),
            Err(error) => Err(PortError::with_source(PortErrorKind::Unavailable, error)),
        }
    }
}

/// The names of channels: `PREFIX:all` and `PREFIX:node:ID`. Redis compares them byte by byte.
#[derive(Debug)]
struct Channels {
    prefix: String,
    all: String,
}

impl Channels {
    fn new(prefix: &str) -> Result<Self, ConnectError> {
        let is_known = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        // Without a colon, no prefix with a name is another prefix with another name.
        if !(1..=PREFIX_CHARS_MAX).contains(&prefix.len()) || !prefix.chars().all(is_known) {
            return Err(ConnectError::Prefix);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            all: format!("{prefix}:all"),
        })
    }

    fn of(&self, node: &NodeId) -> String {
        format!("{}:node:{node}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_could_meet_another_is_refused() {
        for prefix in ["", "a:b", "a b", "ä", "{a}", &"x".repeat(65)] {
            let refused = Channels::new(prefix).map(|_| ());
            assert_eq!(refused, Err(ConnectError::Prefix), "{prefix:?}");
        }
        let channels = Channels::new("im-1.a_B").expect("a prefix");
        assert_eq!(channels.all, "im-1.a_B:all");
        assert_eq!(
            channels.of(&NodeId::new("all").expect("a node")),
            "im-1.a_B:node:all"
        );
    }
}
