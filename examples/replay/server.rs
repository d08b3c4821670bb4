//! A server of the replay's own: a node, its transport on a real socket, its store in a real file.

use std::sync::Arc;

use imkit::node::auth::JwtAuthenticator;
use imkit::node::{Node, Settings};
use imkit::sql::SqliteStore;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Result;

/// Nobody here sends faster than the server takes it, so nobody is to be slowed down.
const SENDS_PER_S: u32 = 1_000_000;

/// A server in this process; its file goes with it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    store: SqliteStore,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    // Dropped last.
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) async fn start(secret: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("imkit-replay-").tempdir()?;
        let file = dir.path().join("replay.db");
        let store = SqliteStore::connect(&format!("sqlite://{}", file.display())).await?;
        let auth = Arc::new(JwtAuthenticator::hs256(secret)?);
        let mut settings = Settings::default();
        settings.limits.sends_per_s = SENDS_PER_S;
        let node = Node::builder(Arc::new(store.clone()), auth).settings(settings);
        let node = node.start().await?;
        let router = imkit::ws::Transport::new(node.clone()).router();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(imkit::ws::serve(listener, router, async move {
            // A dropped sender says the same.
            let _ = stopped.await;
            node.shutdown().await;
        }));
        Ok(Self {
            url,
            store,
            stop,
            serving,
            _dir: dir,
        })
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it did not end well.
    pub(crate) async fn stop(self) -> Result<()> {
        // It may have stopped by itself.
        let _ = self.stop.send(());
        self.serving.await??;
        Ok(self.store.close().await?)
    }
}
