//! The [`Bus`](im_core::port::Bus) of a cluster on Redis pub/sub.
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
//! A node has a channel of its own and one that it shares with all, `PREFIX:node:ID` and
//! `PREFIX:all`; a message is whole, in the order of its publisher, and gone if nobody listens.
//! What gets lost on the way is told to the nodes ([`im_link::bus`]).
//!
//! Redis 6 or newer. With `rediss://`, the program has installed rustls' provider, or `connect`
//! says so. Pub/sub is no part of a database: two clusters on one server need two prefixes.

mod session;

use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::NodeId;
use im_core::port::To;
use im_link::bus::{Broker, BrokerBus, Inbox, Sender};
use im_link::redis::Server;
use im_link::{At, Link};

pub use im_link::ConnectError;
pub use im_link::bus::Options;

use self::session::{Ear, Mouth};

/// The [`Bus`](im_core::port::Bus) on Redis.
pub type RedisBus = BrokerBus<Redis>;

/// A Redis, and the names of a cluster's channels on it. They are compared byte by byte.
#[derive(Debug)]
pub struct Redis {
    server: Arc<Server>,
    prefix: String,
}

impl Redis {
    fn channel(&self, to: &To) -> String {
        channel(&self.prefix, to)
    }
}

fn channel(prefix: &str, to: &To) -> String {
    match to {
        To::All => format!("{prefix}:all"),
        To::Node(node) => format!("{prefix}:node:{node}"),
    }
}

#[async_trait]
impl Broker for Redis {
    const ORDERED: bool = true;
    const CONFIRMS: bool = true;

    fn parse(url: &str, options: Options) -> Result<Self, ConnectError> {
        let server = Server::parse(url, options.ca_pem.as_deref())?;
        options.check(url.starts_with("rediss://"))?;
        Ok(Self {
            server: Arc::new(server),
            prefix: options.prefix,
        })
    }

    fn at(&self) -> &At {
        self.server.at()
    }

    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError> {
        let mouth = Mouth::open(Arc::clone(&self.server), self.prefix.clone()).await?;
        Ok(Box::new(mouth))
    }

    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError> {
        let channels = [To::All, To::Node(node.clone())].map(|to| self.channel(&to));
        Ok(Box::new(Ear::open(&self.server, &channels, inbox).await?))
    }
}
