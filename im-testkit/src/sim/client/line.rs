//! A client's connection: dialling, welcome, signs of life, and dialling again.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{ClientFrame, CloseCode, Welcome};
use im_core::machine::InboxEvent;
use tokio::time::Instant;

use super::{Client, GHOST_MAX, PONG, RECONNECT, WELCOME};
use crate::sim::net::Wire;

/// How a client is connected.
#[derive(Debug)]
pub(super) enum Line {
    /// Not, until then.
    Away { until: Instant },
    /// It said hello.
    Greeting { wire: Arc<Wire>, by: Instant },
    /// It was welcomed.
    Open {
        wire: Arc<Wire>,
        heartbeat: Duration,
        heard: Instant,
        /// When a ping was sent that has no pong.
        pinged: Option<Instant>,
    },
}

impl Line {
    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        match self {
            Self::Away { .. } => None,
            Self::Greeting { wire, .. } | Self::Open { wire, .. } => Some(Arc::clone(wire)),
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    pub(super) fn due(&self) -> Instant {
        match self {
            Self::Away { until } => *until,
            Self::Greeting { by, .. } => *by,
            Self::Open {
                heartbeat,
                heard,
                pinged,
                ..
            } => pinged.map_or(*heard + *heartbeat, |at| at + PONG),
        }
    }

    /// Something came.
    pub(super) const fn heard(&mut self, now: Instant) {
        if let Self::Open { heard, pinged, .. } = self {
            *heard = now;
            *pinged = None;
        }
    }
}

impl Client {
    pub(super) fn on_line_due(&mut self, now: Instant) {
        if self.line.due() > now {
            return;
        }
        match &mut self.line {
            Line::Away { .. } => self.dial(now),
            Line::Greeting { .. } => self.give_up(now),
            Line::Open {
                pinged: Some(_), ..
            } => self.give_up(now),
            Line::Open { pinged, .. } => {
                *pinged = Some(now);
                self.send_all(vec![ClientFrame::Ping { id: None }]);
            }
        }
    }

    fn dial(&mut self, now: Instant) {
        let node = self.rng.usize(0..self.world.plan.nodes);
        let wire = self
            .world
            .dial(self.number, node, self.codec, self.spec.capacity);
        let Some(wire) = wire else {
            return self.again(now);
        };
        self.line = Line::Greeting {
            wire,
            by: now + WELCOME,
        };
        self.send_all(vec![self.hello()]);
    }

    pub(super) fn on_welcome(&mut self, now: Instant, welcome: &Welcome) {
        let Line::Greeting { wire, .. } = &self.line else {
            return;
        };
        self.line = Line::Open {
            wire: Arc::clone(wire),
            heartbeat: Duration::from_millis(welcome.heartbeat_ms),
            heard: now,
            pinged: None,
        };
        self.failures = 0;
        self.outbox.handle_connected(now.into_std(), welcome);
        self.inbox.handle_connected(now.into_std(), welcome);
        self.calls.handle_connected();
    }

    /// The client ends a connection that seems dead.
    pub(super) fn give_up(&mut self, now: Instant) {
        let number = self.number;
        self.world
            .trace(|| format!("c{number} gives its connection up"));
        self.on_broken(now);
    }

    pub(super) fn on_close(&mut self, now: Instant, code: u16) {
        let number = self.number;
        if code != CloseCode::Replaced.as_u16() {
            return self.on_lost(now);
        }
        let ghost = self.ghost.take();
        if ghost.is_none_or(|lost| now - lost > GHOST_MAX) {
            // Each device is one client here, and this is its newest connection. Of those before,
            // one that the server did not close can be taken for a later one.
            let what = format!("c{number} was told that its device connected later elsewhere");
            self.world
                .fail("only an older connection is replaced", &what);
        }
        self.on_lost(now);
    }

    /// The connection ended without a word of the server, which may find it later than the next.
    pub(super) fn on_broken(&mut self, now: Instant) {
        self.ghost = Some(now);
        self.on_lost(now);
    }

    fn on_lost(&mut self, now: Instant) {
        if let Some(wire) = self.line.wire() {
            wire.leave_client();
            self.world.wires.lock().remove(&wire.id);
        }
        self.half_open = None;
        self.outbox.handle_disconnected(now.into_std());
        self.inbox.handle_disconnected(now.into_std());
        self.calls.handle_disconnected();
        self.again(now);
    }

    fn again(&mut self, now: Instant) {
        let wait = RECONNECT.delay(self.failures, &mut self.rng);
        self.failures += 1;
        self.line = Line::Away { until: now + wait };
    }
}

pub(super) fn brief(event: &InboxEvent) -> String {
    match event {
        InboxEvent::Entry(entry) => format!("is handed {} {}", entry.conv, entry.seq),
        InboxEvent::Conversation(line) => format!("is told of {} {}", line.conv, line.last_seq),
        other => format!("{other:?}"),
    }
}
