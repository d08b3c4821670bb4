//! A connection between a client and a node: two pipes with a temper.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::pipe::Pipe;

/// Frames that a client may write ahead; more than its machines ever do.
const UP_CAPACITY: usize = 4_096;
/// One frame in so many is late by far.
const SPIKE_ONE_IN: u32 = 60;

/// What a client sends.
#[derive(Debug)]
pub(crate) enum Up {
    /// A frame.
    Frame(Bytes),
    /// The answer to a transport's ping.
    Pong,
}

/// What a node sends.
#[derive(Debug)]
pub(crate) enum Down {
    /// A frame.
    Frame(Bytes),
    /// The transport's own ping.
    Ping,
    /// A close code.
    Close(u16),
}

/// How late frames are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lag {
    /// At least, in milliseconds.
    pub(crate) base_ms: u64,
    /// At most so much more.
    pub(crate) jitter_ms: u64,
    /// Of few frames, at most so much more; 0 for none.
    pub(crate) spike_ms: u64,
}

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Its number in the run.
    pub(crate) id: u64,
    /// Which node.
    pub(crate) node: usize,
    pub(crate) up: Pipe<Up>,
    pub(crate) down: Pipe<Down>,
    lag: Mutex<(Lag, fastrand::Rng)>,
}

impl Wire {
    pub(crate) fn new(id: u64, node: usize, capacity: usize, lag: Lag, rng: fastrand::Rng) -> Self {
        Self {
            id,
            node,
            up: Pipe::new(UP_CAPACITY),
            down: Pipe::new(capacity),
            lag: Mutex::new((lag, rng)),
        }
    }

    pub(crate) fn send_up(&self, item: Up) {
        self.up.send(item, self.latency());
    }

    pub(crate) fn send_down(&self, item: Down) {
        self.down.send(item, self.latency());
    }

    /// The client goes.
    pub(crate) fn leave_client(&self) {
        self.up.close();
        self.down.abandon();
    }

    /// The node goes.
    pub(crate) fn leave_node(&self) {
        self.down.close();
        self.up.abandon();
    }

    /// What is on its way is lost, and both ends see it.
    pub(crate) fn cut(&self) {
        self.up.cut();
        self.down.cut();
    }

    /// Nothing passes, and no end sees it.
    pub(crate) fn hold(&self, held: bool) {
        self.up.hold(held);
        self.down.hold(held);
    }

    /// From now on frames are in time.
    pub(crate) fn calm(&self) {
        let mut lag = self.lag.lock();
        lag.0.jitter_ms = lag.0.jitter_ms.min(5);
        lag.0.spike_ms = 0;
    }

    fn latency(&self) -> Duration {
        let mut lag = self.lag.lock();
        let (lag, rng) = &mut *lag;
        let mut ms = lag.base_ms + rng.u64(0..=lag.jitter_ms);
        if lag.spike_ms > 0 && rng.u32(0..SPIKE_ONE_IN) == 0 {
            ms += rng.u64(0..=lag.spike_ms);
        }
        Duration::from_millis(ms)
    }
}
