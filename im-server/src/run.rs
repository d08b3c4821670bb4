//! Serving: from the settings to a listening node, and back down.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use im_core::port::{Search, Store};
use im_node::Node;
use im_store_sql::redacted;
use im_store_tiered::Tiered;
use im_transport_ws::Transport;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::demo;
use crate::error::ServerError;
use crate::seal::Sealing;
use crate::settings::Settings;
use crate::store::{Opened, open_store};
use crate::tokens::authenticator;
use crate::{ops, page};

/// Serves until a signal says to stop.
///
/// # Errors
/// When the server can't start.
pub(crate) fn run(settings: &Settings, is_demo: bool) -> Result<(), ServerError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = settings.threads {
        runtime.worker_threads(threads);
    }
    runtime
        .enable_all()
        .build()?
        .block_on(serve(settings, is_demo))
}

async fn serve(settings: &Settings, is_demo: bool) -> Result<(), ServerError> {
    let signals = Signals::new()?;
    let auth = Arc::new(authenticator(settings)?);
    let listener = listen(&settings.listen).await?;
    let address = listener.local_addr()?.to_string();
    // The folder is gone when this ends, after the store in it.
    let folder = match &settings.store {
        None => Some(demo::Folder::new()?),
        Some(_) => None,
    };
    let own = folder.as_ref().map(demo::Folder::store);
    let url = settings
        .store
        .as_deref()
        .or(own.as_deref())
        .unwrap_or_default();
    let metrics = ops::count().map_err(|error| std::io::Error::other(error.to_string()))?;
    let gathering = tokio::spawn(ops::gather(metrics.clone()));
    let opened = open_store(url, settings).await?;
    let layers = Layers::over(&opened, settings, is_demo).await?;
    let store = Arc::clone(&layers.store);
    let mut node =
        Node::builder(Arc::clone(&store), Arc::clone(&auth) as _).settings(settings.node.clone());
    if let Some(search) = &layers.search {
        node = node.search(Arc::clone(search));
    }
    if let Opened::Sharded(sharded, shards) = &opened {
        node = node.lanes_by(shards.len(), sharded.lanes());
    }
    if let Some((bus, registry)) = settings.cluster.connect(&settings.bus_prefix).await? {
        node = node.cluster(bus, registry);
    }
    let own = folder.as_ref().map(demo::Folder::path);
    let node = settings.media.of(node, own)?.start().await?;
    let following = settings.out.start(&node)?;
    if is_demo {
        demo::fill(&node).await?;
        say(&demo::greeting(&auth, &address)?);
    } else {
        say(&format!(
            "im-server listens on http://{address}, messages in {}\n",
            shown(settings, url)
        ));
    }
    if let Some(folder) = &folder {
        tracing::debug!(path = %folder.path().display(), "the demo's folder");
    }
    let router = router(settings, &node, store, metrics);
    let stopped = async {
        signals.first().await;
        say("stopping: no new work, what is under way is finished\n");
        node.shutdown().await;
    };
    im_transport_ws::serve_at_most(listener, router, settings.connections_max, stopped).await?;
    gathering.abort();
    drop(following);
    layers.end().await;
    close(&opened).await;
    Ok(())
}

async fn close(opened: &Opened) {
    if let Err(error) = opened.close().await {
        let cause = std::error::Error::source(&error);
        tracing::warn!(%error, cause, "the store is not tidied up; the next start does it");
    }
}

/// The hot tier before the store, if there is one.
async fn tier(settings: &Settings, opened: &Opened) -> Result<Option<Arc<Tiered>>, ServerError> {
    let Some(hot) = &settings.hot else {
        return Ok(None);
    };
    let (prefix, dedupe_ms) = (&settings.bus_prefix, settings.node.limits.dedupe_ms);
    let tiered = hot.before(opened.store(), prefix, dedupe_ms).await?;
    Ok(Some(Arc::new(tiered.with_search(opened.search()))))
}

/// What stands over the database, if anything: a hot tier, and sealing over that.
struct Layers {
    store: Arc<dyn Store>,
    /// `None` of a sealed store: no index below it has words.
    search: Option<Arc<dyn Search>>,
    tiered: Option<Arc<Tiered>>,
    sealing: Option<JoinHandle<()>>,
}

impl Layers {
    async fn over(
        opened: &Opened,
        settings: &Settings,
        is_demo: bool,
    ) -> Result<Self, ServerError> {
        let tiered = tier(settings, opened).await?;
        let (mut store, search) = match &tiered {
            Some(tiered) => (
                Arc::clone(tiered) as Arc<dyn Store>,
                Arc::clone(tiered) as Arc<dyn Search>,
            ),
            None => (opened.store(), opened.search()),
        };
        let sealing = match &settings.seal_keys {
            None => None,
            Some(path) => {
                let sealing = Sealing::before(store, path, is_demo).await?;
                store = Arc::clone(&sealing.store) as _;
                Some(tokio::spawn(sealing.follow()))
            }
        };
        Ok(Self {
            search: sealing.is_none().then_some(search),
            store,
            tiered,
            sealing,
        })
    }

    async fn end(self) {
        if let Some(sealing) = self.sealing {
            sealing.abort();
        }
        if let Some(tiered) = self.tiered
            && let Err(error) = tiered.settled().await
        {
            let what = "not all of the hot tier is in the store; the next start does it";
            tracing::warn!(%error, "{what}");
        }
    }
}

/// Where the messages are, in words that hold no secret.
fn shown(settings: &Settings, url: &str) -> String {
    if settings.shards.is_empty() {
        return redacted(url);
    }
    let shards: Vec<_> = settings.shards.iter().map(|url| redacted(url)).collect();
    shards.join(", ")
}

fn router(
    settings: &Settings,
    node: &Node,
    store: Arc<dyn Store>,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
) -> Router {
    let mut transport = Transport::new(node.clone());
    if let Some(origins) = &settings.allowed_origins {
        transport = transport.allowed_origins(origins.clone());
    }
    let chat = transport.router();
    chat.merge(ops::router(node.clone(), store, metrics))
        .merge(page::router())
}

async fn listen(address: &str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|error| {
        ServerError::Listen(match error.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "{address} is taken by another program: stop it, or choose another port with \
                 --listen (127.0.0.1:0 takes any that is free)"
            ),
            std::io::ErrorKind::PermissionDenied => format!(
                "this user may not listen on {address}: choose a port above 1023 with --listen"
            ),
            _ => format!("can't listen on {address} (--listen): {error}"),
        })
    })
}

/// Tells the person who started it. That nobody reads it is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The signals that end the server: the first drains, the second ends it at once.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals over, from here on.
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first, and ends the process at the second.
    async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("stopped at once");
            std::process::exit(1);
        });
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
