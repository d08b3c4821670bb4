//! The [`Bus`](im_core::port::Bus) of a cluster on Kafka.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_bus_kafka::ConnectError> {
//! use im_bus_kafka::{KafkaBus, Options};
//!
//! let url = "kafka://user:password@10.0.0.1:9092,10.0.0.2:9092";
//! let bus = KafkaBus::connect(url, Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One topic, `PREFIX.bus`, however many nodes there are, so that none leaves anything behind: what
//! is sent to all is in its first partition, what is sent to a node in another one, by a hash of
//! its id, with the id as key. A node reads both from their end, without a group. Each partition
//! keeps the order of a publisher, the two together do not.
//!
//! The topic is made when it is missing, with 8 partitions and the broker's own settings; what is
//! older than some minutes is deleted now and then by who sends. A topic that is made beforehand
//! may have any number of partitions, which must not change while nodes run, and spares the user
//! the right to make it:
//!
//! ```sh
//! kafka-topics.sh --create --topic im.bus --partitions 8 \
//!     --config retention.ms=600000 --config segment.bytes=16777216
//! ```
//!
//! With a user it logs in by SASL PLAIN, with `kafkas://` over TLS. The nodes reach the brokers at
//! the addresses that these advertise.

mod ear;
mod mouth;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::NodeId;
use im_link::bus::{Broker, BrokerBus, Inbox, Sender};
use im_link::{Address, At, Form, Link};
use rskafka::client::Credentials;

pub use im_link::ConnectError;
pub use im_link::bus::Options;

use self::ear::Ear;
use self::mouth::Mouth;
use self::topic::Topic;

/// The [`Bus`](im_core::port::Bus) on Kafka.
pub type KafkaBus = BrokerBus<Kafka>;

const FORM: Form = Form {
    plain: "kafka",
    secure: Some("kafkas"),
    schemes: "kafka:// or kafkas://",
    whole: "kafka[s]://[user:password@]host[:port][,host[:port]…]",
    ports: [9092, 9092],
    has_many: true,
    has_path: false,
};

/// A Kafka, and the name of a cluster's topic on it.
pub struct Kafka {
    at: At,
    servers: Vec<String>,
    login: Option<Credentials>,
    tls: Option<Arc<rustls::ClientConfig>>,
    topic: String,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kafka").field(&self.at.addr).finish()
    }
}

#[async_trait]
impl Broker for Kafka {
    const ORDERED: bool = false;
    const CONFIRMS: bool = true;
    /// The first one makes the topic.
    const OPEN_WAIT: Duration = Duration::from_secs(3);

    fn parse(url: &str, options: Options) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &FORM)?;
        options.check(address.is_secure)?;
        let config = im_link::client_config(options.ca_pem.as_deref())?;
        Ok(Self {
            at: At {
                what: "Kafka",
                addr: address.addr(),
            },
            login: address
                .user
                .map(|user| Credentials::new(user, address.password.unwrap_or_default())),
            tls: address.is_secure.then(|| Arc::new(config)),
            servers: address.servers,
            topic: format!("{}.bus", options.prefix),
        })
    }

    fn at(&self) -> &At {
        &self.at
    }

    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError> {
        Ok(Box::new(Mouth::open(Topic::open(self).await?).await?))
    }

    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError> {
        Ok(Box::new(
            Ear::open(Topic::open(self).await?, node, inbox).await?,
        ))
    }
}
