//! How a client is set up.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use im_core::frame::Codec;
use im_core::machine::{Backoff, InboxConfig, OutboxConfig};
use im_core::model::DeviceId;
use tokio::sync::{mpsc, oneshot};

use crate::addresses::Addresses;
use crate::client::{Client, QUEUE_MAX};
use crate::driver::{Driver, Ends};
use crate::error::{Cause, ConnectError, StateError};
use crate::event::{EVENTS_MAX, Events, Shared};
use crate::state::{Restored, StateFile};
use crate::token::Token;

/// What a driver keeps to.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) addresses: Addresses,
    pub(crate) token: Token,
    pub(crate) device: DeviceId,
    pub(crate) codec: Codec,
    pub(crate) name: String,
    pub(crate) reconnect: Backoff,
    pub(crate) outbox: OutboxConfig,
    pub(crate) inbox: InboxConfig,
}

/// Sets up a [`Client`]; see [`Client::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    config: Config,
    device: Option<DeviceId>,
    state_file: Option<PathBuf>,
}

impl ClientBuilder {
    pub(crate) fn new(url: &str) -> Self {
        let reconnect = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let config = Config {
            addresses: Addresses::new(url),
            token: Token::Fixed(String::new()),
            device: random_device(),
            codec: Codec::Json,
            name: concat!("im-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            reconnect,
            outbox: OutboxConfig::default(),
            inbox: InboxConfig::default(),
        };
        Self {
            config,
            device: None,
            state_file: None,
        }
    }

    /// Another node of the same cluster. A connection goes to the next of all that were named,
    /// beginning with a random one; one that can't be made there is tried at the others before the
    /// client waits.
    pub fn or_at(mut self, url: impl AsRef<str>) -> Self {
        self.config.addresses.add(url.as_ref());
        self
    }

    /// A fixed token. When the server refuses it, the client stops.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.token = Token::Fixed(token.into());
        self
    }

    /// Where tokens come from: asked before each connection, and shortly before a token ends, so
    /// that a connection goes on with the next one.
    pub fn token_provider<F, G, E>(mut self, provider: F) -> Self
    where
        F: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.config.token = Token::provider(provider);
        self
    }

    /// Which device this is: to be kept over restarts, and no other's of the same user (of two
    /// connections of one device the older one is closed). Default: a random one, which is right
    /// only without a state file.
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// How frames are written. Default: JSON.
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// The program's name and version, for the server's logs.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Keeps what must survive a crash in this file: pending sends (synced to the disk before they
    /// leave), cursors and the `sync` token. Of one user; a second client on it is refused.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// The waits before reconnecting when the server names none. Default 0.5 s to 30 s.
    pub const fn reconnect(mut self, backoff: Backoff) -> Self {
        self.config.reconnect = backoff;
        self
    }

    /// Bounds and times of the outbox.
    pub const fn outbox(mut self, config: OutboxConfig) -> Self {
        self.config.outbox = config;
        self
    }

    /// Bounds and times of the inbox, and where it begins with a new conversation.
    pub const fn inbox(mut self, config: InboxConfig) -> Self {
        self.config.inbox = config;
        self
    }

    /// Starts the client and waits for its first connection.
    ///
    /// # Errors
    /// When the first connection fails at every address (the client is stopped then), or as
    /// [`start`](Self::start).
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let (sender, first) = oneshot::channel();
        let started = self.launch(Some(sender)).await?;
        match first.await {
            Ok(Ok(())) => Ok(started),
            Ok(Err(error)) => Err(error),
            // The driver ends without a word only with its runtime.
            Err(_) => Err(ConnectError::TimedOut),
        }
    }

    /// Starts the client, which connects by itself as soon as it can: for programs that work
    /// offline.
    ///
    /// # Errors
    /// When a URL is none, or the state file can't be used.
    pub async fn start(self) -> Result<(Client, Events), ConnectError> {
        self.launch(None).await
    }

    async fn launch(
        mut self,
        first: Option<oneshot::Sender<Result<(), ConnectError>>>,
    ) -> Result<(Client, Events), ConnectError> {
        self.config.addresses.check()?;
        if let Some(device) = self.device {
            self.config.device = device;
        }
        let (state, restored) = match self.state_file {
            None => (None, Restored::default()),
            Some(path) => open(path).await.map(|(state, held)| (Some(state), held))?,
        };
        let (sends, sends_end) = mpsc::channel(QUEUE_MAX);
        let (commands, commands_end) = mpsc::channel(QUEUE_MAX);
        let (events_end, from) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::default());
        let ends = Ends {
            sends: sends_end,
            commands: commands_end,
            events: events_end,
            shared: Arc::clone(&shared),
            first,
        };
        tokio::spawn(Driver::new(self.config, state, restored, ends).run());
        let events = Events {
            from,
            shared,
            last: 0,
            ended: false,
        };
        Ok((Client { sends, commands }, events))
    }
}

async fn open(path: PathBuf) -> Result<(StateFile, Restored), StateError> {
    let name = path.clone();
    let opened = tokio::task::spawn_blocking(move || StateFile::open(&path)).await;
    opened.unwrap_or_else(|error| {
        Err(StateError::Io {
            path: name,
            source: std::io::Error::other(Cause::from(error)),
        })
    })
}

fn random_device() -> DeviceId {
    match DeviceId::new(uuid::Uuid::new_v4().to_string()) {
        Ok(device) => device,
        Err(_) => unreachable!("36 characters are a device id"),
    }
}
