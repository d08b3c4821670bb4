//! Putting a node together, and starting it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use im_core::model::ConversationId;
use im_core::port::{
    Authenticator, Bus, Clock, Directory, Hooks, Registry, Search, Store, next_start,
};
use im_moderation::mask::Masker;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Inner, Lanes, Node, StartError};
use crate::appender::{Appender, Partition, start_lane};
use crate::clock::TokioClock;
use crate::hub::Hub;
use crate::ids::Ids;
use crate::index::Searcher;
use crate::local::{LocalBus, LocalRegistry};
use crate::media::{MediaPorts, Parts};
use crate::moderation::Moderation;
use crate::rates::Buckets;
use crate::rooms::Rooms;
use crate::service::{CustomTypes, HookLocks};
use crate::settings::Settings;
use crate::watchers::Watchers;

/// Builds a [`Node`]: a store and an authenticator are needed, the rest has defaults.
#[derive(Debug)]
pub struct NodeBuilder {
    settings: Settings,
    store: Arc<dyn Store>,
    auth: Arc<dyn Authenticator>,
    bus: Arc<dyn Bus>,
    registry: Arc<dyn Registry>,
    hooks: Option<Arc<dyn Hooks>>,
    directory: Option<Arc<dyn Directory>>,
    search: Option<Arc<dyn Search>>,
    custom: CustomTypes,
    media: Option<MediaPorts>,
    clock: Arc<dyn Clock>,
    partition: Partition,
    masker: Masker,
}

impl NodeBuilder {
    pub(super) fn new(store: Arc<dyn Store>, auth: Arc<dyn Authenticator>) -> Self {
        Self {
            settings: Settings::default(),
            store,
            auth,
            bus: Arc::new(LocalBus::new()),
            registry: Arc::new(LocalRegistry::new()),
            hooks: None,
            directory: None,
            search: None,
            custom: CustomTypes::default(),
            media: None,
            clock: Arc::new(TokioClock),
            partition: Partition::none(),
            masker: Masker::default(),
        }
    }

    /// Settings other than the defaults.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Divides the lanes by the store's own parts, such as its databases: so many, and which one a
    /// conversation is in, always the same. Sends to one part don't wait for another, if there are
    /// as many [`Settings::lanes`] at least.
    #[must_use]
    pub fn lanes_by(
        mut self,
        count: usize,
        of: impl Fn(&ConversationId) -> usize + Send + Sync + 'static,
    ) -> Self {
        let of = Arc::new(of);
        self.partition = Partition { count, of };
        self
    }

    /// A bus to other nodes, and the registry that they share.
    #[must_use]
    pub fn cluster(mut self, bus: Arc<dyn Bus>, registry: Arc<dyn Registry>) -> Self {
        self.bus = bus;
        self.registry = registry;
        self
    }

    /// The embedder's word in every message.
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// The embedder's own kinds of messages. Without it `custom` bodies are of any type.
    #[must_use]
    pub fn custom(mut self, types: CustomTypes) -> Self {
        self.custom = types;
        self
    }

    /// The embedder's own users. Without it every user id is good.
    #[must_use]
    pub fn directory(mut self, directory: Arc<dyn Directory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Keeps uploads: pictures, voices, files. Without it, blobs in messages are the app's own ids.
    #[must_use]
    pub fn media(mut self, ports: MediaPorts) -> Self {
        self.media = Some(ports);
        self
    }

    /// What is personal in messages that the staff reads, other than what [`Masker`] finds by
    /// default.
    #[must_use]
    pub fn masker(mut self, masker: Masker) -> Self {
        self.masker = masker;
        self
    }

    /// Full-text search over what the store holds: the store's own. Without it nothing is indexed,
    /// and `messages.search` is `unsupported`.
    #[must_use]
    pub fn search(mut self, search: Arc<dyn Search>) -> Self {
        self.search = Some(search);
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the node on the current tokio runtime.
    ///
    /// # Errors
    /// When a setting makes no sense, or the store or the registry does not answer.
    pub async fn start(self) -> Result<Node, StartError> {
        self.settings.check()?;
        let start = next_start(&*self.store).await?;
        let node = &self.settings.node;
        let lease = self.registry.enter(node).await;
        let lease = lease.map_err(|error| StartError::entering(node, error))?;
        let (appender, lanes) =
            Appender::new(self.settings.lanes, self.settings.lane_max, self.partition);
        let inner = Arc::new(Inner {
            hub: Hub::new(self.settings.limits.sends_per_s),
            key_door: crate::keys::Door::default(),
            buckets: Buckets::new(self.settings.rates, self.settings.limits.sends_per_s),
            settings: self.settings,
            store: self.store,
            bus: self.bus,
            registry: self.registry,
            auth: self.auth,
            hooks: self.hooks,
            directory: self.directory,
            search: self.search.map(Searcher::new),
            custom: self.custom,
            media: self.media.map(Parts::new),
            clock: self.clock,
            ids: Ids::new(start),
            rooms: Rooms::default(),
            appender,
            watchers: Watchers::default(),
            hints: Arc::default(),
            hook_locks: HookLocks::default(),
            moderation: Moderation::new(start, self.masker),
            cursors: Mutex::default(),
            own_heads: Mutex::default(),
            lease: AtomicU64::new(lease.epoch),
            unregistered: AtomicBool::new(false),
            unremoved: Mutex::default(),
            store_ok: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            lanes_stop: watch::Sender::new(false),
            poke: Arc::default(),
            missed: AtomicBool::new(false),
            unsure: AtomicBool::new(false),
            next_conn: AtomicU64::new(1),
            killed: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let lanes: Vec<_> = lanes
            .into_iter()
            .flat_map(|lane| start_lane(&inner, lane))
            .collect();
        // From here on whatever ends the start ends the lanes.
        let node = Node {
            inner,
            lanes: Arc::new(Lanes(Mutex::new(lanes))),
        };
        if let Err(error) = node.inner.begin(lease.ttl).await {
            node.inner.give_up_lease().await;
            return Err(error.into());
        }
        if let Err(error) = node.inner.begin_upkeep().await {
            // Another start does it, or another node.
            tracing::warn!(%error, "what is kept no longer is not looked for");
        }
        Ok(node)
    }
}
