//! A client: the machines that every client has, a network, a disk, and an application.

mod calls;
mod disk;
mod line;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{ClientFrame, Codec, Hello, ServerFrame, encode_client};
use im_core::machine::{Backoff, Inbox, InboxConfig, Outbox, OutboxConfig, OutboxEvent};
use im_core::model::{CmId, DeviceId, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use self::calls::Calls;
use self::disk::Disk;
use self::line::Line;
use super::id;
use super::net::{Down, Up};
use super::oracle::{Event, Report};
use super::plan::{Device, To};
use super::planted::Planted;
use super::world::{World, device_id, user_id};

/// What a client is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    Say {
        to: To,
        count: usize,
    },
    Read,
    Call {
        method: &'static str,
        what: Call,
    },
    StrayAcks,
    Cut,
    HalfOpen(Instant),
    StopReading(Instant),
    StopTaking(Instant),
    Crash(Duration),
    /// Every fault is over.
    Calm,
    Report(oneshot::Sender<Report>),
}

/// A method's parameters, in the numbers of the plan.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Create {
        group: usize,
        members: Vec<usize>,
        hides: bool,
    },
    Users {
        group: usize,
        user: usize,
    },
    Group {
        group: usize,
    },
    Mute {
        group: usize,
        user: usize,
        ms: u64,
    },
    Promote {
        group: usize,
        user: usize,
    },
}

/// See the [module](self).
pub(crate) struct Client {
    world: Arc<World>,
    number: usize,
    user: UserId,
    device: DeviceId,
    codec: Codec,
    spec: Device,
    rng: fastrand::Rng,
    outbox: Outbox,
    inbox: Inbox,
    calls: Calls,
    disk: Disk,
    line: Line,
    /// When a connection was lost that the server has not closed.
    ghost: Option<Instant>,
    /// Tries to connect in a row that failed.
    failures: u32,
    /// Held until then; later if so.
    half_open: Option<Instant>,
    reads_from: Option<Instant>,
    takes_from: Option<Instant>,
    said: u64,
    /// How often each send has left: for one planted bug.
    left: BTreeMap<CmId, u32>,
    commands: mpsc::UnboundedReceiver<Command>,
}

/// How long a client waits for `welcome`.
const WELCOME: Duration = Duration::from_secs(8);
/// How long a client waits for `pong`.
const PONG: Duration = Duration::from_secs(10);
/// How long a connection that the server did not close can replace a later one.
const GHOST_MAX: Duration = Duration::from_secs(120);
/// The waits between tries to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

impl Client {
    pub(crate) fn new(
        world: Arc<World>,
        number: usize,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let spec = world.plan.clients[number];
        let seed = world.plan.seed.wrapping_add(1_000 + number as u64);
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Instant::now().into_std();
        Self {
            user: user_id(spec.user),
            device: device_id(number),
            codec: spec.codec,
            outbox: Outbox::new(now, outbox_config(spec), rng.u64(..)),
            inbox: Inbox::new(now, InboxConfig::default(), rng.u64(..)),
            calls: Calls::new(number, rng.fork()),
            disk: Disk::default(),
            line: Line::Away {
                until: Instant::now() + Duration::from_millis(rng.u64(0..300)),
            },
            world,
            number,
            spec,
            rng,
            ghost: None,
            failures: 0,
            half_open: None,
            reads_from: None,
            takes_from: None,
            said: 0,
            left: BTreeMap::new(),
            commands,
        }
    }

    /// Runs until nobody commands any more.
    pub(crate) async fn run(mut self) {
        loop {
            self.step();
            let wire = self.line.wire();
            let reads = self.reads_from.is_none() && wire.is_some();
            let due = self.next_time();
            let receive = async {
                match &wire {
                    Some(wire) => wire.down.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                item = receive, if reads => self.on_item(item),
                () = sleep_until(due) => self.on_time(),
            }
        }
    }

    /// Takes everything out of the machines.
    fn step(&mut self) {
        let now = Instant::now();
        self.outbox.handle_timeout(now.into_std());
        self.inbox.handle_timeout(now.into_std());
        self.calls.handle_timeout(now);
        self.outbox.assert_invariants();
        self.inbox.assert_invariants();
        let mut frames = Vec::new();
        while let Some(frame) = self.outbox.poll_transmit() {
            frames.push(self.bent(frame));
        }
        if !frames.is_empty() {
            // What leaves must be durable before it does.
            self.disk.save_sends(&self.outbox);
        }
        self.send_all(frames);
        while let Some(event) = self.outbox.poll_event() {
            self.on_answer(&event);
        }
        if self.takes_from.is_none() {
            while let Some(event) = self.inbox.poll_event() {
                let client = self.number;
                self.world
                    .trace(|| format!("c{client} {}", line::brief(&event)));
                let event = &event;
                self.world.observe(&Event::Inbox { client, event });
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = self.inbox.poll_transmit() {
            frames.push(frame);
        }
        while let Some(frame) = self.calls.poll_transmit(now) {
            frames.push(frame);
        }
        self.send_all(frames);
        self.outbox.assert_invariants();
        self.inbox.assert_invariants();
        self.disk
            .save_some(&mut self.rng, &self.outbox, &self.inbox);
    }

    fn on_answer(&mut self, event: &OutboxEvent) {
        if matches!(event, OutboxEvent::Failed { .. }) {
            // What the application hears was refused must not be sent again after a crash.
            self.disk.save_sends(&self.outbox);
        }
        let client = self.number;
        self.world.trace(|| format!("c{client} {event:?}"));
        self.world.observe(&Event::Outbox { client, event });
    }

    /// A frame as a client with a planted bug sends it.
    fn bent(&mut self, mut frame: ClientFrame) -> ClientFrame {
        if self.world.planted != Some(Planted::ResendRenamed) {
            return frame;
        }
        if let ClientFrame::Send(draft) = &mut frame {
            let left = self.left.entry(draft.cm_id.clone()).or_default();
            *left += 1;
            if *left > 1 {
                draft.cm_id = id(CmId::new(format!("{}~{left}", draft.cm_id)));
            }
        }
        frame
    }

    fn send_all(&self, frames: Vec<ClientFrame>) {
        let Some(wire) = self.line.wire() else { return };
        for frame in frames {
            wire.send_up(Up::Frame(encode_client(self.codec, &frame)));
        }
    }

    /// When something is due.
    fn next_time(&self) -> Instant {
        let machines = [self.outbox.poll_timeout(), self.inbox.poll_timeout()];
        let machines = machines.into_iter().flatten();
        let own = [
            self.calls.poll_timeout(),
            self.half_open,
            self.reads_from,
            self.takes_from,
            Some(self.line.due()),
        ];
        machines
            .map(|(at, _)| Instant::from_std(at))
            .chain(own.into_iter().flatten())
            .min()
            .unwrap_or_else(Instant::now)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let is_due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(&self.half_open) {
            self.end_half_open();
        }
        if is_due(&self.reads_from) {
            self.reads_from = None;
        }
        if is_due(&self.takes_from) {
            self.takes_from = None;
        }
        self.on_line_due(now);
    }

    fn hello(&self) -> ClientFrame {
        ClientFrame::Hello(Hello {
            token: Some(self.user.as_str().to_owned()),
            device: self.device.clone(),
            client: None,
            since: None,
        })
    }

    fn on_frame(&mut self, now: Instant, frame: ServerFrame) {
        let frame = unbent(frame);
        let at = now.into_std();
        if let ServerFrame::Welcome(welcome) = &frame {
            self.on_welcome(now, welcome);
        }
        self.outbox.handle_frame(at, &frame);
        self.inbox.handle_frame(at, &frame);
        if let Some((group, conv)) = self.calls.handle_frame(now, &frame) {
            self.world.groups.lock().insert(group, conv);
        }
    }
}

/// Answers to a renamed send are answers to the send.
fn unbent(mut frame: ServerFrame) -> ServerFrame {
    let cm_id = match &mut frame {
        ServerFrame::Sent { cm_id, .. } => Some(cm_id),
        ServerFrame::Err(err) => err.cm_id.as_mut(),
        _ => None,
    };
    if let Some(cm_id) = cm_id
        && let Some((first, _)) = cm_id.as_str().split_once('~')
    {
        *cm_id = id(CmId::new(first));
    }
    frame
}

fn outbox_config(spec: Device) -> OutboxConfig {
    OutboxConfig {
        per_target: spec.per_target,
        answer: Backoff::new(Duration::from_secs(3), Duration::from_secs(20)),
        ..OutboxConfig::default()
    }
}

impl Client {
    fn on_item(&mut self, item: Option<Down>) {
        let now = Instant::now();
        match item {
            None => self.on_broken(now),
            Some(Down::Ping) => {
                self.line.heard(now);
                if let Some(wire) = self.line.wire() {
                    wire.send_up(Up::Pong);
                }
            }
            Some(Down::Close(code)) => self.on_close(now, code),
            Some(Down::Frame(bytes)) => {
                self.line.heard(now);
                match im_core::frame::decode_server(self.codec, &bytes) {
                    Ok(frame) => self.on_frame(now, frame),
                    Err(error) => self.world.fail("frames can be read", &format!("{error:?}")),
                }
            }
        }
    }
}
