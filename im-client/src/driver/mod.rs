//! The one task of a client: it drives the machines over the socket, the state file and the
//! application's channels.
//!
//! Each turn waits for one thing, gives it to the machines, and then settles: hand out events,
//! collect frames, make durable what must be, write. It never waits for the application or for the
//! socket to take something, so it always reads.

mod hand_out;
mod link;
mod sends;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::frame::{ClientFrame, ReadMark, ServerFrame};
use im_core::machine::{Inbox, Outbox, PendingDraft};
use im_core::model::{ConversationId, Seq, Value};
use tokio::sync::{mpsc, oneshot};

use self::hand_out::HandOut;
use self::link::{Happened, Link, Reconnect, Up};
use self::sends::Sends;
use crate::builder::Config;
use crate::client::{Command, SendCommand};
use crate::error::{ConnectError, StateError, Stopped};
use crate::event::{Event, Shared};
use crate::requests::Requests;
use crate::socket::{self, Received, Socket};
use crate::state::{Restored, StateFile};

/// The most frames that are read before the machines' answers are written.
const READS_MAX: usize = 64;
/// Cursors are written so much after the first of them moved.
const SAVE_AFTER: Duration = Duration::from_millis(100);
/// The most conversations whose read mark waits, and whose last one is told again after a lost
/// connection.
const READ_MARKS_MAX: usize = 256;
/// The most conversations in which the user is typing.
const TYPING_MAX: usize = 16;

/// The driver's ends of the application's channels.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) sends: mpsc::Receiver<SendCommand>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<(u64, Event)>,
    pub(crate) shared: Arc<Shared>,
    /// Told how the first connection went; a client whose first one fails is stopped then.
    pub(crate) first: Option<oneshot::Sender<Result<(), ConnectError>>>,
}

/// See the [module](self).
pub(crate) struct Driver {
    config: Arc<Config>,
    outbox: Outbox,
    inbox: Inbox,
    requests: Requests,
    link: Link,
    reconnect: Reconnect,
    state: Option<StateFile>,
    save_at: Option<Instant>,
    sends: Sends,
    hand_out: HandOut,
    commands: mpsc::Receiver<Command>,
    clients_gone: bool,
    shared: Arc<Shared>,
    first: Option<oneshot::Sender<Result<(), ConnectError>>>,
    reads: BTreeMap<ConversationId, Seq>,
    /// Those told last on this connection.
    reads_told: VecDeque<(ConversationId, Seq)>,
    typing: VecDeque<ConversationId>,
    closed: Option<oneshot::Sender<()>>,
    /// The writer is full.
    is_stuck: bool,
}

/// What a turn waits for.
enum Input {
    Link(Happened),
    Send(SendCommand),
    Command(Option<Command>),
    /// Room, time, or the application's progress: settling is all there is to do.
    Wake,
    EventsGone,
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        state: Option<StateFile>,
        restored: Restored,
        ends: Ends,
    ) -> Self {
        let now = now();
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut outbox = Outbox::new(now, config.outbox, rng.u64(..));
        let mut inbox = Inbox::new(now, config.inbox, rng.u64(..));
        let hand_out = HandOut::new(
            ends.events,
            Arc::clone(&ends.shared),
            restored.since.clone(),
            state.is_some(),
        );
        outbox.restore(restored.pending);
        inbox.restore(restored.since, restored.cursors);
        Self {
            config: Arc::new(config),
            outbox,
            inbox,
            requests: Requests::default(),
            link: Link::Down { until: now },
            reconnect: Reconnect::new(now, rng),
            state,
            save_at: None,
            sends: Sends::new(ends.sends),
            hand_out,
            commands: ends.commands,
            clients_gone: false,
            shared: ends.shared,
            first: ends.first,
            reads: BTreeMap::new(),
            reads_told: VecDeque::new(),
            typing: VecDeque::new(),
            closed: None,
            is_stuck: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let stopped = loop {
            if let Err(stopped) = self.turn().await {
                break stopped;
            }
        };
        tracing::debug!(%stopped, "the client stops");
        let _ = self.shared.stopped.set(stopped);
        if let Err(error) = self.save(true).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last state is lost"
            );
        }
        if let Link::Up(up) = self.link {
            up.socket.close().await;
        }
        // The file is free for another client before anybody hears that this one is closed.
        drop(self.state);
        if let Some(closed) = self.closed {
            let _ = closed.send(());
        }
    }

    async fn turn(&mut self) -> Result<(), Stopped> {
        self.settle().await?;
        match self.wait().await {
            Input::Link(Happened::Opened(opened)) => self.on_opened(*opened),
            Input::Link(Happened::Received(received)) => self.on_received(received),
            Input::Link(Happened::Renewed(renewed)) => {
                if let Some(up) = self.link.up() {
                    up.handle_renewed(now(), renewed);
                }
                Ok(())
            }
            Input::Send(send) => {
                self.on_send(send);
                Ok(())
            }
            Input::Command(command) => self.on_command(command),
            Input::Wake => Ok(()),
            Input::EventsGone => Err(Stopped::Closed),
        }
    }

    async fn wait(&mut self) -> Input {
        let until = self.poll_timeout();
        let sleep = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let stuck = self.link.up().filter(|_| self.is_stuck);
        let room = stuck.map(|up| up.socket.has_room());
        let room = async {
            match room {
                Some(room) => room.await,
                None => std::future::pending().await,
            }
        };
        let takes_commands = !self.clients_gone && !self.requests.is_full();
        tokio::select! {
            happened = self.link.next() => Input::Link(happened),
            send = self.sends.next() => Input::Send(send),
            command = self.commands.recv(), if takes_commands => Input::Command(command),
            () = self.hand_out.has_room(), if self.hand_out.is_blocked => Input::Wake,
            () = self.hand_out.taken(), if self.state.is_some() => Input::Wake,
            () = self.hand_out.closed(), if self.clients_gone => Input::EventsGone,
            () = room => Input::Wake,
            () = sleep => Input::Wake,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let outbox = self.outbox.poll_timeout().map(|(at, _)| at);
        let inbox = self.inbox.poll_timeout().map(|(at, _)| at);
        let requests = self.requests.poll_timeout();
        let all = [
            outbox,
            inbox,
            requests,
            self.link.poll_timeout(),
            self.save_at,
        ];
        all.into_iter().flatten().min()
    }

    fn on_opened(&mut self, opened: Result<Socket, ConnectError>) -> Result<(), Stopped> {
        let now = now();
        match opened {
            Ok(socket) => {
                self.check_user(&socket)?;
                self.reconnect.handle_welcome();
                let welcome = &socket.welcome;
                self.outbox.handle_connected(now, welcome);
                self.inbox.handle_connected(now, welcome);
                self.hand_out
                    .status(Event::Connected(Box::new(welcome.clone())));
                let up = Up::new(now, socket, !self.config.token.is_fixed());
                self.link = Link::Up(Box::new(up));
                if let Some(first) = self.first.take() {
                    let _ = first.send(Ok(()));
                }
                Ok(())
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no connection");
                if let Some(first) = self.first.take() {
                    let _ = first.send(Err(error));
                    return Err(Stopped::NotConnected);
                }
                let wait = self.reconnect.handle_failed(now, &self.config, &error)?;
                self.link = Link::Down { until: now + wait };
                Ok(())
            }
        }
    }

    /// A state file is of one user: another's token would mix two users' conversations.
    fn check_user(&mut self, socket: &Socket) -> Result<(), Stopped> {
        let user = &socket.welcome.user;
        match &mut self.state {
            Some(state) if state.user().is_none() => state.set_user(user.clone()),
            Some(state) if state.user() != Some(user) => return Err(Stopped::OtherUser),
            _ => {}
        }
        Ok(())
    }

    /// Something came: what came with it is read too.
    fn on_received(&mut self, first: Received) -> Result<(), Stopped> {
        let now = now();
        let mut next = Some(first);
        let mut read = 0;
        while let (Some(received), Some(up)) = (next, self.link.up()) {
            up.handle_alive(now);
            match received {
                Received::Frame(frame) => self.on_frame(now, frame),
                Received::Alive => {}
                Received::Unreadable(what) => tracing::warn!(what, "a frame can't be read"),
                Received::Closed { code, reason } => return self.on_ended(code, &reason),
            }
            read += 1;
            let up = self.link.up().filter(|_| read < READS_MAX);
            next = up.and_then(|up| up.socket.received());
        }
        Ok(())
    }

    fn on_frame(&mut self, now: Instant, frame: ServerFrame) {
        self.outbox.handle_frame(now, &frame);
        self.inbox.handle_frame(now, &frame);
        self.requests.handle_frame(&frame);
        if let Some(up) = self.link.up() {
            up.handle_frame(now, &frame);
        }
        match frame {
            ServerFrame::Receipt {
                conv,
                user,
                delivered,
                read,
            } => self.hand_out.receipt(conv, user, delivered, read),
            ServerFrame::Presence { user, state, at } => {
                self.hand_out.tell_now(Event::Presence { user, state, at });
            }
            ServerFrame::Typing { conv, user } => {
                self.hand_out.tell_now(Event::Typing { conv, user });
            }
            ServerFrame::Event(event) if event.get("kind") != Some(&Value::from("conv")) => {
                self.hand_out.tell_now(Event::Other(event));
            }
            _ => {}
        }
    }

    /// The connection is over.
    fn on_ended(&mut self, code: u16, reason: &str) -> Result<(), Stopped> {
        let now = now();
        tracing::debug!(code, reason, "the connection ended");
        self.outbox.handle_disconnected(now);
        self.inbox.handle_disconnected(now);
        self.requests.handle_disconnected();
        for (conv, seq) in self.reads_told.drain(..) {
            let told = self.reads.entry(conv).or_default();
            *told = seq.max(*told);
        }
        self.typing.clear();
        self.hand_out.status(Event::Disconnected);
        let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down { until: now }) else {
            return Ok(());
        };
        let wait = self
            .reconnect
            .handle_ended(now, &self.config, &up, code, reason)?;
        self.link = Link::Down { until: now + wait };
        Ok(())
    }

    fn on_command(&mut self, command: Option<Command>) -> Result<(), Stopped> {
        match command {
            Some(Command::Ask(question, answered)) => {
                self.requests.handle_ask(now(), question, answered);
            }
            Some(Command::Read(conv, seq)) => {
                let read = self.reads.entry(conv).or_default();
                *read = seq.max(*read);
                if self.reads.len() > READ_MARKS_MAX {
                    self.reads.pop_first();
                }
            }
            Some(Command::Typing(conv)) => {
                if self.link.up().is_some() && self.typing.len() < TYPING_MAX {
                    self.typing.push_back(conv);
                }
            }
            Some(Command::Close(closed)) => {
                self.closed = Some(closed);
                return Err(Stopped::Closed);
            }
            None if self.hand_out.is_closed() => return Err(Stopped::Closed),
            None => self.clients_gone = true,
        }
        Ok(())
    }

    /// Brings everything to where only the world can go on.
    async fn settle(&mut self) -> Result<(), Stopped> {
        let now = now();
        self.outbox.handle_timeout(now);
        self.inbox.handle_timeout(now);
        self.requests.handle_timeout(now);
        self.link.open_if_due(now, &self.config);
        let config = Arc::clone(&self.config);
        if self
            .link
            .up()
            .is_some_and(|up| up.handle_timeout(now, &config))
        {
            self.on_ended(4408, "no pong")?;
        }
        self.on_parked();
        self.hand_out.hand_out(&mut self.inbox);
        let messages = self.collect();
        self.on_outcomes();
        self.hand_out.hand_out(&mut self.inbox);
        self.save(false)
            .await
            .map_err(|error| Stopped::State(Arc::new(error)))?;
        self.sends.accept();
        if let Some(up) = self.link.up() {
            for message in messages {
                up.socket.send(message);
            }
        }
        Ok(())
    }

    /// The frames that may leave now, as many as the writer takes.
    fn collect(&mut self) -> Vec<socket::Outgoing> {
        let mut messages = Vec::new();
        self.is_stuck = false;
        let room = self.link.up().map_or(0, |up| up.socket.room());
        while messages.len() < room {
            let Some(frame) = self.next_frame() else {
                return messages;
            };
            let Some(up) = self.link.up() else {
                return messages;
            };
            let message = up.socket.encode(&frame);
            let bytes_max = up.socket.welcome.limits.frame_bytes;
            if let ClientFrame::Send(draft) = &frame {
                if socket::size(&message) > bytes_max {
                    let failure = sends::too_large(bytes_max);
                    self.outbox.refuse(&draft.cm_id, failure);
                    continue;
                }
                let first_try = self.outbox.first_try(&draft.cm_id);
                if let (Some(state), Some(at)) = (&mut self.state, first_try) {
                    state.tried(&draft.cm_id, at);
                }
            }
            messages.push(message);
        }
        self.is_stuck = self.link.up().is_some();
        messages
    }

    fn next_frame(&mut self) -> Option<ClientFrame> {
        if let Some(frame) = self.link.up()?.control.pop_front() {
            return Some(frame);
        }
        let frame = self
            .inbox
            .poll_transmit()
            .or_else(|| self.outbox.poll_transmit())
            .or_else(|| self.requests.poll_transmit());
        if frame.is_some() {
            return frame;
        }
        if let Some((conv, seq)) = self.reads.pop_first() {
            self.reads_told.push_back((conv.clone(), seq));
            if self.reads_told.len() > READ_MARKS_MAX {
                self.reads_told.pop_front();
            }
            return Some(ClientFrame::Read(ReadMark { conv, seq }));
        }
        let conv = self.typing.pop_front()?;
        Some(ClientFrame::Typing { conv })
    }

    /// Writes the state file if it must be written now, or, `at_end`, if there is anything.
    async fn save(&mut self, at_end: bool) -> Result<(), StateError> {
        let now = now();
        let Some(state) = &mut self.state else {
            return Ok(());
        };
        self.hand_out.settle(state);
        let (is_dirty, must_sync) = state.dirty();
        if is_dirty {
            self.save_at.get_or_insert(now + SAVE_AFTER);
        }
        let is_due = self.save_at.is_some_and(|at| at <= now);
        if !(is_dirty && (must_sync || is_due || at_end)) {
            return Ok(());
        }
        self.save_at = None;
        let pending: Option<Vec<_>> = state.is_large().then(|| {
            let pending = self.outbox.pending();
            pending
                .map(|(draft, first_try)| PendingDraft {
                    draft: draft.clone(),
                    first_try,
                })
                .collect()
        });
        let Some(mut state) = self.state.take() else {
            return Ok(());
        };
        let path = state.path().to_owned();
        let written = tokio::task::spawn_blocking(move || {
            let written = match pending {
                Some(pending) => state.compact(&pending),
                None => state.write(),
            };
            (state, written)
        });
        match written.await {
            Ok((state, written)) => {
                self.state = Some(state);
                written
            }
            Err(error) => Err(StateError::Io {
                path,
                source: std::io::Error::other(error),
            }),
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
