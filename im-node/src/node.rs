//! The node: what the shell is made of, how it starts and how it stops.

mod builder;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use self::builder::NodeBuilder;
use async_trait::async_trait;
use im_core::frame::{CloseCode, Codec};
use im_core::model::{ConnectionId, ConversationId, DeviceId, NodeId, UserId};
use im_core::port::{
    Authenticator, Bus, Clock, CursorMove, Directory, Hooks, Identity, PortError, PortErrorKind,
    Registry, Route, Standing, Store,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::appender::Appender;
use crate::connection::Connection;
use crate::hub::Hub;
use crate::ids::Ids;
use crate::index::Searcher;
use crate::link::Link;
use crate::media::Parts;
use crate::moderation::{List, Moderation};
use crate::rates::Buckets;
use crate::rooms::Rooms;
use crate::router::Hints;
use crate::service::{CustomTypes, HookLocks};
use crate::settings::{Settings, SettingsError};
use crate::watchers::Watchers;

/// How often connections are looked at for deadlines.
const TICK: Duration = Duration::from_millis(250);
/// How often a drain looks whose sends have been answered, and who has gone.
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// How long a lane may take to finish when the node stops, beyond the drain.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another node of that name lives, or its lease is not over yet.
    #[error(
        "a node named {0} is there already: each needs a name of its own, and that of one that \
         died is free when its lease is over"
    )]
    NameTaken(NodeId),
    /// A backend did not answer.
    #[error("a backend did not answer")]
    Port(#[from] PortError),
}

impl StartError {
    /// What the registry said to a node that wanted to enter.
    fn entering(node: &NodeId, error: PortError) -> Self {
        match error.kind() {
            PortErrorKind::Fenced => Self::NameTaken(node.clone()),
            _ => Self::Port(error),
        }
    }
}

/// What the parts of a node share.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) auth: Arc<dyn Authenticator>,
    pub(crate) hooks: Option<Arc<dyn Hooks>>,
    pub(crate) directory: Option<Arc<dyn Directory>>,
    pub(crate) search: Option<Searcher>,
    pub(crate) custom: CustomTypes,
    pub(crate) media: Option<Parts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) hub: Hub,
    pub(crate) buckets: Buckets,
    pub(crate) key_door: crate::keys::Door,
    pub(crate) rooms: Rooms,
    pub(crate) appender: Appender,
    pub(crate) watchers: Watchers,
    pub(crate) hints: Arc<Hints>,
    pub(crate) hook_locks: HookLocks,
    pub(crate) moderation: Moderation,
    /// Cursor moves that wait for the next flush.
    pub(crate) cursors: Mutex<BTreeMap<(ConversationId, UserId), CursorMove>>,
    /// Heads of conversations without a room here that this node appended itself.
    pub(crate) own_heads: Mutex<BTreeMap<ConversationId, im_core::model::Seq>>,
    /// The number of the lease; changes when it was lost and taken again.
    pub(crate) lease: AtomicU64,
    /// The registry may not know of every connection.
    pub(crate) unregistered: AtomicBool,
    /// Routes of connections that ended, which the registry did not remove.
    pub(crate) unremoved: Mutex<VecDeque<Route>>,
    /// Whether the last commit succeeded.
    pub(crate) store_ok: AtomicBool,
    pub(crate) draining: AtomicBool,
    pub(crate) lanes_stop: watch::Sender<bool>,
    /// Wakes the sweep.
    pub(crate) poke: Arc<Notify>,
    /// Events may have been missed, and everybody here is told so soon.
    pub(crate) missed: AtomicBool,
    /// It may have been missed that somebody may be watched no longer.
    pub(crate) unsure: AtomicBool,
    next_conn: AtomicU64,
    killed: AtomicBool,
    tasks: Mutex<JoinSet<()>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("node", &self.settings.node)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Runs something that ends with the node at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.killed.load(Ordering::Acquire) {
            return;
        }
        let mut tasks = self.tasks.lock();
        // Forget what has ended, so that the set holds only what runs.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Says `bye` to everybody, spread over half of the drain; to each when the sends that were
    /// read from it have been answered, or after another quarter of the drain.
    async fn say_bye(&self) {
        let links = self.hub.links();
        let pause = (self.settings.drain / 2) / u32::try_from(links.len().max(1)).unwrap_or(1);
        let mut leaving = Vec::new();
        let mut due = Duration::ZERO;
        for link in links {
            link.leave();
            leaving.push(link);
            due += pause;
            if due >= DRAIN_STEP {
                tokio::time::sleep(std::mem::take(&mut due)).await;
                self.let_go(&mut leaving);
            }
        }
        let answered = async {
            while !leaving.is_empty() {
                // Also what was read a moment ago counts.
                tokio::time::sleep(DRAIN_STEP).await;
                self.let_go(&mut leaving);
            }
        };
        if tokio::time::timeout(self.settings.drain / 4, answered)
            .await
            .is_err()
        {
            for link in leaving {
                link.bye(CloseCode::Restart, self.settings.reconnect_ms);
            }
        }
    }

    /// Reads what must be known before anybody is let in, and starts what goes on by itself.
    async fn begin(self: &Arc<Self>, ttl: Duration) -> Result<(), PortError> {
        // After the bus is heard: what changes from then on wakes who reads.
        self.start_router(ttl).await?;
        self.load_words().await?;
        self.load_standings().await?;
        self.spawn(tick(Arc::downgrade(self)));
        self.spawn(crate::cursors::run(Arc::downgrade(self)));
        self.spawn(crate::presence::check_watched(Arc::downgrade(self)));
        for list in [List::Words, List::Standings] {
            self.spawn(crate::moderation::watch(Arc::downgrade(self), list));
        }
        self.spawn(crate::moderation::flush(Arc::downgrade(self)));
        let media = crate::due::MEDIA_TABLES;
        let media = media.into_iter().filter(|_| self.media.is_some());
        for table in crate::due::TABLES.into_iter().chain(media) {
            let every = crate::due::period(table, self.settings.due);
            self.spawn(crate::due::run(Arc::downgrade(self), table, every));
        }
        if self.search.is_some() {
            self.spawn(crate::index::run(Arc::downgrade(self)));
        }
        Ok(())
    }

    async fn give_up_lease(&self) {
        let epoch = self.lease.load(Ordering::Acquire);
        if let Err(error) = self.registry.leave(&self.settings.node, epoch).await {
            tracing::warn!(%error, "could not leave the registry; the lease will end by itself");
        }
    }

    fn let_go(&self, leaving: &mut Vec<Arc<Link>>) {
        leaving.retain(|link| {
            let answered = link.is_answered();
            if answered {
                link.bye(CloseCode::Restart, self.settings.reconnect_ms);
            }
            !answered
        });
    }
}

/// A running node. Clones share it. Stop it with [`shutdown`](Self::shutdown); when the last
/// clone is dropped without, its tasks end where they are.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    lanes: Arc<Lanes>,
}

/// The tasks of the lanes. They hold what the node is made of, so they end with its last handle.
#[derive(Debug)]
struct Lanes(Mutex<Vec<JoinHandle<()>>>);

impl Lanes {
    fn abort(&self) {
        for lane in self.0.lock().drain(..) {
            lane.abort();
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Node {
    /// Begins a node on a store, with those who may connect.
    pub fn builder(store: Arc<dyn Store>, auth: Arc<dyn Authenticator>) -> NodeBuilder {
        NodeBuilder::new(store, auth)
    }

    /// The node's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// A new connection of a transport. `identity` is who the upgrade's own token says, if it
    /// brought one.
    #[must_use]
    pub fn connect(&self, codec: Codec, identity: Option<Identity>) -> Connection {
        let inner = &self.inner;
        let id = ConnectionId(inner.next_conn.fetch_add(1, Ordering::Relaxed));
        let limits = &inner.settings.limits;
        let ack_after = Duration::from_millis(limits.ack_ms);
        let link = Link::new(id, codec, inner.clock.now(), limits.window, ack_after);
        Connection::new(Arc::clone(inner), Arc::new(link), identity)
    }

    /// Checks a token, for transports.
    ///
    /// # Errors
    /// As the [`Authenticator`] says.
    pub async fn authenticate(&self, token: &str) -> Result<Identity, im_core::port::AuthError> {
        self.inner
            .auth
            .authenticate(token, self.inner.clock.timestamp())
            .await
    }

    /// Whether the node takes new work: not while it drains, nor while the last commit failed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.inner.draining.load(Ordering::Acquire) && self.inner.store_ok.load(Ordering::Acquire)
    }

    /// Whether the node drains: new connections are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.hub.len()
    }

    /// A user was banned, or one of their devices revoked: these connections end now, on every node
    /// (`bye`, 4403). That device is pushed to no more, soon. Whether they may come again is the
    /// [`Directory`]'s and the [`Authenticator`]'s to say; tell those first.
    pub fn revoke(&self, user: &UserId, device: Option<&DeviceId>) {
        self.inner.revoke(user, device);
    }

    /// The store was written to beside this node (a transaction of the host program's): those who
    /// are connected get it now, not with the next sweep. Returns at once.
    pub fn notice(&self) {
        self.inner.poke.notify_one();
    }

    /// Ends every task of the node at once, as a crash would: nothing is finished, nobody is told.
    /// For tests.
    pub fn kill(&self) {
        self.inner.draining.store(true, Ordering::Release);
        // What its connections still wanted to do when they are dropped, the dead don't.
        self.inner.killed.store(true, Ordering::Release);
        self.lanes.abort();
        self.inner.tasks.lock().abort_all();
    }

    /// Tells the clients to go (`bye`, spread over half of `settings.drain`, to each after the
    /// answers to what it sent), finishes what was accepted, gives up the lease. Takes at most
    /// `settings.drain` and five seconds.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        if inner.draining.swap(true, Ordering::AcqRel) {
            return;
        }
        inner.say_bye().await;
        let gone = async {
            while inner.hub.len() > 0 {
                tokio::time::sleep(DRAIN_STEP).await;
            }
        };
        // Who has not closed by then is cut off.
        let _ = tokio::time::timeout(inner.settings.drain / 4, gone).await;
        inner.flush_cursors(true);
        // What is counted since is lost, as by a crash, if the store takes longer.
        let _ = tokio::time::timeout(inner.settings.drain / 4, inner.flush_counts()).await;
        inner.lanes_stop.send_replace(true);
        let lanes = std::mem::take(&mut *self.lanes.0.lock());
        let finish = async {
            for lane in lanes {
                // A lane that panicked has nothing left to finish.
                let _ = lane.await;
            }
        };
        if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
            tracing::warn!("the store did not finish in time; its senders will try again");
        }
        inner.hints.flush().await;
        inner.give_up_lease().await;
        inner.tasks.lock().abort_all();
    }
}

/// Who may connect and be told things: what the staff and the host program say together.
#[async_trait]
impl Directory for Node {
    async fn standing(&self, users: &[UserId]) -> Result<Vec<Standing>, PortError> {
        let mut standings = Vec::with_capacity(users.len());
        for user in users {
            standings.push(self.inner.standing(user).await?);
        }
        Ok(standings)
    }
}

async fn tick(inner: std::sync::Weak<Inner>) {
    let mut every = tokio::time::interval(TICK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let (now, at) = (inner.clock.now(), inner.clock.timestamp());
        let links = inner.hub.links();
        metrics::gauge!("im_connections").set(links.len() as f64);
        for link in links {
            link.tick(now, &inner.settings, at);
        }
    }
}
