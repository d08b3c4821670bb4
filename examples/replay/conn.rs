//! The handle of a user's connection: ask, and take what was heard.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use imkit::core::frame::{ClientFrame, Failure, Page, RequestId, ServerFrame};
use imkit::core::model::{ConversationId, Draft, Seq, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::Result;
use crate::dial::{Dial, Over};
use crate::ear::{Ear, Readings};
use crate::link::{Command, Ears, Link, lock, pull};

/// Commands that wait for a connection.
const COMMANDS: usize = 64;
/// How long a server may take to answer, with the time that it may be away.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a retryable refusal is tried again.
const TRIES_MAX: u32 = 100;

/// A connection. Dropping it closes it, too, but nobody waits for that.
#[derive(Debug)]
pub(crate) struct Conn {
    commands: mpsc::Sender<Command>,
    ears: Ears,
    seen: Arc<Readings>,
    /// Why the connection ended for good.
    end: Arc<OnceLock<String>>,
}

impl Conn {
    /// Connects, says hello, and listens from then on. A connection that is lost later is made
    /// again. `patiently`: the server was there before, and is waited for.
    ///
    /// # Errors
    /// When the server can't be reached or does not welcome.
    pub(crate) async fn open(
        dial: Dial,
        patiently: bool,
        seen: Arc<Readings>,
        remade: Arc<AtomicU64>,
    ) -> Result<Self, Over> {
        let opened = match dial.connect().await {
            Err(over) if patiently => dial.reconnect(over).await?,
            opened => opened?,
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let link = Link::new(dial, opened, Arc::clone(&seen), remade);
        let (ears, end) = (link.ears(), Arc::default());
        tokio::spawn(link.run(inbox, Arc::clone(&end)));
        Ok(Self {
            commands,
            ears,
            seen,
            end,
        })
    }

    /// Sends until it is stored, with the same `cm_id` each time; gives where.
    ///
    /// # Errors
    /// When it is refused for good or the connection is lost for good.
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

    /// Calls a method; the key makes asking again harmless.
    ///
    /// # Errors
    /// When it is refused for good or the connection is lost for good.
    pub(crate) async fn call(&self, method: &str, params: Value, key: String) -> Result<Value> {
        let req = ClientFrame::Req {
            id: RequestId::Int(0),
            method: method.to_owned(),
            params,
            key: Some(key),
        };
        for _ in 0..TRIES_MAX {
            match self.ask(req.clone()).await? {
                Ok(ServerFrame::Res { value, .. }) => return Ok(value),
                Ok(frame) => return Err(format!("{method} answered by {}", frame.name()).into()),
                Err(failure) => again(failure).await?,
            }
        }
        Err("refused too often".into())
    }

    /// Reads a page after a place.
    ///
    /// # Errors
    /// When it is refused for good or the connection is lost for good.
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

    /// A conversation has begun: what a lost connection missed of it is read.
    pub(crate) async fn expect(&self, conv: &ConversationId) -> Result<()> {
        let sent = self.commands.send(Command::Expect(conv.clone())).await;
        sent.map_err(|_| self.lost().into())
    }

    /// How far a conversation has been heard.
    ///
    /// # Errors
    /// When the connection is lost for good.
    pub(crate) fn heard(&self, conv: &ConversationId) -> Result<Seq> {
        if let Some(why) = self.end.get() {
            return Err(why.as_str().into());
        }
        let room = self.seen.room(conv);
        Ok(lock(&self.ears).get(&room).map_or(Seq(0), |ear| ear.last))
    }

    /// Takes what was heard of a conversation.
    pub(crate) fn take_ear(&self, conv: &ConversationId) -> Ear {
        let room = self.seen.room(conv);
        lock(&self.ears).remove(&room).unwrap_or_default()
    }

    /// Says goodbye, and comes back when the connection is gone.
    pub(crate) async fn close(&self) {
        let (closed, is_closed) = oneshot::channel();
        if self.commands.send(Command::Close(closed)).await.is_ok() {
            // Its task may have ended by itself.
            let _ = is_closed.await;
        }
    }

    async fn ask(&self, frame: ClientFrame) -> Result<std::result::Result<ServerFrame, Failure>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(Command::Ask(frame, answer)).await;
        sent.map_err(|_| self.lost())?;
        Ok(timeout(PATIENCE, answered)
            .await
            .map_err(|_| "no answer in two minutes")?
            .map_err(|_| self.lost())?)
    }

    fn lost(&self) -> String {
        let why = self.end.get().map(String::as_str);
        why.unwrap_or("the connection is closed").to_owned()
    }
}

/// Waits as long as a refusal says, or gives up if it is final.
async fn again(failure: Failure) -> Result<()> {
    let Some(ms) = failure.retry_after_ms else {
        return Err(format!("refused: {}", failure.message).into());
    };
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(())
}
