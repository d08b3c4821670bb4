//! A member who writes all the time, keeps what is unanswered, and comes back by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use im_core::frame::{
    ClientFrame, Codec, Hello, Pull, PullRange, ReadMark, RequestId, ServerFrame, decode_server,
    encode_client,
};
use im_core::model::{CmId, ConversationId, DeviceId, Draft, Entry, Seq, Target, UserId, Value};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Un-answered messages of one member.
const WINDOW: usize = 8;
/// A member writes once in so long.
const PACE: Duration = Duration::from_millis(5);
/// How long to wait before the next try to connect.
const RECONNECT: Duration = Duration::from_millis(10);
/// A server that says nothing for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(5);
/// How long after the end nothing may come until the member is done.
const QUIET: Duration = Duration::from_millis(500);

/// What the members and the one who kills share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: Mutex<SocketAddr>,
    pub(super) convs: Vec<ConversationId>,
    /// Nothing new is to be written.
    pub(super) stop: AtomicBool,
}

/// Why a connection is over.
enum Over {
    /// It is lost.
    Lost,
    /// All is answered and read.
    Done,
}

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) user: UserId,
    token: String,
    shared: Arc<Shared>,
    next: u64,
    unanswered: VecDeque<Draft>,
    /// The pulls under way.
    pulling: BTreeSet<ConversationId>,
    pub(super) logs: BTreeMap<ConversationId, Vec<Arc<Entry>>>,
    pub(super) sent: BTreeMap<CmId, (ConversationId, Seq)>,
    /// Messages that a retry found stored.
    pub(super) dups: u32,
    pub(super) connects: u32,
    /// Messages that the server told to try again: they lose their place.
    pub(super) refused: u32,
}

impl Member {
    pub(super) fn new(user: &str, token: String, shared: Arc<Shared>) -> Self {
        let logs = shared.convs.iter().map(|conv| (conv.clone(), Vec::new()));
        Self {
            user: UserId::new(user).unwrap(),
            token,
            logs: logs.collect(),
            shared,
            next: 0,
            unanswered: VecDeque::new(),
            pulling: BTreeSet::new(),
            sent: BTreeMap::new(),
            dups: 0,
            connects: 0,
            refused: 0,
        }
    }

    /// Writes and reads until it is told to stop and everything is answered and read.
    pub(super) async fn run(mut self) -> Self {
        loop {
            let address = *self.shared.address.lock().unwrap();
            if let Some(mut socket) = open(address, &self.token).await {
                self.connects += 1;
                if matches!(self.talk(&mut socket).await, Err(Over::Done)) {
                    return self;
                }
            }
            sleep(RECONNECT).await;
        }
    }

    async fn talk(&mut self, socket: &mut Socket) -> Result<(), Over> {
        // What was pushed while nobody listened is in the log.
        self.pulling.clear();
        for conv in self.shared.convs.clone() {
            self.pull(socket, &conv).await?;
        }
        for draft in self.unanswered.clone() {
            put(socket, ClientFrame::Send(draft)).await?;
        }
        let mut pace = interval(PACE);
        let mut heard = Instant::now();
        loop {
            let stopped = self.shared.stop.load(Ordering::Acquire);
            let settled = stopped && self.unanswered.is_empty() && self.pulling.is_empty();
            let patience = if settled { QUIET } else { SILENCE };
            tokio::select! {
                _ = pace.tick(), if !stopped && self.unanswered.len() < WINDOW => {
                    let draft = self.write();
                    self.unanswered.push_back(draft.clone());
                    put(socket, ClientFrame::Send(draft)).await?;
                }
                came = socket.next() => {
                    heard = Instant::now();
                    match came {
                        Some(Ok(Message::Text(text))) => self.on_text(socket, &text).await?,
                        Some(Ok(Message::Ping(_))) => {}
                        _ => return Err(Over::Lost),
                    }
                }
                () = sleep_until(heard + patience) => {
                    return Err(if settled { Over::Done } else { Over::Lost });
                }
            }
        }
    }

    /// The next message: its text is its id.
    fn write(&mut self) -> Draft {
        self.next += 1;
        let convs = &self.shared.convs;
        let conv = convs[self.next as usize % convs.len()].clone();
        let id = format!("{}-{}", self.user, self.next);
        Draft::text(
            CmId::new(id.as_str()).unwrap(),
            Target::Conversation(conv),
            id,
        )
    }

    async fn on_text(&mut self, socket: &mut Socket, text: &str) -> Result<(), Over> {
        match decode_server(Codec::Json, text.as_bytes()).unwrap() {
            ServerFrame::Sent {
                cm_id,
                conv,
                seq,
                dup,
                ..
            } => {
                self.unanswered.retain(|draft| draft.cm_id != cm_id);
                self.dups += u32::from(dup);
                let again = self.sent.insert(cm_id, (conv.clone(), seq));
                assert!(again.is_none_or(|first| first == (conv, seq)), "moved");
            }
            ServerFrame::Entry(entry) => self.on_entry(socket, &entry).await?,
            ServerFrame::Page(page) => {
                let more = page.more;
                for entry in &page.entries {
                    self.take(entry);
                }
                self.pulling.remove(&page.conv);
                if more {
                    self.pull(socket, &page.conv).await?;
                }
            }
            ServerFrame::Behind { conv, .. } => self.pull(socket, &conv).await?,
            // A server that goes down may say so before; what is unanswered is sent again.
            ServerFrame::Err(err) => {
                assert!(err.failure.retry_after_ms.is_some(), "refused: {err:?}");
                self.refused += 1;
                return Err(Over::Lost);
            }
            _ => {}
        }
        Ok(())
    }

    async fn on_entry(&mut self, socket: &mut Socket, entry: &Arc<Entry>) -> Result<(), Over> {
        if !self.take(entry) {
            // Between what was read and what is pushed there is something to read.
            self.pull(socket, &entry.conv).await?;
        } else if entry.seq.0.is_multiple_of(32) {
            let (conv, seq) = (entry.conv.clone(), entry.seq);
            put(socket, ClientFrame::Ack(ReadMark { conv, seq })).await?;
        }
        Ok(())
    }

    /// Takes an entry that is next or known; false when there is a gap before it.
    fn take(&mut self, entry: &Arc<Entry>) -> bool {
        let log = self.logs.get_mut(&entry.conv).unwrap();
        let head = log.len() as u64;
        if entry.seq.0 == head + 1 {
            log.push(Arc::clone(entry));
        } else if entry.seq.0 <= head {
            assert_eq!(log[entry.seq.0 as usize - 1], *entry, "another entry");
        }
        entry.seq.0 <= head + 1
    }

    async fn pull(&mut self, socket: &mut Socket, conv: &ConversationId) -> Result<(), Over> {
        if !self.pulling.insert(conv.clone()) {
            return Ok(());
        }
        let after = Seq(self.logs[conv].len() as u64);
        let pull = Pull {
            id: RequestId::Int(1),
            conv: conv.clone(),
            range: PullRange::After(after),
            limit: 200,
        };
        put(socket, ClientFrame::Pull(pull)).await
    }
}

type Socket = WebSocketStream<TcpStream>;

/// Connects and is welcomed, or not.
async fn open(address: SocketAddr, token: &str) -> Option<Socket> {
    let stream = TcpStream::connect(address).await.ok()?;
    let url = format!("ws://{address}/v1/ws");
    let (mut socket, _) = timeout(SILENCE, client_async(url, stream))
        .await
        .ok()?
        .ok()?;
    let hello = ClientFrame::Hello(Hello {
        token: Some(token.to_owned()),
        device: DeviceId::new("d").unwrap(),
        client: None,
        since: None,
    });
    put(&mut socket, hello).await.ok()?;
    let welcome = timeout(SILENCE, socket.next()).await.ok()??.ok()?;
    let text = welcome.into_text().ok()?;
    let frame = decode_server(Codec::Json, text.as_bytes()).ok()?;
    matches!(frame, ServerFrame::Welcome(_)).then_some(socket)
}

async fn put(socket: &mut Socket, frame: ClientFrame) -> Result<(), Over> {
    let text = Utf8Bytes::try_from(encode_client(Codec::Json, &frame)).unwrap();
    let sent = socket.send(Message::Text(text)).await;
    sent.map_err(|_| Over::Lost)
}

/// A group of the token's user and others.
pub(super) async fn make_group(
    address: SocketAddr,
    token: &str,
    others: &[&str],
) -> ConversationId {
    let mut socket = open(address, token).await.unwrap();
    let members: Vec<Value> = others.iter().map(|user| Value::from(*user)).collect();
    let req = ClientFrame::Req {
        id: RequestId::Int(1),
        method: "groups.create".to_owned(),
        params: Value::object([("title", Value::from("crash")), ("members", members.into())]),
        key: None,
    };
    put(&mut socket, req).await.ok().unwrap();
    loop {
        let message = timeout(SILENCE, socket.next()).await.unwrap().unwrap();
        let text = message.unwrap().into_text().unwrap();
        let frame = decode_server(Codec::Json, text.as_bytes()).unwrap();
        if let ServerFrame::Res { value, .. } = frame {
            let conv = value.get("conv").and_then(Value::as_text).unwrap();
            return conv.parse().unwrap();
        }
    }
}
