//! The [`Bus`](im_core::port::Bus) of a cluster on RabbitMQ.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_bus_rabbitmq::ConnectError> {
//! use im_bus_rabbitmq::{Options, RabbitBus};
//!
//! let bus = RabbitBus::connect("amqp://user:password@127.0.0.1", Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One direct exchange, `PREFIX.bus`, which goes with the broker's restart; and for each node
//! that listens a queue of its own, `PREFIX.node.ID.…`, exclusive, so that it goes with its
//! connection, and bounded, so that a node that does not read costs the broker little: the oldest
//! go first. What is sent is confirmed by the broker. One queue has what is sent to a node and to
//! all, in the order of the publisher.
//!
//! The user needs the rights to configure, write and read `PREFIX\.(bus|node\..*)`. The default
//! virtual host is `/`, as is an empty one. With `amqps://`, the program has installed rustls'
//! provider, or `connect` says so.

mod session;
mod wire;

use async_trait::async_trait;
use im_core::model::NodeId;
use im_core::port::To;
use im_link::bus::{Broker, BrokerBus, Inbox, Sender};
use im_link::{Address, At, Form, Link, check_ca};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};

pub use im_link::ConnectError;
pub use im_link::bus::Options;

use self::session::{Ear, Mouth};

/// The [`Bus`](im_core::port::Bus) on RabbitMQ.
pub type RabbitBus = BrokerBus<Rabbit>;

const FORM: Form = Form {
    plain: "amqp",
    secure: Some("amqps"),
    schemes: "amqp:// or amqps://",
    whole: "amqp[s]://[user:password@]host[:port][/virtual host]",
    ports: [5672, 5671],
    has_many: false,
    has_path: true,
};
/// Who logs in where the URL says nothing: RabbitMQ's own default.
const GUEST: &str = "guest";
/// After twice as many seconds without a word either side ends a connection.
const HEARTBEAT_SECONDS: u16 = 5;

/// A RabbitMQ, and the names of a cluster on it.
#[derive(Debug)]
pub struct Rabbit {
    at: At,
    names: Names,
    uri: Uri,
    tls: OwnedTLSConfig,
}

/// Where it is, and how to get in; not shown.
struct Uri(AMQPUri);

impl std::fmt::Debug for Uri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Uri(…)")
    }
}

/// The names of a cluster. RabbitMQ compares them byte by byte.
#[derive(Debug, Clone)]
struct Names {
    prefix: String,
}

impl Names {
    fn exchange(&self) -> String {
        format!("{}.bus", self.prefix)
    }

    fn queue(&self, node: &NodeId, unique: u128) -> String {
        format!("{}.node.{node}.{unique:x}", self.prefix)
    }
}

/// What a message has in it to be routed by.
fn key(to: &To) -> String {
    match to {
        To::All => "all".to_owned(),
        To::Node(node) => format!("node.{node}"),
    }
}

fn uri(address: Address) -> Option<AMQPUri> {
    let server = address.servers.into_iter().next()?;
    let (host, port) = server.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let path = address.path.filter(|path| !path.is_empty());
    Some(AMQPUri {
        scheme: if address.is_secure {
            AMQPScheme::AMQPS
        } else {
            AMQPScheme::AMQP
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: address.user.unwrap_or_else(|| GUEST.to_owned()),
                password: address.password.unwrap_or_else(|| GUEST.to_owned()),
            },
            host,
            port: port.parse().ok()?,
        },
        vhost: path.unwrap_or_else(|| "/".to_owned()),
        query: AMQPQueryString {
            heartbeat: Some(HEARTBEAT_SECONDS),
            ..AMQPQueryString::default()
        },
    })
}

#[async_trait]
impl Broker for Rabbit {
    const ORDERED: bool = true;
    const CONFIRMS: bool = true;

    fn parse(url: &str, options: Options) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &FORM)?;
        options.check(address.is_secure)?;
        if let Some(ca) = &options.ca_pem {
            check_ca(ca)?;
        }
        // The client would panic where none is installed and several could be.
        if address.is_secure && rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ConnectError::NoTlsProvider);
        }
        Ok(Self {
            at: At {
                what: "RabbitMQ",
                addr: address.addr(),
            },
            names: Names {
                prefix: options.prefix,
            },
            uri: Uri(uri(address).ok_or(ConnectError::Url { form: FORM.whole })?),
            tls: OwnedTLSConfig {
                identity: None,
                cert_chain: options.ca_pem,
            },
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
