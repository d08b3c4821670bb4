//! The task of a connection: reads, acknowledges, pulls when it was left behind, and when the
//! connection is lost makes it again and goes on where it was.
//!
//! A connection that waits for no answer reads only now and then, everything that has come by
//! then. Thousands of them in one process would otherwise cost as much as the server itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use imkit::core::frame::{
    Bye, ClientFrame, Codec, Failure, Limits, Page, Pull, PullRange, ReadMark, RequestId,
    ServerFrame, Welcome, decode_server,
};
use imkit::core::model::{ConversationId, Seq};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use crate::check::{bytes_mark, entry_mark};
use crate::dial::{Dial, Over, Socket, message};
use crate::ear::{Ear, Heard, Readings, Room};

/// How long a connection that has read leaves the next bytes where they are. Then it acknowledges
/// at once: the protocol wants that within 100 ms.
const DOZE: Duration = Duration::from_millis(75);
/// When one that waits for an answer, and so reads all the time, acknowledges.
const ACK_AFTER: Duration = Duration::from_millis(50);
/// Messages read before others have their turn.
const READS_MAX: usize = 256;
/// How long the server's goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(crate) type Ears = Arc<Mutex<BTreeMap<Room, Ear>>>;
pub(crate) type Answer = oneshot::Sender<Result<ServerFrame, Failure>>;

/// What a connection is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A frame that will be answered; its id, if it has one, is the connection's to choose.
    Ask(ClientFrame, Answer),
    /// Say goodbye.
    Close(oneshot::Sender<()>),
    /// A conversation has begun.
    Expect(ConversationId),
}

/// What an answer belongs to.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Asked {
    Send(String),
    Request(i64),
}

/// Why the talk is over.
enum End {
    Lost(Over),
    Closed(Option<oneshot::Sender<()>>),
}

/// See the [module](self).
pub(crate) struct Link {
    dial: Dial,
    socket: Socket,
    ears: Ears,
    seen: Arc<Readings>,
    asked: HashMap<Asked, (ClientFrame, Answer)>,
    /// Pulls of its own.
    pulls: HashMap<i64, Room>,
    next_id: i64,
    ack_every: u64,
    ack_at: Option<Instant>,
    doze_until: Option<Instant>,
    bye: Option<Bye>,
    /// How often connections were lost and made again, of all together.
    remade: Arc<AtomicU64>,
    was_remade: bool,
}

impl Link {
    pub(crate) fn new(
        dial: Dial,
        (socket, welcome): (Socket, Welcome),
        seen: Arc<Readings>,
        remade: Arc<AtomicU64>,
    ) -> Self {
        Self {
            dial,
            socket,
            ears: Ears::default(),
            seen,
            asked: HashMap::new(),
            pulls: HashMap::new(),
            next_id: 1,
            ack_every: (welcome.limits.window as u64 / 4).max(1),
            ack_at: None,
            doze_until: None,
            bye: None,
            remade,
            was_remade: false,
        }
    }

    pub(crate) fn ears(&self) -> Ears {
        Arc::clone(&self.ears)
    }

    /// Runs until it is closed, or until there is no way on: then says why.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        end: Arc<OnceLock<String>>,
    ) {
        loop {
            let mut lost = match self.talk(&mut inbox).await {
                End::Lost(over) => over,
                End::Closed(closed) => {
                    self.say_goodbye().await;
                    // Who wanted it closed may not wait.
                    let _ = closed.map(|closed| closed.send(()));
                    return;
                }
            };
            // Bounded by the tries of each reconnect: a server that takes nobody is gone.
            while let Err(over) = self.come_back(lost).await {
                if over.is_final() {
                    // Set once, here.
                    let _ = end.set(format!("{}: {over}", self.dial.user));
                    return;
                }
                lost = over;
            }
        }
    }

    async fn come_back(&mut self, lost: Over) -> Result<(), Over> {
        let (socket, _) = self.dial.reconnect(lost).await?;
        self.resume(socket).await
    }

    async fn talk(&mut self, inbox: &mut mpsc::Receiver<Command>) -> End {
        loop {
            let is_awake = self.doze_until.is_none() || self.is_waiting();
            let until = [self.ack_at, self.doze_until].into_iter().flatten().min();
            let tick = async {
                match until {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let done = tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Ask(frame, answer)) => self.on_ask(frame, answer).await,
                    Some(Command::Expect(conv)) => self.on_expect(&conv).await,
                    Some(Command::Close(closed)) => return End::Closed(Some(closed)),
                    None => return End::Closed(None),
                },
                came = self.socket.next(), if is_awake => self.on_came(came).await,
                () = tick => self.on_tick().await,
            };
            if let Err(over) = done {
                return End::Lost(over);
            }
        }
    }

    async fn say_goodbye(&mut self) {
        // What the server still says is of no use to anybody.
        let _ = timeout(GOODBYE, async {
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }

    /// Everything that was unanswered is asked again, and every conversation read from where it
    /// was heard last.
    async fn resume(&mut self, socket: Socket) -> Result<(), Over> {
        self.remade.fetch_add(1, Ordering::Relaxed);
        self.was_remade = true;
        self.socket = socket;
        (self.bye, self.ack_at, self.doze_until) = (None, None, None);
        self.pulls.clear();
        let mut holes = Vec::new();
        for (room, ear) in lock(&self.ears).iter_mut() {
            holes.push((*room, ear.on_resumed()));
        }
        for (room, after) in holes {
            self.pull(room, after).await?;
        }
        let again: Vec<_> = self
            .asked
            .values()
            .map(|(frame, _)| message(frame))
            .collect();
        for message in again {
            self.socket.feed(message).await.map_err(Over::lost)?;
        }
        self.socket.flush().await.map_err(Over::lost)
    }

    async fn on_ask(&mut self, mut frame: ClientFrame, answer: Answer) -> Result<(), Over> {
        let asked = match &mut frame {
            ClientFrame::Req { id, .. } | ClientFrame::Pull(Pull { id, .. }) => {
                self.next_id += 1;
                *id = RequestId::Int(self.next_id);
                Asked::Request(self.next_id)
            }
            ClientFrame::Send(draft) => Asked::Send(draft.cm_id.as_str().to_owned()),
            // Nobody answers these: who waits is told so by the answer's end.
            _ => return Ok(()),
        };
        let message = message(&frame);
        self.asked.insert(asked, (frame, answer));
        self.socket.send(message).await.map_err(Over::lost)
    }

    async fn on_expect(&mut self, conv: &ConversationId) -> Result<(), Over> {
        let room = self.seen.room(conv);
        let pull = {
            let mut ears = lock(&self.ears);
            let ear = ears.entry(room).or_default();
            let missed = self.was_remade && ear.on_begun_unseen();
            missed.then(|| ear.on_resumed())
        };
        match pull {
            Some(after) => self.pull(room, after).await,
            None => Ok(()),
        }
    }

    /// A message came: what came with it is read, too.
    async fn on_came(&mut self, first: Came) -> Result<(), Over> {
        let mut next = Some(first);
        let mut read = 0;
        while let Some(came) = next {
            match came {
                Some(Ok(Message::Text(text))) => self.on_text(&text).await?,
                Some(Ok(Message::Close(frame))) => {
                    return Err(Over::closed(frame.as_ref(), self.bye));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Over::lost(error)),
                None => return Err(Over::closed(None, self.bye)),
            }
            read += 1;
            // What is taken from the socket must be dealt with: none is taken beyond the bound.
            next = if read < READS_MAX {
                self.socket.next().now_or_never()
            } else {
                None
            };
        }
        self.doze_until = Some(Instant::now() + DOZE);
        if self.ack_at.is_some() && !self.is_waiting() {
            return self.ack(1).await;
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || !self.pulls.is_empty()
    }

    async fn on_tick(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        self.doze_until = self.doze_until.filter(|at| *at > now);
        if self.ack_at.is_some_and(|at| at <= now) {
            self.ack(1).await?;
        }
        Ok(())
    }

    async fn on_text(&mut self, text: &Utf8Bytes) -> Result<(), Over> {
        let mark = bytes_mark(text.as_bytes());
        if let Some(heard) = self.seen.get(mark) {
            return self.on_entry(heard).await;
        }
        let frame = decode_server(Codec::Json, text.as_bytes());
        match frame.map_err(|error| Over::lost(format!("{error}: {text}")))? {
            ServerFrame::Entry(entry) => {
                let heard = self.seen.put(mark, &entry.conv, entry.seq);
                self.on_entry(heard).await
            }
            ServerFrame::Behind { conv, .. } => {
                let room = self.seen.room(&conv);
                let after = {
                    let mut ears = lock(&self.ears);
                    let ear = ears.entry(room).or_default();
                    ear.behind += 1;
                    ear.on_behind()
                };
                match after {
                    Some(after) => self.pull(room, after).await,
                    None => Ok(()),
                }
            }
            ServerFrame::Page(page) => self.on_page(page).await,
            ServerFrame::Bye(bye) => {
                self.bye = Some(bye);
                Ok(())
            }
            frame => self.answer(frame),
        }
    }

    async fn on_entry(&mut self, heard: Heard) -> Result<(), Over> {
        let unacked = {
            let mut ears = lock(&self.ears);
            let ear = ears.entry(heard.room).or_default();
            ear.on_pushed(heard);
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
    async fn ack(&mut self, at_least: u64) -> Result<(), Over> {
        let mut due = Vec::new();
        for (room, ear) in lock(&self.ears).iter_mut() {
            if ear.last.0 - ear.acked.0 >= at_least {
                ear.acked = ear.last;
                due.extend(self.seen.conv(*room).map(|conv| (conv, ear.last)));
            }
        }
        for (conv, seq) in due {
            let ack = message(&ClientFrame::Ack(ReadMark { conv, seq }));
            self.socket.feed(ack).await.map_err(Over::lost)?;
        }
        if at_least == 1 {
            self.ack_at = None;
        }
        self.socket.flush().await.map_err(Over::lost)
    }

    async fn pull(&mut self, room: Room, after: Seq) -> Result<(), Over> {
        let Some(conv) = self.seen.conv(room) else {
            return Ok(());
        };
        self.next_id += 1;
        self.pulls.insert(self.next_id, room);
        let frame = pull(self.next_id, &conv, after);
        self.socket.send(message(&frame)).await.map_err(Over::lost)
    }

    async fn on_page(&mut self, page: Page) -> Result<(), Over> {
        let own = match &page.id {
            RequestId::Int(id) => self.pulls.remove(id),
            RequestId::Text(_) => None,
        };
        let Some(room) = own else {
            return self.answer(ServerFrame::Page(page));
        };
        let heard = page.entries.iter().map(|entry| Heard {
            mark: entry_mark(entry),
            room,
            seq: entry.seq,
        });
        let heard: Vec<_> = heard.collect();
        let after = {
            let mut ears = lock(&self.ears);
            ears.entry(room).or_default().on_page(heard, page.more)
        };
        self.ack(1).await?;
        match after {
            Some(after) => self.pull(room, after).await,
            None => Ok(()),
        }
    }

    fn answer(&mut self, frame: ServerFrame) -> Result<(), Over> {
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
                (None, Some(RequestId::Int(id))) if self.pulls.contains_key(&id) => {
                    // Coming back pulls again.
                    return Err(Over::lost(format!("a pull was refused: {}", err.failure)));
                }
                (None, Some(RequestId::Int(id))) => (Asked::Request(id), Err(err.failure)),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        if let Some((_, waiting)) = self.asked.remove(&asked) {
            // Who asked may have lost patience.
            let _ = waiting.send(answer);
        }
        Ok(())
    }
}

type Came = Option<Result<Message, tungstenite::Error>>;

/// A pull of as much as a page holds.
pub(crate) fn pull(id: i64, conv: &ConversationId, after: Seq) -> ClientFrame {
    ClientFrame::Pull(Pull {
        id: RequestId::Int(id),
        conv: conv.clone(),
        range: PullRange::After(after),
        limit: Limits::PAGE_ENTRIES_MAX,
    })
}

pub(crate) fn lock(ears: &Ears) -> MutexGuard<'_, BTreeMap<Room, Ear>> {
    ears.lock().unwrap_or_else(PoisonError::into_inner)
}
