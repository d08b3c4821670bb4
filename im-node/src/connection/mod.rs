//! A connection, as a transport drives it.
//!
//! The transport gives what it read to [`Connection::handle_frame`] while
//! [`Connection::may_read`], waits for [`Connection::ready`], and writes what
//! [`Connection::drain`] gives it, all of it in one flush. None of these blocks, and everything
//! that the node holds for the connection is bounded.

mod greet;
mod input;
mod send;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use im_core::frame::{CloseCode, Codec};
use im_core::port::Identity;
use parking_lot::Mutex;

use crate::hub::LocalUser;
use crate::link::Link;
use crate::node::Inner;
use crate::outgoing::Output;

/// Sends of one connection that may be unanswered; beyond it the node stops reading.
pub(crate) const SENDS_IN_FLIGHT_MAX: u32 = 1_024;

/// Where a connection is in its life.
#[derive(Debug)]
enum Stage {
    /// It has not said hello.
    New { identity: Option<Identity> },
    /// It has, and is being looked up.
    Greeting,
    /// It is in.
    Open { local: Arc<LocalUser> },
}

/// A connection of a transport; dropping it ends it.
pub struct Connection {
    inner: Arc<Inner>,
    link: Arc<Link>,
    stage: Arc<Mutex<Stage>>,
    bad_frames: u32,
    flood: input::Flood,
    sends: Arc<send::SendQueue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.link.id)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(inner: Arc<Inner>, link: Arc<Link>, identity: Option<Identity>) -> Self {
        inner.hub.add(&link);
        if inner.draining.load(Ordering::Acquire) {
            link.bye(CloseCode::Restart, inner.settings.reconnect_ms);
        }
        let flood = input::Flood::new(inner.clock.now());
        Self {
            inner,
            link,
            stage: Arc::new(Mutex::new(Stage::New { identity })),
            bad_frames: 0,
            flood,
            sends: Arc::default(),
        }
    }

    /// How its frames are written.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.link.codec
    }

    /// Whether the transport may read on. It may not while the greeting is under way, while too
    /// much is unanswered, or when the end was decided; [`ready`](Self::ready) returns when that
    /// may have changed.
    #[must_use]
    pub fn may_read(&self) -> bool {
        self.link.sends_in_flight.load(Ordering::Acquire) < SENDS_IN_FLIGHT_MAX
            && !matches!(*self.stage.lock(), Stage::Greeting)
            && !self.link.is_leaving()
            && !self.link.is_closing()
    }

    /// Any bytes came, also the transport's own pongs.
    pub fn handle_activity(&self) {
        self.link.heard(self.inner.clock.now());
    }

    /// The transport refused a frame (too large, invalid text): close with that code.
    pub fn handle_violation(&self, code: CloseCode) {
        self.link.close(code);
    }

    /// Waits until [`drain`](Self::drain) has something to give, or
    /// [`may_read`](Self::may_read) may have changed. Safe to drop.
    pub async fn ready(&self) {
        self.link.ready().await;
    }

    /// Waits until the transport must stop at once, even in the middle of a write.
    pub async fn aborted(&self) {
        self.link.aborted().await;
    }

    /// Takes what is to be written now. After [`Output::Close`] nothing follows.
    pub fn drain(&self, into: &mut Vec<Output>) {
        self.link.drain(self.now(), into);
    }

    fn now(&self) -> Instant {
        self.inner.clock.now()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.gone();
        self.inner.hub.remove(&self.link);
        self.inner.watchers.forget(self.link.id);
        if self.link.who().is_some() {
            let (inner, link) = (Arc::clone(&self.inner), Arc::clone(&self.link));
            self.inner.spawn(async move { inner.part(&link).await });
        }
    }
}
