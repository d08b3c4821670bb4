//! Accepting connections, with the bounds that a chat server needs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How long a client may take to send a request's headers.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// The most connections that [`serve`] holds at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 100_000;
/// The most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 16 * 1_024;
/// How long to wait when the system has no file for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves a router until `shutdown` resolves; then takes no more connections and returns. Those
/// that are open go on: [`Node::shutdown`](im_node::Node::shutdown) ends them.
///
/// # Errors
/// None today; accepting goes on whatever a single accept says.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    serve_at_most(listener, router, CONNECTIONS_MAX, shutdown).await
}

/// [`serve`] with another bound on connections.
///
/// # Errors
/// None today; accepting goes on whatever a single accept says.
pub async fn serve_at_most(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(connections_max));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            // No file left, most likely: those who are connected go on.
            metrics::counter!("im_accept_errors_total").increment(1);
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            // Small frames must not wait for more.
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .max_buf_size(HEADER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                .with_upgrades();
            // What breaks one connection is that client's business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    Some((stream, place))
}
