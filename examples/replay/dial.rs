//! Making a connection, and what the end of one means.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use imkit::core::frame::{
    Bye, ClientFrame, Codec, Hello, ServerFrame, Welcome, decode_server, encode_client,
};
use imkit::core::model::{DeviceId, UserId};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Result;

/// What a connection holds of its socket's bytes.
const BUFFER_BYTES: usize = 4 * 1_024;
/// How long the way to `welcome` may take.
const WELCOME_MAX: Duration = Duration::from_secs(20);
/// Waits between tries, doubling.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(3);
/// With these waits about a minute: then the server is taken for gone.
const TRIES_MAX: u32 = 24;
/// Close codes after which the same would only happen again.
const FINAL: [u16; 6] = [1007, 1009, 4400, 4401, 4403, 4409];

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Why a connection is over, or was none.
#[derive(Debug)]
pub(crate) struct Over {
    why: String,
    is_final: bool,
    /// When the server asked to come back, in milliseconds.
    back_ms: Option<(u64, u64)>,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Over {
    pub(crate) fn lost(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            is_final: false,
            back_ms: None,
        }
    }

    fn last(why: impl fmt::Display) -> Self {
        Self {
            is_final: true,
            ..Self::lost(why)
        }
    }

    /// Whether coming back is of no use.
    pub(crate) const fn is_final(&self) -> bool {
        self.is_final
    }

    /// The server closed.
    pub(crate) fn closed(frame: Option<&CloseFrame>, bye: Option<Bye>) -> Self {
        let code = frame.map_or_else(
            || bye.map_or(1006, |bye| bye.code),
            |frame| frame.code.into(),
        );
        let hint = match code {
            4401 => ": the token is refused, so --secret is not the server's",
            4409 => ": somebody else connected as the same user and device",
            _ => "",
        };
        Self {
            why: format!("closed by the server with {code}{hint}"),
            is_final: FINAL.contains(&code),
            back_ms: bye.map(|bye| bye.reconnect_ms),
        }
    }
}

/// Whom to connect as, and where.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) url: String,
    pub(crate) user: UserId,
    pub(crate) token: String,
}

impl Dial {
    /// Connects and is welcomed.
    pub(crate) async fn connect(&self) -> Result<(Socket, Welcome), Over> {
        let opened = timeout(WELCOME_MAX, self.open()).await;
        opened.unwrap_or_else(|_| Err(Over::lost("no welcome in time")))
    }

    /// Connects again after a loss: tries until it is a minute, or useless.
    pub(crate) async fn reconnect(&self, mut over: Over) -> Result<(Socket, Welcome), Over> {
        for number in 0..TRIES_MAX {
            if over.is_final {
                return Err(over);
            }
            tokio::time::sleep(self.wait(number, &over)).await;
            match self.connect().await {
                Ok(opened) => return Ok(opened),
                Err(again) => over = again,
            }
        }
        Err(Over::last(format!(
            "given up after {TRIES_MAX} tries: {over}"
        )))
    }

    async fn open(&self) -> Result<(Socket, Welcome), Over> {
        let url = &self.url;
        let request = format!("{url}/v1/ws").into_client_request();
        let mut request = request.map_err(|error| Over::last(format!("--url {url}: {error}")))?;
        let headers = request.headers_mut();
        let protocol = tungstenite::http::HeaderValue::from_static(Codec::Json.sub_protocol());
        headers.insert("sec-websocket-protocol", protocol);
        let address = match (request.uri().scheme_str(), request.uri().authority()) {
            (Some("ws"), Some(address)) => address.as_str().to_owned(),
            _ => return Err(Over::last(format!("--url {url}: must be ws://HOST:PORT"))),
        };
        let unreachable = |error| Over::lost(format!("no server at {url}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES);
        let opened = client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = opened.map_err(|error| match error {
            tungstenite::Error::Io(error) => unreachable(error),
            error => Over::last(format!("no imkit server at {url}: {error}")),
        })?;
        let hello = ClientFrame::Hello(Hello {
            token: Some(self.token.clone()),
            device: DeviceId::new("replay").map_err(Over::last)?,
            client: Some("replay".to_owned()),
            since: None,
        });
        socket.send(message(&hello)).await.map_err(Over::lost)?;
        let mut bye = None;
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    match decode_server(Codec::Json, text.as_bytes()) {
                        Ok(ServerFrame::Welcome(welcome)) => return Ok((socket, welcome)),
                        Ok(ServerFrame::Bye(said)) => bye = Some(said),
                        Ok(_) => {}
                        Err(error) => return Err(Over::last(error)),
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(Over::closed(frame.as_ref(), bye)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Over::lost(error)),
                None => return Err(Over::closed(None, bye)),
            }
        }
    }

    /// How long to wait before a try: not the same time for everybody.
    fn wait(&self, number: u32, over: &Over) -> Duration {
        let doubled = AGAIN_MIN.saturating_mul(1 << number.min(16)).min(AGAIN_MAX);
        let most = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
        let (min, max) = over.back_ms.unwrap_or((most / 2, most));
        let mut hasher = DefaultHasher::new();
        (self.user.as_str(), number).hash(&mut hasher);
        Duration::from_millis(min + hasher.finish() % (max.saturating_sub(min) + 1))
    }
}

/// A frame as it is sent.
pub(crate) fn message(frame: &ClientFrame) -> Message {
    let bytes = encode_client(Codec::Json, frame);
    // What the codec writes is UTF-8.
    Utf8Bytes::try_from(bytes).map_or_else(|_| Message::text(""), Message::Text)
}
