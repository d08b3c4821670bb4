//! A broker that lives in the test: silent and cut as it is told.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::To;
use im_link::bus::{Broker, Inbox, Options, Sender, Unsent};
use im_link::{At, ConnectError, Link};
use parking_lot::Mutex;

/// The brokers that there are, by the prefix that leads to them: a bus is made from an URL.
static WORLDS: Mutex<Vec<Weak<World>>> = Mutex::new(Vec::new());

/// A broker.
#[derive(Debug, Default)]
pub(crate) struct World {
    is_silent: AtomicBool,
    /// Which senders are no more: those before it.
    cut: AtomicU64,
    ears: Mutex<Vec<(u64, NodeId, Inbox)>>,
    next: AtomicU64,
    sessions: Arc<()>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A prefix that leads here.
    pub(crate) fn enter(self: &Arc<Self>) -> String {
        let mut worlds = WORLDS.lock();
        worlds.push(Arc::downgrade(self));
        (worlds.len() - 1).to_string()
    }

    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Release);
    }

    pub(crate) fn cut_senders(&self) {
        let next = self.next.load(Ordering::Acquire);
        self.cut.store(next, Ordering::Release);
    }

    pub(crate) fn sessions(&self) -> usize {
        Arc::strong_count(&self.sessions) - 1
    }

    async fn answer(&self) {
        if self.is_silent.load(Ordering::Acquire) {
            pending::<()>().await;
        }
    }

    async fn session(self: &Arc<Self>) -> Session {
        self.answer().await;
        Session {
            world: Arc::clone(self),
            number: self.next.fetch_add(1, Ordering::AcqRel),
            _counted: Arc::clone(&self.sessions),
        }
    }
}

/// A bus on it.
#[derive(Debug)]
pub(crate) struct Made<const CONFIRMS: bool> {
    at: At,
    world: Arc<World>,
}

#[async_trait]
impl<const C: bool> Broker for Made<C> {
    const ORDERED: bool = true;
    const CONFIRMS: bool = C;

    fn parse(_: &str, options: Options) -> Result<Self, ConnectError> {
        let number: usize = options.prefix.parse().unwrap();
        Ok(Self {
            at: At {
                what: "a broker",
                addr: "the test".to_owned(),
            },
            world: WORLDS.lock()[number].upgrade().unwrap(),
        })
    }

    fn at(&self) -> &At {
        &self.at
    }

    async fn sender(&self) -> Result<Box<dyn Sender>, ConnectError> {
        Ok(Box::new(self.world.session().await))
    }

    async fn receiver(&self, node: &NodeId, inbox: Inbox) -> Result<Box<dyn Link>, ConnectError> {
        let session = self.world.session().await;
        let mut ears = self.world.ears.lock();
        ears.push((session.number, node.clone(), inbox));
        drop(ears);
        Ok(Box::new(session))
    }
}

#[derive(Debug)]
struct Session {
    world: Arc<World>,
    number: u64,
    _counted: Arc<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut ears = self.world.ears.lock();
        ears.retain(|(number, _, _)| *number != self.number);
    }
}

impl Session {
    fn is_cut(&self) -> bool {
        let is_ear = self.world.ears.lock().iter().any(|it| it.0 == self.number);
        !is_ear && self.number < self.world.cut.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Link for Session {
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        self.world.answer().await;
        !self.is_cut()
    }
}

#[async_trait]
impl Sender for Session {
    async fn send(&self, to: &To, frame: Bytes) -> Result<(), Unsent> {
        self.world.answer().await;
        if self.is_cut() {
            return Err(Unsent::Lost);
        }
        for (_, node, inbox) in &*self.world.ears.lock() {
            if matches!(to, To::All) || *to == To::Node(node.clone()) {
                inbox.take(&frame);
            }
        }
        Ok(())
    }
}
