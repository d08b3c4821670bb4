//! A user's connection: a task that reads, acknowledges, pulls when it was left behind, and keeps
//! what it heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use imkit::core::frame::{
    ClientFrame, Codec, Failure, Hello, Page, Pull, PullRange, ReadMark, RequestId, ServerFrame,
    decode_server, encode_client,
};
use imkit::core::model::{ConversationId, DeviceId, Draft, Seq, Value};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Result;
use crate::check::{bytes_mark, entry_mark};

/// What a connection holds of its socket's bytes.
const BUFFER_BYTES: usize = 4 * 1_024;
/// Commands that wait for a connection.
const COMMANDS: usize = 64;
/// The protocol wants an `ack` at the latest after this.
const ACK_AFTER: Duration = Duration::from_millis(80);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a retryable refusal is tried again.
const TRIES_MAX: u32 = 100;

/// What the bytes of a pushed entry say. They are the same for everybody, so one connection
/// reads them for all.
#[derive(Debug, Default)]
pub(crate) struct Readings(RwLock<HashMap<u64, (ConversationId, Seq)>>);

impl Readings {
    fn get(&self, mark: u64) -> Option<(ConversationId, Seq)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&mark).cloned()
    }

    fn put(&self, mark: u64, conv: &ConversationId, seq: Seq) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(mark, (conv.clone(), seq));
    }

    /// A log is done: its entries won't come again.
    pub(crate) fn forget(&self, marks: &[u64]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            known.remove(mark);
        }
    }
}

/// What a connection heard of one conversation, in the order in which it came.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    pub(crate) marks: Vec<u64>,
    pub(crate) last: Seq,
    acked: Seq,
    /// How often it was left behind.
    pub(crate) behind: u64,
}

type Ears = Arc<Mutex<HashMap<ConversationId, Ear>>>;
type Answer = oneshot::Sender<std::result::Result<ServerFrame, Failure>>;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Conn {
    commands: mpsc::Sender<(ClientFrame, Answer)>,
    ears: Ears,
}

impl Conn {
    /// Connects, says hello, and listens from then on.
    ///
    /// # Errors
    /// When the server can't be reached or does not welcome.
    pub(crate) async fn open(url: &str, token: String, seen: Arc<Readings>) -> Result<Self> {
        let mut request = format!("{url}/v1/ws").into_client_request()?;
        let protocol = "im.v1.json".parse()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let host = request.uri().authority().ok_or("the URL has no host")?;
        let stream = TcpStream::connect(host.as_str()).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0);
        let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        let hello = ClientFrame::Hello(Hello {
            token: Some(token),
            device: DeviceId::new("replay")?,
            client: Some("replay".to_owned()),
            since: None,
        });
        socket.send(message(&hello)).await?;
        let first = timeout(PATIENCE, socket.next()).await?;
        let Some(Ok(Message::Text(first))) = first else {
            return Err("closed before the welcome".into());
        };
        let ServerFrame::Welcome(welcome) = decode_server(Codec::Json, first.as_bytes())? else {
            return Err(format!("no welcome but {first}").into());
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let ears = Ears::default();
        let link = Link {
            socket,
            ears: Arc::clone(&ears),
            seen,
            asked: HashMap::new(),
            pulling: HashMap::new(),
            next_id: 1,
            ack_every: (welcome.limits.window as u64 / 4).max(1),
            ack_at: None,
        };
        tokio::spawn(link.run(inbox));
        Ok(Self { commands, ears })
    }

    /// Sends until it is stored, with the same `cm_id` each time; gives where.
    ///
    /// # Errors
    /// When it is refused for good or the connection is lost.
    pub(crate) async fn send(&self, draft: &Draft) -> Result<Seq> {
        for _ in 0..TRIES_MAX {
            match self.ask(ClientFrame::Send(draft.clone())).await? {
                Ok(ServerFrame::Sent { seq, .. }) => return Ok(seq),
                Ok(frame) => return Err(format!("a send answered by {}", frame.name()).into()),
                Err(failure) => again(failure).await?,
            }
        }
        Err("refused too often".into())
    }

    /// Calls a method.
    ///
    /// # Errors
    /// When it is refused or the connection is lost.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let req = ClientFrame::Req {
            id: RequestId::Int(0),
            method: method.to_owned(),
            params,
            key: None,
        };
        match self.ask(req).await? {
            Ok(ServerFrame::Res { value, .. }) => Ok(value),
            Ok(frame) => Err(format!("{method} answered by {}", frame.name()).into()),
            Err(failure) => Err(format!("{method}: {}", failure.message).into()),
        }
    }

    /// Reads a page after a place.
    ///
    /// # Errors
    /// When it is refused for good or the connection is lost.
    pub(crate) async fn pull(&self, conv: &ConversationId, after: Seq) -> Result<Page> {
        for _ in 0..TRIES_MAX {
            match self.ask(pull(0, conv, after)).await? {
                Ok(ServerFrame::Page(page)) => return Ok(page),
                Ok(frame) => return Err(format!("a pull answered by {}", frame.name()).into()),
                Err(failure) => again(failure).await?,
            }
        }
        Err("refused too often".into())
    }

    /// How far a conversation has been heard.
    pub(crate) fn heard(&self, conv: &ConversationId) -> Seq {
        lock(&self.ears).get(conv).map_or(Seq(0), |ear| ear.last)
    }

    /// Takes what was heard of a conversation.
    pub(crate) fn take_ear(&self, conv: &ConversationId) -> Ear {
        lock(&self.ears).remove(conv).unwrap_or_default()
    }

    async fn ask(&self, frame: ClientFrame) -> Result<std::result::Result<ServerFrame, Failure>> {
        let (answer, answered) = oneshot::channel();
        let lost = "the connection is lost";
        self.commands
            .send((frame, answer))
            .await
            .map_err(|_| lost)?;
        Ok(timeout(PATIENCE, answered).await?.map_err(|_| lost)?)
    }
}

/// What an answer belongs to.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Asked {
    Send(String),
    Request(i64),
}

/// The inner half of a connection, in its task.
struct Link {
    socket: WebSocketStream<TcpStream>,
    ears: Ears,
    seen: Arc<Readings>,
    asked: HashMap<Asked, Answer>,
    /// Pulls of its own, to come back from `behind`.
    pulling: HashMap<i64, ConversationId>,
    next_id: i64,
    ack_every: u64,
    ack_at: Option<Instant>,
}

impl Link {
    async fn run(mut self, mut inbox: mpsc::Receiver<(ClientFrame, Answer)>) {
        loop {
            let ack_at = self.ack_at;
            let tick = async {
                match ack_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                came = self.socket.next() => match came {
                    Some(Ok(Message::Text(text))) => self.on_text(&text).await,
                    Some(Ok(Message::Close(frame))) => Err(format!("closed: {frame:?}").into()),
                    Some(Err(error)) => Err(error.into()),
                    None => Err("the server is gone".into()),
                    Some(Ok(_)) => Ok(()),
                },
                command = inbox.recv() => match command {
                    Some((frame, answer)) => self.on_command(frame, answer).await,
                    None => {
                        // Nobody is left to hear how it ends.
                        let _ = self.socket.close(None).await;
                        return;
                    }
                },
                () = tick => self.ack(1).await,
            };
            if let Err(error) = done {
                eprintln!("a connection ends: {error}");
                return;
            }
        }
    }

    async fn on_command(&mut self, mut frame: ClientFrame, answer: Answer) -> Result<()> {
        let asked = match &mut frame {
            ClientFrame::Send(draft) => Asked::Send(draft.cm_id.as_str().to_owned()),
            ClientFrame::Req { id, .. } | ClientFrame::Pull(Pull { id, .. }) => {
                self.next_id += 1;
                *id = RequestId::Int(self.next_id);
                Asked::Request(self.next_id)
            }
            other => return Err(format!("nobody answers {}", other.name()).into()),
        };
        self.asked.insert(asked, answer);
        Ok(self.socket.send(message(&frame)).await?)
    }

    async fn on_text(&mut self, text: &Utf8Bytes) -> Result<()> {
        let mark = bytes_mark(text.as_bytes());
        if let Some((conv, seq)) = self.seen.get(mark) {
            return self.on_entry(mark, &conv, seq).await;
        }
        match decode_server(Codec::Json, text.as_bytes())? {
            ServerFrame::Entry(entry) => {
                self.seen.put(mark, &entry.conv, entry.seq);
                self.on_entry(mark, &entry.conv, entry.seq).await
            }
            ServerFrame::Behind { conv, .. } => {
                let after = {
                    let mut ears = lock(&self.ears);
                    let ear = ears.entry(conv.clone()).or_default();
                    ear.behind += 1;
                    ear.last
                };
                self.catch_up(conv, after).await
            }
            ServerFrame::Page(page) => self.on_page(page).await,
            frame => {
                self.answer(frame);
                Ok(())
            }
        }
    }

    async fn on_entry(&mut self, mark: u64, conv: &ConversationId, seq: Seq) -> Result<()> {
        let unacked = {
            let mut ears = lock(&self.ears);
            if !ears.contains_key(conv) {
                ears.insert(conv.clone(), Ear::default());
            }
            let Some(ear) = ears.get_mut(conv) else {
                return Ok(());
            };
            ear.marks.push(mark);
            ear.last = ear.last.max(seq);
            ear.last.0 - ear.acked.0
        };
        if unacked >= self.ack_every {
            return self.ack(self.ack_every).await;
        }
        self.ack_at
            .get_or_insert_with(|| Instant::now() + ACK_AFTER);
        Ok(())
    }

    /// Acknowledges the conversations of which at least so many entries came since the last time.
    async fn ack(&mut self, at_least: u64) -> Result<()> {
        let mut due = Vec::new();
        for (conv, ear) in lock(&self.ears).iter_mut() {
            if ear.last.0 - ear.acked.0 >= at_least {
                ear.acked = ear.last;
                due.push((conv.clone(), ear.last));
            }
        }
        for (conv, seq) in due {
            let ack = ClientFrame::Ack(ReadMark { conv, seq });
            self.socket.feed(message(&ack)).await?;
        }
        if at_least == 1 {
            self.ack_at = None;
        }
        Ok(self.socket.flush().await?)
    }

    async fn catch_up(&mut self, conv: ConversationId, after: Seq) -> Result<()> {
        self.next_id += 1;
        let frame = pull(self.next_id, &conv, after);
        self.pulling.insert(self.next_id, conv);
        Ok(self.socket.send(message(&frame)).await?)
    }

    async fn on_page(&mut self, page: Page) -> Result<()> {
        let own = match &page.id {
            RequestId::Int(id) => self.pulling.remove(id),
            RequestId::Text(_) => None,
        };
        let Some(conv) = own else {
            self.answer(ServerFrame::Page(page));
            return Ok(());
        };
        for entry in &page.entries {
            self.on_entry(entry_mark(entry), &conv, entry.seq).await?;
        }
        match page.entries.last() {
            Some(last) if page.more => self.catch_up(conv, last.seq).await,
            _ => Ok(()),
        }
    }

    fn answer(&mut self, frame: ServerFrame) {
        let (asked, answer) = match frame {
            ServerFrame::Sent { ref cm_id, .. } => {
                (Asked::Send(cm_id.as_str().to_owned()), Ok(frame))
            }
            ServerFrame::Page(Page {
                id: RequestId::Int(id),
                ..
            })
            | ServerFrame::Res {
                id: RequestId::Int(id),
                ..
            } => (Asked::Request(id), Ok(frame)),
            ServerFrame::Err(err) => match (err.cm_id, err.id) {
                (Some(cm_id), _) => (Asked::Send(cm_id.as_str().to_owned()), Err(err.failure)),
                (None, Some(RequestId::Int(id))) => (Asked::Request(id), Err(err.failure)),
                _ => return,
            },
            _ => return,
        };
        if let Some(waiting) = self.asked.remove(&asked) {
            // Who asked may have lost patience.
            let _ = waiting.send(answer);
        }
    }
}

fn pull(id: i64, conv: &ConversationId, after: Seq) -> ClientFrame {
    ClientFrame::Pull(Pull {
        id: RequestId::Int(id),
        conv: conv.clone(),
        range: PullRange::After(after),
        limit: imkit::core::frame::Limits::PAGE_ENTRIES_MAX,
    })
}

/// Waits as long as a refusal says, or gives up if it is final.
async fn again(failure: Failure) -> Result<()> {
    let Some(ms) = failure.retry_after_ms else {
        return Err(format!("refused: {}", failure.message).into());
    };
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(())
}

fn message(frame: &ClientFrame) -> Message {
    let bytes = encode_client(Codec::Json, frame);
    // What the codec writes is UTF-8.
    Utf8Bytes::try_from(bytes).map_or_else(|_| Message::text(""), Message::Text)
}

fn lock(ears: &Ears) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Ear>> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}
