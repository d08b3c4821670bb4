//! A person: a client, and what it hears.

use std::time::Duration;

use im_client::{Client, Event, Events};
use imkit::core::model::{Body, ConversationId, DeviceId, Seq, Target, Value};

use crate::Result;
use crate::nodes::Nodes;

/// How long anything may take to be heard.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Person {
    /// The user's id.
    pub(crate) id: String,
    pub(crate) client: Client,
    pub(crate) events: Events,
}

impl Person {
    /// Connects to the node `at`, and to no other.
    ///
    /// # Errors
    /// When it does not take the device.
    pub(crate) async fn at(nodes: &Nodes, name: &str, at: usize) -> Result<Self> {
        let addresses = nodes.addresses();
        Self::connect(nodes.user(name), &addresses[at..=at]).await
    }

    /// Connects to any of the nodes, and goes on to others as they come and go.
    ///
    /// # Errors
    /// When none takes the device.
    pub(crate) async fn anywhere(nodes: &Nodes, name: &str) -> Result<Self> {
        Self::connect(nodes.user(name), &nodes.addresses()).await
    }

    async fn connect(id: String, addresses: &[String]) -> Result<Self> {
        let (first, others) = addresses.split_first().ok_or("there is no node")?;
        let builder = Client::builder(first)
            .token(&id)
            .device(DeviceId::new("phone")?);
        let builder = others
            .iter()
            .fold(builder, |builder, url| builder.or_at(url));
        let (client, events) = builder.connect().await?;
        Ok(Self { id, client, events })
    }

    /// Says something, and waits until it is stored.
    pub(crate) async fn say(&self, to: Target, text: &str) -> Result<(ConversationId, Seq)> {
        let sent = self.client.send(to, Body::text(text)).await?;
        Ok((sent.conv, sent.seq))
    }

    /// Calls a method with a conversation and users.
    pub(crate) async fn call(
        &self,
        method: &str,
        params: &[(&'static str, Value)],
    ) -> Result<Value> {
        let params = Value::object(params.iter().cloned());
        Ok(self.client.request(method, params).await?)
    }

    /// Waits for an event that is wanted; others are passed over.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(crate) async fn hear<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> Result<T> {
        let hearing = async {
            loop {
                let event = self.events.next().await?;
                if let Some(found) = wanted(&event) {
                    return Some(found);
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        let late = || format!("{} did not hear what was to come", self.id);
        Ok(heard.map_err(|_| late())?.ok_or_else(late)?)
    }

    /// Waits for the next text in a conversation.
    pub(crate) async fn hear_text(&mut self, conv: &ConversationId) -> Result<(Seq, String)> {
        self.hear(|event| text_in(event, conv)).await
    }
}

/// The text that an event brings, if it is one in that conversation.
pub(crate) fn text_in(event: &Event, conv: &ConversationId) -> Option<(Seq, String)> {
    match event {
        Event::Entry(entry) if entry.conv == *conv => {
            Some((entry.seq, entry.body.as_text()?.clone()))
        }
        _ => None,
    }
}
