//! One WebSocket: how it is opened, and the task that writes it.

use std::error::Error;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use im_core::frame::{
    Bye, ClientFrame, Codec, Hello, ServerFrame, Welcome, decode_server, encode_client,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::builder::Config;
use crate::error::ConnectError;

/// How long a connection may take until `welcome`.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// How long the goodbye may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Small buffers: a process may hold thousands of clients.
const READ_BUFFER: usize = 4 << 10;
const WRITE_BUFFER: usize = 4 << 10;
/// Must hold the largest frame that a server allows.
const WRITE_BUFFER_MAX: usize = 4 << 20;
/// The largest message that is read: a page, with room to spare.
const MESSAGE_MAX: usize = 16 << 20;
/// How many frames wait to be written.
const WRITES_MAX: usize = 64;
/// The close code where a connection ended without one.
pub(crate) const NO_CODE: u16 = 1006;

type Ws = WebSocketStream<TcpStream>;
/// An encoded frame.
pub(crate) type Outgoing = Message;

/// An open connection that was welcomed.
#[derive(Debug)]
pub(crate) struct Socket {
    codec: Codec,
    pub(crate) welcome: Welcome,
    reader: SplitStream<Ws>,
    writer: mpsc::Sender<Message>,
    writing: JoinHandle<()>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    /// A frame.
    Frame(ServerFrame),
    /// A sign of life that is no frame of ours.
    Alive,
    /// A frame that can't be read: of a later version, or wrong.
    Unreadable(String),
    /// The connection is over.
    Closed {
        /// The close code.
        code: u16,
        /// The server's own words.
        reason: String,
    },
}

impl Socket {
    /// Connects to the next node that can be had, says `hello` and waits for `welcome`.
    pub(crate) async fn open(config: &Config) -> Result<Self, ConnectError> {
        let token = config.token.get().await.map_err(ConnectError::Token)?;
        let mut tries = config.addresses.count();
        loop {
            tries -= 1;
            let url = config.addresses.next();
            let opening = Self::say_hello(config, url, token.clone());
            let opened = tokio::time::timeout(OPEN_MAX, opening).await;
            match opened.unwrap_or(Err(ConnectError::TimedOut)) {
                Err(error) if tries > 0 && error.is_retryable() => {
                    tracing::debug!(error = &error as &dyn Error, "on to the next node");
                }
                opened => return opened,
            }
        }
    }

    async fn say_hello(config: &Config, url: &str, token: String) -> Result<Self, ConnectError> {
        let mut ws = upgrade(config, url).await?;
        let hello = ClientFrame::Hello(Hello {
            token: Some(token),
            device: config.device.clone(),
            client: Some(config.name.clone()),
            since: None,
        });
        let sent = ws.send(message(config.codec, &hello)).await;
        // Who is refused at once can't be written to, but may be told why.
        let mut bye = None;
        loop {
            match read(config.codec, ws.next().await) {
                Received::Frame(ServerFrame::Welcome(welcome)) => {
                    return Ok(Self::welcomed(ws, config.codec, welcome));
                }
                Received::Frame(ServerFrame::Bye(said)) => bye = Some(said),
                Received::Closed { code, reason } => {
                    return Err(match sent {
                        Err(error) if code == NO_CODE => ConnectError::Unreachable(error.into()),
                        _ => closed(code, reason, bye),
                    });
                }
                Received::Frame(_) | Received::Alive | Received::Unreadable(_) => {}
            }
        }
    }

    fn welcomed(ws: Ws, codec: Codec, welcome: Welcome) -> Self {
        let (sink, reader) = ws.split();
        let (writer, frames) = mpsc::channel(WRITES_MAX);
        Self {
            codec,
            welcome,
            reader,
            writer,
            writing: tokio::spawn(write(sink, frames)),
        }
    }

    /// What comes next. Losing the future loses nothing.
    pub(crate) async fn receive(&mut self) -> Received {
        read(self.codec, self.reader.next().await)
    }

    /// What has come already, if anything.
    pub(crate) fn received(&mut self) -> Option<Received> {
        let next = self.reader.next().now_or_never()?;
        Some(read(self.codec, next))
    }

    /// How many frames may be sent now.
    pub(crate) fn room(&self) -> usize {
        self.writer.capacity()
    }

    /// Waits for room to send.
    pub(crate) fn has_room(&self) -> impl Future<Output = ()> + use<> {
        let writer = self.writer.clone();
        async move {
            // Who writes no more is noticed by who reads.
            if writer.reserve().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Encodes a frame.
    pub(crate) fn encode(&self, frame: &ClientFrame) -> Message {
        message(self.codec, frame)
    }

    /// Sends within the [`room`](Self::room).
    pub(crate) fn send(&self, message: Message) {
        if self.writer.try_send(message).is_err() {
            tracing::debug!("the connection ended before a frame was written");
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        let (unused, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.writer, unused));
        let _ = tokio::time::timeout(CLOSE_MAX, &mut self.writing).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

/// The bytes of a message.
pub(crate) fn size(message: &Message) -> usize {
    message.len()
}

/// Whether a URL can be connected to at all.
pub(crate) fn check_url(url: &str) -> Result<(), ConnectError> {
    let request = url.into_client_request();
    let request = request.map_err(|error| ConnectError::Url(error.to_string()))?;
    address(request.uri()).map(|_| ())
}

async fn upgrade(config: &Config, url: &str) -> Result<Ws, ConnectError> {
    let request = url.into_client_request();
    let mut request = request.map_err(|error| ConnectError::Url(error.to_string()))?;
    let (host, port) = address(request.uri())?;
    let protocol = HeaderValue::from_static(config.codec.sub_protocol());
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    let tcp = TcpStream::connect((host.as_str(), port)).await;
    let tcp = tcp.map_err(|error| ConnectError::Unreachable(error.into()))?;
    tcp.set_nodelay(true)
        .map_err(|error| ConnectError::Unreachable(error.into()))?;
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    match client_async_with_config(request, tcp, Some(limits)).await {
        Ok((ws, response)) => {
            let spoken = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
            if spoken == Some(&protocol) {
                Ok(ws)
            } else {
                Err(ConnectError::Protocol(
                    "it speaks another sub-protocol".to_owned(),
                ))
            }
        }
        Err(tungstenite::Error::Http(response)) => {
            Err(ConnectError::Http(response.status().as_u16()))
        }
        // It hung up, or the connection broke.
        Err(
            error @ (tungstenite::Error::Io(_)
            | tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)),
        ) => Err(ConnectError::Unreachable(error.into())),
        Err(error) => Err(ConnectError::Protocol(error.to_string())),
    }
}

fn address(uri: &Uri) -> Result<(String, u16), ConnectError> {
    match uri.scheme_str() {
        Some("ws") => {}
        Some("wss") => return Err(ConnectError::Tls),
        _ => return Err(ConnectError::Url("it must begin with ws://".to_owned())),
    }
    let host = uri
        .host()
        .ok_or_else(|| ConnectError::Url("it has no host".to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(80)))
}

fn closed(code: u16, reason: String, bye: Option<Bye>) -> ConnectError {
    let code = bye.map_or(code, |bye| if code == NO_CODE { bye.code } else { code });
    ConnectError::Closed { code, reason }
}

fn message(codec: Codec, frame: &ClientFrame) -> Message {
    let bytes = encode_client(codec, frame);
    match codec {
        Codec::MessagePack => Message::Binary(bytes),
        // Ours is UTF-8; were it not, the server would say so.
        Codec::Json => match tungstenite::Utf8Bytes::try_from(bytes) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Text(tungstenite::Utf8Bytes::from_static("")),
        },
    }
}

fn read(codec: Codec, next: Option<Result<Message, tungstenite::Error>>) -> Received {
    let message = match next {
        Some(Ok(message)) => message,
        Some(Err(error)) => return over(error.to_string()),
        None => return over("the connection ended".to_owned()),
    };
    let bytes = match (codec, &message) {
        (Codec::Json, Message::Text(text)) => text.as_bytes(),
        (Codec::MessagePack, Message::Binary(bytes)) => bytes,
        (_, Message::Close(frame)) => return closing(frame.as_ref()),
        (_, Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return Received::Alive,
        (_, Message::Text(_) | Message::Binary(_)) => {
            return Received::Unreadable("a frame of the other opcode".to_owned());
        }
    };
    match decode_server(codec, bytes) {
        Ok(frame) => Received::Frame(frame),
        Err(error) => Received::Unreadable(error.to_string()),
    }
}

fn over(reason: String) -> Received {
    Received::Closed {
        code: NO_CODE,
        reason,
    }
}

fn closing(frame: Option<&CloseFrame>) -> Received {
    Received::Closed {
        code: frame.map_or(NO_CODE, |frame| frame.code.into()),
        reason: frame.map_or_else(String::new, |frame| frame.reason.as_str().to_owned()),
    }
}

/// Writes frames; those that wait leave in one flush. Beside the reader, so that a client reads
/// also while the server does not.
async fn write(mut sink: SplitSink<Ws, Message>, mut frames: mpsc::Receiver<Message>) {
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        while let Some(message) = next {
            if sink.feed(message).await.is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}
