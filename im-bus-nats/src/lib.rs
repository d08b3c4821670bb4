//! The [`Bus`](im_core::port::Bus) of a cluster on NATS.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_bus_nats::ConnectError> {
//! use im_bus_nats::{NatsBus, Options};
//!
//! let bus = NatsBus::connect("nats://user:password@127.0.0.1", Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Core NATS, no JetStream: a node has a subject of its own and one that it shares with all,
//! `PREFIX.node.ID` and `PREFIX.all`, with what NATS does not take in a name (and dots) as `%2E`. A
//! message is gone if nobody listens, and nobody confirms it: what was sent just before a
//! connection was lost counts as lost, and the nodes are told ([`im_link::bus`]). Each subject
//! keeps the order of a publisher, the two together do not.
//!
//! NATS 2.2 or newer, with a `max_payload` of 1 MiB (its default) or more. Who may be restricted to
//! `PREFIX.>` needs nothing else.

mod session;

use std::time::Duration;

use async_nats::ConnectOptions;
use async_trait::async_trait;
use im_core::model::NodeId;
use im_core::port::To;
use im_link::bus::{Broker, BrokerBus, Inbox, Sender};
use im_link::{Address, At, Form, Link, escaped};

pub use im_link::ConnectError;
pub use im_link::bus::Options;

use self::session::{Ear, Mouth};

/// The [`Bus`](im_core::port::Bus) on NATS.
pub type NatsBus = BrokerBus<Nats>;

const FORM: Form = Form {
    plain: "nats",
    secure: Some("tls"),
    schemes: "nats:// or tls://",
    whole: "nats://[user:password@]host[:port][,host[:port]…]",
    ports: [4222, 4222],
    has_many: true,
    has_path: false,
};
/// The most messages that the client holds until they are written. They may be large.
const UNWRITTEN_MAX: usize = 64;
/// The most messages of a subject that the client holds until we take them, which is at once.
const UNTAKEN_MAX: usize = 4096;
/// How often the client asks by itself, so that it ends though nobody holds it any more.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A NATS, and the names of a cluster's subjects on it.
#[derive(Debug)]
pub struct Nats {
    address: Address,
    at: At,
    prefix: String,
    tls: rustls::ClientConfig,
}

impl Nats {
    fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new()
            .name("imkit")
            .require_tls(self.address.is_secure)
            .tls_client_config(self.tls.clone())
            .ignore_discovered_servers()
            // Once for each: connecting again is ours.
            .max_reconnects(self.address.servers.len())
            .client_capacity(UNWRITTEN_MAX)
            .subscription_capacity(UNTAKEN_MAX)
            .ping_interval(PING_EVERY)
            .custom_inbox_prefix(format!("{}.inbox", self.prefix));
        match (&self.address.user, &self.address.password) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.clone(), password.clone())
            }
            (Some(token), None) => options.token(token.clone()),
            (None, _) => options,
        }
    }

    fn servers(&self) -> Vec<String> {
        let scheme = if self.address.is_secure {
            "tls"
        } else {
            "nats"
        };
        let servers = self.address.servers.iter();
        servers.map(|it| format!("{scheme}://{it}")).collect()
    }
}

fn subject(prefix: &str, to: &To) -> String {
    match to {
        To::All => format!("{prefix}.all"),
        To::Node(node) => format!("{prefix}.node.{}", escaped(node.as_str())),
    }
}

#[async_trait]
impl Broker for Nats {
    const ORDERED: bool = false;
    const CONFIRMS: bool = false;

    fn parse(url: &str, options: Options) -> Result<Self, ConnectError> {
        let address = Address::parse(url, &FORM)?;
        options.check(address.is_secure)?;
        Ok(Self {
            at: At {
                what: "NATS",
                addr: address.addr(),
            },
            address,
            // With a dot in it, one prefix's node could be the other's all.
            prefix: escaped(&options.prefix),
            tls: im_link::client_config(options.ca_pem.as_deref())?,
        })
    }

    fn at(&self) -> &At {
        &self.at
    }

    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError> {
        Ok(Box::new(Mouth::open(self).await?))
    }

    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError> {
        let subjects = [To::All, To::Node(node.clone())].map(|to| subject(&self.prefix, &to));
        Ok(Box::new(Ear::open(self, subjects, inbox).await?))
    }
}
