//! Three nodes on three ports, each of which can go and come back.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use imkit::core::model::{NodeId, Timestamp, UserId};
use imkit::core::port::{AuthError, Authenticator, Identity};
use imkit::node::{Node, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::Result;
use crate::place::Place;

/// How many nodes there are.
pub(crate) const COUNT: usize = 3;
/// How long a token holds: longer than any show.
const TOKEN_MS: u64 = 86_400_000;
/// How often, and after what wait, a port that is still taken is asked for again.
const BIND_TRIES: u32 = 100;
const BIND_WAIT: Duration = Duration::from_millis(20);

/// The nodes, and what they share.
#[derive(Debug)]
pub(crate) struct Nodes {
    place: Place,
    /// What tells this run's people from those of another on the same database.
    run: String,
    running: Vec<Running>,
    /// How many were started.
    started: usize,
}

/// A node that listens, on a runtime of its own: what ends with that ends as a process does.
#[derive(Debug)]
struct Running {
    node: Node,
    address: String,
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Nodes {
    /// Starts them on free ports.
    ///
    /// # Errors
    /// When one can't be started.
    pub(crate) async fn start(place: Place) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut nodes = Self {
            place,
            run: format!("{:x}", since.as_millis()),
            running: Vec::new(),
            started: 0,
        };
        for _ in 0..COUNT {
            let running = nodes.one("127.0.0.1:0").await?;
            nodes.running.push(running);
        }
        Ok(nodes)
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    /// A user of this run.
    pub(crate) fn user(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        let each = self.running.iter();
        each.map(|running| format!("ws://{}", running.address))
            .collect()
    }

    /// Drains a node, and starts another in its place.
    pub(crate) async fn restart(&mut self, at: usize) -> Result<()> {
        self.running[at].node.shutdown().await;
        self.replace(at).await
    }

    /// Ends a node as a crash would, and starts another in its place.
    pub(crate) async fn crash(&mut self, at: usize) -> Result<()> {
        self.running[at].node.kill();
        self.replace(at).await
    }

    async fn replace(&mut self, at: usize) -> Result<()> {
        let address = self.running.remove(at).address.clone();
        let next = self.one(&address).await?;
        self.running.insert(at, next);
        Ok(())
    }

    pub(crate) async fn stop(self) {
        for running in &self.running {
            running.node.shutdown().await;
        }
    }

    async fn one(&mut self, address: &str) -> Result<Running> {
        self.started += 1;
        // The name of one that crashed is free only when its lease is over, so each has its own.
        let mut settings = Settings {
            node: NodeId::new(format!("node-{}-{}", self.started, self.run))?,
            ..Settings::default()
        };
        settings.limits.sends_per_s = 1_000;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        let started = serve(self.place.clone(), settings, address.to_owned());
        let started = runtime.spawn(started);
        match started.await? {
            Ok((node, address)) => Ok(Running {
                node,
                address,
                runtime: Some(runtime),
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }
}

async fn serve(place: Place, settings: Settings, address: String) -> Result<(Node, String)> {
    let listener = bind(&address).await?;
    let address = listener.local_addr()?.to_string();
    let (store, bus, registry) = place.ends().await?;
    let node = Node::builder(store, Arc::new(ByName)).settings(settings);
    let node = node.cluster(bus, registry).start().await?;
    let router = imkit::ws::Transport::new(node.clone()).router();
    // Ends with its runtime.
    let serving = imkit::ws::serve(listener, router, std::future::pending());
    drop(tokio::spawn(serving));
    Ok((node, address))
}

/// The one before may take a moment to let go of its port.
async fn bind(address: &str) -> Result<TcpListener> {
    let mut tries = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries < BIND_TRIES => {
                tries += 1;
                tokio::time::sleep(BIND_WAIT).await;
            }
            bound => return Ok(bound?),
        }
    }
}

/// For a show: a token is the user's name.
#[derive(Debug)]
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let user = UserId::new(token).map_err(|error| AuthError::Invalid(error.to_string()))?;
        Ok(Identity {
            user,
            name: None,
            roles: Vec::new(),
            expires_at: now.plus_ms(TOKEN_MS),
        })
    }
}
