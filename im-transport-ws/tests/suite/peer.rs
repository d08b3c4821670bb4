//! A client that may do anything: WebSocket frames by hand.

use std::net::SocketAddr;
use std::time::Duration;

use im_core::frame::{Codec, decode_client, decode_server, encode_client};
use im_core::model::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than any answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for what must not come to come.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// The final frame of a message, by opcode.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const PING: u8 = 0x89;

/// What a server said.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Frame(Value),
    Ping,
    Pong,
    Close(u16),
    /// The connection ended without a word.
    Gone,
}

#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    codec: Codec,
    /// The sub-protocol that the server chose.
    pub(crate) protocol: Option<String>,
    /// Whether pings are answered.
    pub(crate) answers: bool,
}

impl Peer {
    /// Upgrades with these header lines more; else the HTTP status.
    pub(crate) async fn connect(address: SocketAddr, more: &str) -> Result<Self, u16> {
        Self::upgrade(TcpStream::connect(address).await.unwrap(), more).await
    }

    /// The same with a system that takes almost nothing for a client that does not read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self::upgrade(stream, "").await.unwrap()
    }

    async fn upgrade(mut stream: TcpStream, more: &str) -> Result<Self, u16> {
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let byte = timeout(DEADLINE, stream.read_u8()).await.unwrap();
            head.push(char::from(byte.unwrap()));
        }
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        let protocol = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("sec-websocket-protocol");
            is_it.then(|| value.trim().to_owned())
        });
        let is_msgpack = protocol.as_deref() == Some("im.v1.msgpack");
        let codec = if is_msgpack {
            Codec::MessagePack
        } else {
            Codec::Json
        };
        Ok(Self {
            stream,
            codec,
            protocol,
            answers: true,
        })
    }

    /// Writes a WebSocket frame: its first byte, then the payload, masked.
    pub(crate) async fn raw(&mut self, first: u8, payload: &[u8]) {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..126 => out.push(0x80 | len as u8),
            len @ 126..65_536 => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload as it is.
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
        self.bytes(&out).await;
    }

    /// Writes bytes as they are.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said is still to be read.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Says a frame, given as JSON, in the connection's codec.
    pub(crate) async fn say(&mut self, json: &str) {
        match self.codec {
            Codec::Json => self.raw(TEXT, json.as_bytes()).await,
            Codec::MessagePack => {
                let frame = decode_client(Codec::Json, json.as_bytes()).unwrap();
                let bytes = encode_client(Codec::MessagePack, &frame);
                self.raw(BINARY, &bytes).await;
            }
        }
    }

    /// The next thing that the server says; fails when it says nothing for too long.
    pub(crate) async fn hear(&mut self) -> Heard {
        timeout(DEADLINE, self.try_hear()).await.unwrap()
    }

    async fn try_hear(&mut self) -> Heard {
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).await.is_err() {
            return Heard::Gone;
        }
        let len = match head[1] & 0x7f {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            len => u64::from(len),
        };
        let mut payload = vec![0; len as usize];
        if self.stream.read_exact(&mut payload).await.is_err() {
            return Heard::Gone;
        }
        match head[0] & 0x0f {
            8 => Heard::Close(u16::from_be_bytes([payload[0], payload[1]])),
            9 => {
                if self.answers {
                    self.raw(0x8a, &payload).await;
                }
                Heard::Ping
            }
            10 => Heard::Pong,
            opcode => {
                assert_eq!(
                    opcode == 1,
                    self.codec == Codec::Json,
                    "the codec's own opcode"
                );
                Heard::Frame(decode_server(self.codec, &payload).unwrap().to_value())
            }
        }
    }

    /// The next frame, whatever the transport says in between.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.hear().await {
                Heard::Frame(frame) => return frame,
                Heard::Ping | Heard::Pong => {}
                end => panic!("no frame: {end:?}"),
            }
        }
    }

    /// The next frame of that type; others are passed over.
    pub(crate) async fn get(&mut self, t: &str) -> Value {
        loop {
            let frame = self.next().await;
            if text(&frame, "t") == t {
                return frame;
            }
        }
    }

    /// The code of the next refusal.
    pub(crate) async fn refused(&mut self) -> String {
        text(&self.get("err").await, "code")
    }

    /// The code of the close; frames before it are passed over.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.hear().await {
                Heard::Close(code) => return code,
                Heard::Gone => panic!("gone without a close"),
                _ => {}
            }
        }
    }

    /// Nothing of that type comes.
    pub(crate) async fn is_quiet(&mut self, t: &str) {
        let hears = async {
            loop {
                let frame = self.next().await;
                assert_ne!(text(&frame, "t"), t, "{frame:?}");
            }
        };
        let ended: Result<(), _> = timeout(QUIET, hears).await;
        assert!(ended.is_err());
    }

    /// Asks for a method and gives its value.
    pub(crate) async fn call(&mut self, method: &str, params: &str) -> Value {
        let frame = format!(r#"{{"t":"req","id":"q","method":"{method}","params":{params}}}"#);
        self.say(&frame).await;
        let answer = self.get("res").await;
        answer.get("value").unwrap().clone()
    }

    /// Sends a text and waits until it is stored; gives `sent`.
    pub(crate) async fn send(&mut self, cm_id: &str, to: &str, words: &str) -> Value {
        self.say(&message(cm_id, to, words)).await;
        self.get("sent").await
    }
}

/// A `send` of a text; `to` as JSON.
pub(crate) fn message(cm_id: &str, to: &str, words: &str) -> String {
    format!(
        r#"{{"t":"send","cm_id":"{cm_id}","to":{to},"body":{{"kind":"text","text":"{words}"}}}}"#
    )
}

/// A text field; empty when missing.
pub(crate) fn text(value: &Value, field: &str) -> String {
    value
        .get(field)
        .and_then(Value::as_text)
        .unwrap_or_default()
        .to_owned()
}

/// An integer field; -1 when missing.
pub(crate) fn int(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_int).unwrap_or(-1)
}
