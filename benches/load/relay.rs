//! The yardstick: a WebSocket relay as one writes it by hand on axum. No storage, no permission,
//! no limits but of memory; just enough of protocol v1 that the same generator drives it.
//!
//! What makes it lean, and what `im-server` is held against: one task a connection, small
//! buffers, an entry is encoded once, and what waits for a socket leaves in one flush.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use futures_util::{Sink, Stream};
use tokio::net::TcpSocket;

use crate::relay_hub::{Hub, Peer};
use crate::{Result, json};

/// Connections that may wait to be accepted: a storm of reconnects comes at once.
const BACKLOG: u32 = 4096;
/// tungstenite allocates this much for every connection at once; its default is 128 KiB.
const READ_BUFFER: usize = 4 << 10;
/// tungstenite writes to the socket when this much has gathered, or at a flush. The buffer grows
/// from nothing and never shrinks, so the bound is also what a busy connection keeps.
const WRITE_BUFFER: usize = 16 << 10;
/// Most that tungstenite may hold for a socket that takes nothing.
const MAX_WRITE_BUFFER: usize = 1 << 20;

/// Serves until the process is killed.
pub(crate) fn main(listen: &str) -> Result<()> {
    let address: SocketAddr = listen.parse()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?.tap_io(|stream| {
            // Without it the relay only waits longer, so an error is no reason to stop.
            let _ = stream.set_nodelay(true);
        });
        let app = Router::new()
            .route("/readyz", get(|| async { "ready" }))
            .route("/v1/ws", any(upgrade))
            .with_state(Arc::new(Hub::default()));
        Ok(axum::serve(listener, app).await?)
    })
}

async fn upgrade(State(hub): State<Arc<Hub>>, ws: WebSocketUpgrade) -> Response {
    ws.read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .protocols(["im.v1.json"])
        .on_upgrade(|socket| async {
            if let Some(mut connection) = Connection::greet(socket, hub).await {
                std::future::poll_fn(|cx| connection.poll(cx)).await;
                connection.hub.leave(&connection.peer);
            }
        })
}

struct Connection {
    socket: WebSocket,
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    /// Frames taken from the peer's queue; the vector goes back and forth, so it is reused.
    outgoing: Vec<Utf8Bytes>,
    /// How many of them tungstenite has.
    written: usize,
    unflushed: bool,
}

impl Connection {
    /// Waits for `hello`. The relay believes the device's name to be the user's.
    async fn greet(mut socket: WebSocket, hub: Arc<Hub>) -> Option<Self> {
        let Some(Ok(Message::Text(hello))) = socket.recv().await else {
            return None;
        };
        let user = json::field(hello.as_bytes(), "device").and_then(json::text)?;
        let peer = hub.join(str::from_utf8(user).ok()?);
        Some(Self {
            socket,
            hub,
            peer,
            outgoing: Vec::new(),
            written: 0,
            unflushed: false,
        })
    }

    /// Reads all there is, writes all there is, flushes once; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // First, so that a peer that takes nothing isn't read from either.
            if self.unflushed && ready!(self.write(cx)).is_err() {
                return Poll::Ready(());
            }
            while let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) {
                match message {
                    Some(Ok(Message::Text(frame))) => self.hub.handle(&self.peer, &frame),
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(()),
                }
            }
            if !self.peer.take(&mut self.outgoing, cx.waker()) {
                return Poll::Ready(());
            }
            if self.outgoing.is_empty() {
                return Poll::Pending;
            }
            self.unflushed = true;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), axum::Error>> {
        while let Some(frame) = self.outgoing.get_mut(self.written) {
            let mut socket = Pin::new(&mut self.socket);
            ready!(socket.as_mut().poll_ready(cx))?;
            socket.start_send(Message::Text(std::mem::take(frame)))?;
            self.written += 1;
        }
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.outgoing.clear();
        self.written = 0;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}
