//! imkit over WebSocket and HTTP: an axum [`Router`] that an app nests.
//!
//! ```no_run
//! # async fn run(node: im_node::Node) -> std::io::Result<()> {
//! let chat = im_transport_ws::Transport::new(node).router();
//! let app = axum::Router::new().nest("/chat", chat); // clients connect to /chat/v1/ws
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! im_transport_ws::serve(listener, app, std::future::pending()).await
//! # }
//! ```
//!
//! [`serve`] is axum's own server with what a chat server needs: no Nagle delay, a deadline for
//! request headers, a bound on connections. `axum::serve` works as well, without these.

mod http;
mod media;
mod serve;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use im_node::Node;

pub use serve::{CONNECTIONS_MAX, HEADER_DEADLINE, serve, serve_at_most};

/// The transport of a node.
#[derive(Debug, Clone)]
pub struct Transport {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) node: Node,
    /// `None`: any. Tokens are never in cookies, so a foreign page can't use somebody's.
    pub(crate) origins: Option<Vec<String>>,
}

impl Transport {
    /// A transport that takes connections from pages of any origin: who connects must show a
    /// token, which browsers don't send by themselves.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self {
            shared: Arc::new(Shared {
                node,
                origins: None,
            }),
        }
    }

    /// Takes connections of browsers from pages of these origins only (`https://app.example`).
    /// Clients that send no `Origin`, which no browser does, are not concerned.
    #[must_use]
    pub fn allowed_origins(self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let origins = origins.into_iter().map(Into::into).collect();
        let node = self.shared.node.clone();
        Self {
            shared: Arc::new(Shared {
                node,
                origins: Some(origins),
            }),
        }
    }

    /// The routes: `/v1/ws`, the HTTP API from the node's table of methods, and uploads (tus 1.0)
    /// and downloads if the node keeps media.
    pub fn router(&self) -> Router {
        let router = Router::new().route("/v1/ws", get(ws::upgrade));
        media::routes(http::routes(router)).with_state(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// Whether a page of that origin may connect.
    pub(crate) fn may_come_from(&self, origin: Option<&str>) -> bool {
        match (&self.origins, origin) {
            (None, _) | (_, None) => true,
            (Some(allowed), Some(origin)) => {
                allowed.iter().any(|one| one.eq_ignore_ascii_case(origin))
            }
        }
    }
}
