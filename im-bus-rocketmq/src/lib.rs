//! The [`Bus`](im_core::port::Bus) of a cluster on RocketMQ.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_bus_rocketmq::ConnectError> {
//! use im_bus_rocketmq::{Options, RocketBus};
//!
//! let url = "rocketmq://key:secret@10.0.0.1:9876,10.0.0.2:9876";
//! let bus = RocketBus::connect(url, Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The URL names the name servers. One topic, `PREFIX_bus`, however many nodes there are, so that
//! none leaves anything behind: what is sent to all is in its first queue, what is sent to a node
//! in another one, by a hash of its id. A node reads both from their end and keeps no offset, with
//! the group `PREFIX_bus`. Each queue keeps the order of a publisher, the two together do not.
//!
//! The topic is made when it is missing, with 8 queues on the first broker by name. One that is
//! made beforehand may have any number of queues, which must not change while nodes run; of those
//! on several brokers, only the first broker's are used, and the next one's when the name server
//! has forgotten it. Where groups are not made on use, the group has to be made, too.
//!
//! It speaks RocketMQ's own protocol (remoting, in JSON), version 4 or 5, without TLS. A user and a
//! password in the URL are the access key and its secret. The nodes reach the broker at the address
//! that it registered.

mod login;
mod message;
mod session;
mod topic;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use im_core::model::NodeId;
use im_link::bus::{Broker, BrokerBus, Inbox, Options as BusOptions, Sender};
use im_link::{Address, At, Form, Link, escaped};
use parking_lot::Mutex;

pub use im_link::ConnectError;
pub use im_link::bus::Options;

use self::login::Login;
use self::session::{Ear, Mouth};
use self::topic::Topic;

/// The [`Bus`](im_core::port::Bus) on RocketMQ.
pub type RocketBus = BrokerBus<Rocket>;

const FORM: Form = Form {
    plain: "rocketmq",
    secure: None,
    schemes: "rocketmq://",
    whole: "rocketmq://[key:secret@]host[:port][,host[:port]…]",
    ports: [9876, 9876],
    has_many: true,
    has_path: false,
};
/// The longest name of a topic.
const NAME_BYTES_MAX: usize = 127;

/// A RocketMQ, and the name of a cluster's topic on it.
#[derive(Debug)]
pub struct Rocket {
    at: At,
    servers: Vec<String>,
    login: Option<Login>,
    topic: String,
    /// Where the topic was, for when the name server does not know.
    last: Mutex<Option<Topic>>,
}

#[async_trait]
impl Broker for Rocket {
    const ORDERED: bool = false;
    const CONFIRMS: bool = true;
    /// The first one makes the topic.
    const OPEN_WAIT: Duration = Duration::from_secs(3);

    fn parse(url: &str, options: BusOptions) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &FORM)?;
        options.check(address.is_secure)?;
        let topic = format!("{}_bus", escaped(&options.prefix));
        if topic.len() > NAME_BYTES_MAX {
            return Err(ConnectError::Option(
                "the prefix is too long for RocketMQ, where a dot counts three",
            ));
        }
        Ok(Self {
            at: At {
                what: "RocketMQ",
                addr: address.addr(),
            },
            login: Login::new(address.user, address.password),
            servers: address.servers,
            topic,
            last: Mutex::new(None),
        })
    }

    fn at(&self) -> &At {
        &self.at
    }

    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError> {
        Ok(Box::new(Mouth::open(self).await?))
    }

    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError> {
        Ok(Box::new(Ear::open(self, node, inbox).await?))
    }
}
