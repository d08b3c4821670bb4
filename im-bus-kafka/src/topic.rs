//! The topic of a cluster, and connections to its partitions.

use std::sync::Arc;
use std::time::Duration;

use im_core::port::To;
use im_link::bus::lane_of;
use im_link::{At, ConnectError};
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, SaslConfig};

use crate::Kafka;

/// The partitions of a topic that we make: one for all, seven for nodes.
const PARTITIONS: i32 = 8;
/// As many copies as the broker makes by default.
const REPLICAS: i16 = -1;
/// How long the broker may take to make the topic.
const MAKE_WAIT_MS: i32 = 2000;
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How often and how long the client tries by itself; it must end before we give it up.
const RETRY: BackoffConfig = BackoffConfig {
    init_backoff: Duration::from_millis(50),
    max_backoff: Duration::from_millis(400),
    base: 2.0,
    deadline: Some(Duration::from_millis(1500)),
};

/// Once: a login that is wrong is not right the next time, and the client would try until we give
/// up without a reason.
const ONCE: BackoffConfig = BackoffConfig {
    deadline: Some(Duration::ZERO),
    ..RETRY
};

/// A client, and the topic with the number of its partitions.
pub(crate) struct Topic {
    at: At,
    client: Client,
    name: String,
    partitions: i32,
}

impl Topic {
    pub(crate) async fn open(kafka: &Kafka) -> Result<Self, ConnectError> {
        let at = kafka.at.clone();
        let connect = async |retry| {
            let built = builder(kafka).backoff_config(retry).build().await;
            built.map_err(|error| explain(&at, &error))
        };
        connect(ONCE).await?;
        let client = connect(RETRY).await?;
        let name = kafka.topic.clone();
        let partitions = match count(&at, &client, &name).await? {
            Some(partitions) => partitions,
            None => make(&at, &client, &name).await?,
        };
        Ok(Self {
            at,
            client,
            name,
            partitions,
        })
    }

    pub(crate) async fn partition(&self, partition: i32) -> Result<PartitionClient, ConnectError> {
        let (name, handling) = (self.name.as_str(), UnknownTopicHandling::Retry);
        let opened = self.client.partition_client(name, partition, handling);
        opened.await.map_err(|error| self.explain(&error))
    }

    pub(crate) const fn partitions(&self) -> i32 {
        self.partitions
    }

    pub(crate) fn partition_of(&self, to: &To) -> i32 {
        let partitions = u32::try_from(self.partitions).unwrap_or_default();
        i32::try_from(lane_of(to, partitions)).unwrap_or_default()
    }

    pub(crate) fn explain(&self, error: &Error) -> ConnectError {
        explain(&self.at, error)
    }
}

fn builder(kafka: &Kafka) -> ClientBuilder {
    let builder = ClientBuilder::new(kafka.servers.clone())
        .client_id("imkit")
        .max_message_size(ANSWER_BYTES_MAX);
    let builder = match &kafka.login {
        None => builder,
        Some(login) => builder.sasl_config(SaslConfig::Plain(login.clone())),
    };
    match &kafka.tls {
        None => builder,
        Some(config) => builder.tls_config(Arc::clone(config)),
    }
}

/// The number of partitions, if there is such a topic.
async fn count(at: &At, client: &Client, name: &str) -> Result<Option<i32>, ConnectError> {
    let topics = client.list_topics().await.map_err(|it| explain(at, &it))?;
    let topic = topics.iter().find(|topic| topic.name == name);
    let count = topic.map(|topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
    Ok(count.filter(|count| *count > 0))
}

async fn make(at: &At, client: &Client, name: &str) -> Result<i32, ConnectError> {
    let controller = client.controller_client().map_err(|it| explain(at, &it))?;
    let made = controller.create_topic(name, PARTITIONS, REPLICAS, MAKE_WAIT_MS);
    match made.await {
        Ok(()) => Ok(PARTITIONS),
        // Another node was quicker.
        Err(Error::ServerError {
            protocol_error: ProtocolError::TopicAlreadyExists,
            ..
        }) => Ok(count(at, client, name).await?.unwrap_or(PARTITIONS)),
        Err(error) => Err(explain(at, &error)),
    }
}

/// What an error means. The client's words show addresses, topics and the system's own.
fn explain(at: &At, error: &Error) -> ConnectError {
    if let Error::ServerError { protocol_error, .. } = error {
        return match protocol_error {
            ProtocolError::TopicAuthorizationFailed
            | ProtocolError::ClusterAuthorizationFailed
            | ProtocolError::SaslAuthenticationFailed => {
                ConnectError::Credentials { at: at.clone() }
            }
            other => ConnectError::refused(at, format!("{other:?}")),
        };
    }
    let words = error.to_string();
    // It says so deep in what it tried, and only in words.
    if words.contains("Sasl handshake failed") {
        return ConnectError::Credentials { at: at.clone() };
    }
    ConnectError::unreachable(at, words.escape_debug())
}
