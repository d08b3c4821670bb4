//! Virtual time, and a wire that may be cut.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use im_core::frame::{ClientFrame, Limits, ServerFrame, Welcome};
use im_core::model::{DeviceId, Timestamp, UserId};

/// The server's clock when virtual time begins.
const SERVER_START_MS: i64 = 1_700_000_000_000;

/// What happens at some moment.
#[derive(Debug)]
pub(crate) enum Event<T> {
    /// A frame arrives at the server, on the connection of that number.
    ToServer(u64, ClientFrame),
    /// A frame arrives at the client.
    ToClient(u64, ServerFrame),
    /// Whatever the test planned.
    Own(T),
}

/// Time, chance and the wire.
#[derive(Debug)]
pub(crate) struct World<T> {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) rng: fastrand::Rng,
    /// The number of the connection that is up.
    pub(crate) connection: Option<u64>,
    connections: u64,
    events: BTreeMap<(Instant, u64), Event<T>>,
    count: u64,
    /// When the last frame of each direction arrives: a connection keeps their order.
    last: [Instant; 2],
    /// Whether faults happen.
    pub(crate) chaos: bool,
}

impl<T> World<T> {
    pub(crate) fn new(seed: u64) -> Self {
        let start = crate::start();
        Self {
            start,
            now: start,
            rng: fastrand::Rng::with_seed(seed),
            connection: None,
            connections: 0,
            events: BTreeMap::new(),
            count: 0,
            last: [start; 2],
            chaos: true,
        }
    }

    /// Whether a fault of that rate happens now.
    pub(crate) fn fault(&mut self, percent: u8) -> bool {
        self.chaos && self.rng.u8(0..100) < percent
    }

    pub(crate) fn ms(&mut self, ms: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(ms))
    }

    pub(crate) fn plan(&mut self, after: Duration, event: T) {
        self.push(self.now + after, Event::Own(event));
    }

    pub(crate) fn connect(&mut self) {
        self.connections += 1;
        self.connection = Some(self.connections);
        self.last = [self.now; 2];
    }

    /// Sends to the server on the connection that is up.
    pub(crate) fn send_server(&mut self, frame: ClientFrame) {
        if let Some(connection) = self.connection {
            let at = self.arrival(0);
            self.push(at, Event::ToServer(connection, frame));
        }
    }

    /// Sends to the client on a connection, in order.
    pub(crate) fn send_client(&mut self, connection: u64, frame: ServerFrame) {
        let at = self.arrival(1);
        self.push(at, Event::ToClient(connection, frame));
    }

    /// Sends to the client, later than what is sent after it.
    pub(crate) fn send_client_late(&mut self, connection: u64, frame: ServerFrame) {
        let at = self.now + self.ms(50..3_000);
        self.push(at, Event::ToClient(connection, frame));
    }

    /// Loses what was sent late, if it is such a frame.
    pub(crate) fn lose_late(&mut self, is_such: impl Fn(&ServerFrame) -> bool) {
        let last = self.last[1];
        self.events.retain(|(at, _), event| match event {
            Event::ToClient(_, frame) => *at <= last || !is_such(frame),
            _ => true,
        });
    }

    /// The next event up to `until`; time passes. Frames of a connection that is gone are lost,
    /// except that a server may still get what was on its way: its log is not told of the cut.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Option<Event<T>> {
        loop {
            let (at, _) = *self.events.first_key_value()?.0;
            if until.is_some_and(|until| until < at) {
                return None;
            }
            let (_, event) = self.events.pop_first()?;
            self.now = self.now.max(at);
            match &event {
                Event::ToClient(connection, _) if self.connection != Some(*connection) => {}
                Event::ToServer(connection, _)
                    if self.connection != Some(*connection) && self.rng.bool() =>
                {
                    // Of what was on its way a first part arrives, not any part.
                    self.drop_to_server(*connection);
                }
                _ => return Some(event),
            }
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }

    /// The server's time.
    pub(crate) fn timestamp(&self) -> Timestamp {
        let passed = self.now.duration_since(self.start).as_millis();
        Timestamp(SERVER_START_MS + passed as i64)
    }

    pub(crate) fn welcome(&self, limits: Limits) -> Welcome {
        Welcome {
            user: UserId::new("ann").unwrap(),
            device: DeviceId::new("phone").unwrap(),
            conn: "1".to_owned(),
            node: "n1".to_owned(),
            now: self.timestamp(),
            expires_at: self.timestamp(),
            heartbeat_ms: 30_000,
            limits,
        }
    }

    fn arrival(&mut self, direction: usize) -> Instant {
        let at = (self.now + self.ms(1..200)).max(self.last[direction]);
        self.last[direction] = at;
        at
    }

    fn push(&mut self, at: Instant, event: Event<T>) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    fn drop_to_server(&mut self, gone: u64) {
        self.events
            .retain(|_, event| !matches!(event, Event::ToServer(on, _) if *on == gone));
    }
}
