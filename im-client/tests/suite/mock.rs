//! A server that does what the test says, over a real loopback socket.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use im_client::{Client, ClientBuilder, Event, Events};
use im_core::frame::{
    ClientFrame, Codec, ConvLine, Hello, Limits, Page, RequestId, ServerFrame, Synced, Welcome,
    decode_client, encode,
};
use im_core::machine::Backoff;
use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, DeviceId, Draft, Entry, Epoch, Mentions,
    MessageId, NewEntry, Seq, Target, Timestamp, UserId,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// Nothing that a test waits for takes longer.
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come"),
    }
}

/// A server.
pub(crate) struct Mock {
    listener: TcpListener,
}

impl Mock {
    pub(crate) async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// A client of this server that reconnects quickly.
    pub(crate) fn client(&self) -> ClientBuilder {
        Client::builder(self.url())
            .token("token")
            .device(DeviceId::new("phone").unwrap())
            .reconnect(Backoff::new(
                Duration::from_millis(20),
                Duration::from_millis(100),
            ))
    }

    /// The next connection, whose `hello` has come.
    pub(crate) async fn accept(&self) -> Peer {
        let (tcp, _) = soon("a connection", self.listener.accept()).await.unwrap();
        let mut codec = Codec::Json;
        #[expect(clippy::result_large_err, reason = "the trait says so")]
        let answer = |request: &Request, mut response: Response| {
            let offered = request.headers()[header::SEC_WEBSOCKET_PROTOCOL]
                .to_str()
                .unwrap();
            codec = Codec::ALL
                .into_iter()
                .find(|c| c.sub_protocol() == offered)
                .unwrap();
            let chosen = HeaderValue::from_str(offered).unwrap();
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
            Ok(response)
        };
        let ws = accept_hdr_async(tcp, answer).await.unwrap();
        let mut peer = Peer {
            ws,
            codec,
            hello: None,
        };
        match peer.receive().await {
            ClientFrame::Hello(hello) => peer.hello = Some(hello),
            frame => panic!("{frame:?} is no hello"),
        }
        peer
    }

    /// The next connection, welcomed; its `sync` is answered with nothing.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.welcome(|_| {}).await;
        peer.synced(vec![], "t1").await;
        peer
    }

    /// No connection comes for a while.
    pub(crate) async fn is_left_alone(&self) {
        let wait = Duration::from_millis(400);
        let came = tokio::time::timeout(wait, self.listener.accept()).await;
        assert!(came.is_err(), "it connects again");
    }
}

/// A connection, as the server sees it.
pub(crate) struct Peer {
    pub(crate) ws: WebSocketStream<TcpStream>,
    codec: Codec,
    hello: Option<Hello>,
}

impl Peer {
    pub(crate) fn hello(&self) -> &Hello {
        self.hello.as_ref().unwrap()
    }

    pub(crate) async fn welcome(&mut self, change: impl FnOnce(&mut Welcome)) {
        let mut welcome = Welcome {
            user: user("ann"),
            device: self.hello().device.clone(),
            conn: "1".to_owned(),
            node: "n1".to_owned(),
            now: Timestamp(1_000_000),
            expires_at: Timestamp(9_000_000),
            heartbeat_ms: 30_000,
            limits: Limits::default(),
        };
        change(&mut welcome);
        self.send(ServerFrame::Welcome(welcome)).await;
    }

    pub(crate) async fn send(&mut self, frame: ServerFrame) {
        let bytes = encode(self.codec, &frame);
        let message = match self.codec {
            Codec::Json => Message::Text(bytes.try_into().unwrap()),
            Codec::MessagePack => Message::Binary(bytes),
        };
        self.ws.send(message).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn receive(&mut self) -> ClientFrame {
        soon("a frame", self.try_receive())
            .await
            .expect("the client hung up")
    }

    /// The next frame; `None` when the client has hung up.
    pub(crate) async fn try_receive(&mut self) -> Option<ClientFrame> {
        loop {
            match self.ws.next().await?.ok()? {
                Message::Text(text) => {
                    return Some(decode_client(self.codec, text.as_bytes()).unwrap());
                }
                Message::Binary(bytes) => {
                    return Some(decode_client(self.codec, &bytes).unwrap());
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next frame that `wanted` takes; others are skipped.
    pub(crate) async fn expect<T>(&mut self, wanted: impl Fn(ClientFrame) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.receive().await) {
                return found;
            }
        }
    }

    pub(crate) async fn expect_send(&mut self) -> Draft {
        let send = |frame| match frame {
            ClientFrame::Send(draft) => Some(draft),
            _ => None,
        };
        self.expect(send).await
    }

    /// The next pull: its id and the place that it goes on from.
    pub(crate) async fn expect_pull(&mut self) -> im_core::frame::Pull {
        let pull = |frame| match frame {
            ClientFrame::Pull(pull) => Some(pull),
            _ => None,
        };
        self.expect(pull).await
    }

    /// Answers the client's `sync`; gives the token that it asked with.
    pub(crate) async fn synced(&mut self, convs: Vec<ConvLine>, token: &str) -> Option<String> {
        let sync = |frame| match frame {
            ClientFrame::Sync { id, since } => Some((id, since)),
            _ => None,
        };
        let (id, asked) = self.expect(sync).await;
        let synced = Synced {
            id: Some(id),
            convs,
            more: false,
            since: token.to_owned(),
            reset: false,
        };
        self.send(ServerFrame::Synced(synced)).await;
        asked
    }

    pub(crate) async fn sent(&mut self, cm_id: &CmId, seq: u64, dup: bool) {
        let sent = ServerFrame::Sent {
            cm_id: cm_id.clone(),
            conv: conv("c"),
            seq: Seq(seq),
            id: MessageId(seq),
            at: Timestamp(1_000_001),
            dup,
        };
        self.send(sent).await;
    }

    pub(crate) async fn page(&mut self, id: RequestId, seqs: std::ops::Range<u64>, more: bool) {
        let page = Page {
            id,
            conv: conv("c"),
            epoch: Epoch(1),
            first_seq: Seq(1),
            entries: seqs.map(|seq| Arc::new(entry(seq))).collect(),
            more,
        };
        self.send(ServerFrame::Page(page)).await;
    }

    pub(crate) async fn push(&mut self, seq: u64) {
        self.send(ServerFrame::Entry(Arc::new(entry(seq)))).await;
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "as the test says".into(),
        };
        let _ = self.ws.close(Some(frame)).await;
        while self.try_receive().await.is_some() {}
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn conv(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

pub(crate) fn target() -> Target {
    Target::Conversation(conv("c"))
}

pub(crate) fn draft(cm_id: &str) -> Draft {
    Draft::text(CmId::new(cm_id).unwrap(), target(), cm_id)
}

pub(crate) fn entry(seq: u64) -> Entry {
    let new = NewEntry {
        id: MessageId(seq),
        from: user("bo"),
        at: Timestamp(1_000_000),
        cm_id: None,
        digest: 0,
        body: Body::text(format!("entry {seq}")),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    new.at(conv("c"), Seq(seq))
}

pub(crate) fn line(last_seq: u64) -> ConvLine {
    ConvLine {
        conv: conv("c"),
        kind: ConversationKind::Group,
        title: Some("c".to_owned()),
        epoch: Epoch(1),
        first_seq: Seq(1),
        last_seq: Seq(last_seq),
        read_seq: Seq(0),
        unread: 0,
        mentions: 0,
        last: None,
        left: false,
    }
}

/// The next event that `wanted` takes; others are skipped.
pub(crate) async fn expect<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = soon("an event", events.next())
            .await
            .expect("the events ended");
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

/// The next entry's place.
pub(crate) async fn next_seq(events: &mut Events) -> u64 {
    let seq = |event| match event {
        Event::Entry(entry) => Some(entry.seq.0),
        _ => None,
    };
    expect(events, seq).await
}

/// The end: why the client stopped.
pub(crate) async fn stopped(events: &mut Events) -> im_client::Stopped {
    let stopped = |event| match event {
        Event::Stopped(stopped) => Some(stopped),
        _ => None,
    };
    let why = expect(events, stopped).await;
    assert!(events.next().await.is_none(), "it is the last event");
    why
}
