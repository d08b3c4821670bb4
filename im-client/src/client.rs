//! The application's handle.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use im_core::frame::{Page, PullRange};
use im_core::model::{
    Body, CmId, ConversationId, Draft, Mentions, MessageId, Seq, Target, Timestamp, Value,
};
use tokio::sync::{mpsc, oneshot};

use crate::builder::ClientBuilder;
use crate::error::{RequestError, SendError};
use crate::requests::{Answer, Answered, Question};

/// How many sends, and how many other commands, wait for the driver. Who comes then waits too.
pub(crate) const QUEUE_MAX: usize = 64;

/// A send that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The client's id of it.
    pub cm_id: CmId,
    /// Where.
    pub conv: ConversationId,
    /// Its place.
    pub seq: Seq,
    /// Its own id.
    pub id: MessageId,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// An earlier try had stored it.
    pub dup: bool,
}

pub(crate) type Done = oneshot::Sender<Result<Sent, SendError>>;

/// A send on its way to the outbox.
#[derive(Debug)]
pub(crate) struct SendCommand {
    pub(crate) draft: Draft,
    /// Told when the outbox (and the state file) holds it.
    pub(crate) accepted: oneshot::Sender<Result<(), SendError>>,
    pub(crate) done: Done,
}

/// Everything else.
#[derive(Debug)]
pub(crate) enum Command {
    Ask(Question, Answered),
    Close(oneshot::Sender<()>),
    Read(ConversationId, Seq),
    Typing(ConversationId),
}

/// A client: connects, reconnects, sends, asks. Cheap to clone; all clones are one client. It ends
/// with [`close`](Self::close), or when every clone and its [`Events`](crate::Events) are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) sends: mpsc::Sender<SendCommand>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Client {
    /// Sets up a client of the server mounted at `url`: `ws://host:port`, or with a path. Of a
    /// cluster, the other nodes are named with [`or_at`](ClientBuilder::or_at).
    pub fn builder(url: impl AsRef<str>) -> ClientBuilder {
        ClientBuilder::new(url.as_ref())
    }

    /// Sends a body, under a new random `cm_id`, and waits until it is stored.
    ///
    /// The client goes on trying also when this future is dropped; what becomes of the send is
    /// then an [`Event::Send`](crate::Event::Send). Sends to one target leave in the order in
    /// which their futures are first polled; to have more than one on its way, see
    /// [`queue`](Self::queue).
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, to: Target, body: Body) -> Result<Sent, SendError> {
        self.send_draft(Draft {
            cm_id: new_cm_id(),
            to,
            body,
            reply_to: None,
            mentions: Mentions::None,
            expires_ms: None,
        })
        .await
    }

    /// Sends a draft under its own `cm_id`, and waits until it is stored. A draft that is pending
    /// already is awaited, not sent twice.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_draft(&self, draft: Draft) -> Result<Sent, SendError> {
        self.queue(draft).await?.await
    }

    /// Hands a draft to the outbox, which holds it from then on (with a state file also over a
    /// crash), and gives the future of its outcome. Waits while the outbox is full.
    ///
    /// # Errors
    /// When it is not taken; see [`SendError`].
    pub async fn queue(&self, draft: Draft) -> Result<Sending, SendError> {
        let cm_id = draft.cm_id.clone();
        let (accepted, is_accepted) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let command = SendCommand {
            draft,
            accepted,
            done,
        };
        self.sends
            .send(command)
            .await
            .map_err(|_| SendError::Closed)?;
        is_accepted.await.map_err(|_| SendError::Closed)??;
        Ok(Sending { cm_id, outcome })
    }

    /// Calls a method (`groups.create` …). It is asked once: when the connection is lost before
    /// the answer, the outcome is unknown.
    ///
    /// What a method sets up for a connection (`presence.watch`) ends with it: ask again at
    /// [`Event::Connected`](crate::Event::Connected).
    ///
    /// # Errors
    /// See [`RequestError`]; at the latest after 30 s.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, RequestError> {
        self.call(method, params, None).await
    }

    /// Calls a method under a key of the caller's own (1–64 characters), which makes a retry
    /// harmless: it is asked again after a lost connection, and the same key gets the same answer
    /// for 24 hours.
    ///
    /// # Errors
    /// See [`RequestError`]; at the latest after 30 s.
    pub async fn request_once(
        &self,
        method: &str,
        params: Value,
        key: impl Into<String>,
    ) -> Result<Value, RequestError> {
        self.call(method, params, Some(key.into())).await
    }

    /// Reads a page of a log, at most `limit` (1–200) entries, beside what the client pulls by
    /// itself. Nothing of it is handed out as an event.
    ///
    /// # Errors
    /// See [`RequestError`]; at the latest after 30 s.
    pub async fn pull(
        &self,
        conv: ConversationId,
        range: PullRange,
        limit: usize,
    ) -> Result<Page, RequestError> {
        match self.ask(Question::Pull { conv, range, limit }).await? {
            Answer::Page(page) => Ok(page),
            Answer::Value(_) => Err(RequestError::Disconnected),
        }
    }

    /// Says that the user has read up to `seq`. Told at the next chance, the last one of a
    /// conversation only; lost when the client stops before.
    pub async fn read(&self, conv: ConversationId, seq: Seq) {
        let _ = self.commands.send(Command::Read(conv, seq)).await;
    }

    /// Says that the user is typing: now or never.
    pub fn typing(&self, conv: ConversationId) {
        let _ = self.commands.try_send(Command::Typing(conv));
    }

    /// Stops the client: pending sends are kept in the state file, if there is one, and end with
    /// [`SendError::Closed`].
    pub async fn close(&self) {
        let (closed, is_closed) = oneshot::channel();
        if self.commands.send(Command::Close(closed)).await.is_ok() {
            let _ = is_closed.await;
        }
    }

    async fn call(
        &self,
        method: &str,
        params: Value,
        key: Option<String>,
    ) -> Result<Value, RequestError> {
        let question = Question::Call {
            method: method.to_owned(),
            params,
            key,
        };
        match self.ask(question).await? {
            Answer::Value(value) => Ok(value),
            Answer::Page(_) => Err(RequestError::Disconnected),
        }
    }

    async fn ask(&self, question: Question) -> Result<Answer, RequestError> {
        let (answered, answer) = oneshot::channel();
        let command = Command::Ask(question, answered);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| RequestError::Closed)?;
        answer.await.map_err(|_| RequestError::Closed)?
    }
}

/// The future of a send that the outbox holds. Dropping it does not take the send back.
#[derive(Debug)]
pub struct Sending {
    cm_id: CmId,
    outcome: oneshot::Receiver<Result<Sent, SendError>>,
}

impl Sending {
    /// Which send.
    #[must_use]
    pub const fn cm_id(&self) -> &CmId {
        &self.cm_id
    }
}

impl Future for Sending {
    type Output = Result<Sent, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(cx));
        Poll::Ready(outcome.unwrap_or(Err(SendError::Closed)))
    }
}

/// A new id, larger than those before: a store then knows without a look-up that it is new.
pub(crate) fn new_cm_id() -> CmId {
    match CmId::new(uuid::Uuid::now_v7().to_string()) {
        Ok(cm_id) => cm_id,
        Err(_) => unreachable!("36 characters are an id"),
    }
}
