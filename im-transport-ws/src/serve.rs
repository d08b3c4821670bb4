//! Accepting connections, with the bounds that a chat server needs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long a client may take to send a request's headers.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// The most connections that [`serve`] holds at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 100_000;
/// The most bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 16 * 1_024;
/// How long to wait when the system has no file for another connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long the last goodbyes may take once the shutdown has resolved.
const LINGER: Duration = Duration::from_millis(1_500);

/// Serves a router until `shutdown` resolves; then takes no more connections and returns when
/// those that are open have ended, or after 1.5 s. So let `shutdown` end with
/// [`Node::shutdown`](im_node::Node::shutdown): until then `/readyz` and the like are answered.
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
    let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(connections_max));
    let stopping = watch::Sender::new(false);
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some(stream) = accepted else {
            // No file left, most likely: those who are connected go on.
            metrics::counter!("im_accept_errors_total").increment(1);
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        tokio::spawn(talk(stream, router.clone(), stopping.subscribe()));
    }
    drop(listener);
    stopping.send_replace(true);
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    // Who has not gone by then is cut off.
    let _ = tokio::time::timeout(LINGER, places.acquire_many(all)).await;
    Ok(())
}

async fn talk(stream: Placed, router: Router, mut stopping: watch::Receiver<bool>) {
    // Small frames must not wait for more.
    let _ = stream.stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // What breaks one connection is that client's business.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Placed> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    Some(Placed {
        stream,
        _place: place,
    })
}

/// A stream and its place among the connections: held as long as the stream is, also when it has
/// become a WebSocket.
#[derive(Debug)]
struct Placed {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
