//! Who is connected to this node.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_core::frame::{CloseCode, ServerFrame};
use im_core::machine::Bucket;
use im_core::model::{ConnectionId, ConversationId, DeviceId, Seq, UserId};
use parking_lot::Mutex;

use crate::link::{Link, RoomRef};
use crate::outgoing::OutEntry;
use crate::rooms::LiveRoom;

/// Of so many conversations it is kept that the user left.
const PARTED_MAX: usize = 64;

/// A user who is connected here, with every device.
#[derive(Debug)]
pub(crate) struct LocalUser {
    pub(crate) id: UserId,
    links: Mutex<Vec<Arc<Link>>>,
    /// The rooms that hold this user.
    pub(crate) rooms: Mutex<BTreeMap<ConversationId, Arc<LiveRoom>>>,
    /// What they know that they left, so that late news of it don't make them a member.
    parted: Mutex<Parted>,
    forgotten: AtomicBool,
    /// Greeting and parting of this user's connections happen one after the other.
    pub(crate) gate: tokio::sync::Mutex<Gate>,
    /// The registry is written to by one of this user's connections after the other. Apart from the
    /// gate, which is held while the store is read.
    pub(crate) registering: tokio::sync::Mutex<()>,
}

/// What the gate guards.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The user's conversations have been joined.
    pub(crate) joined: bool,
}

impl LocalUser {
    /// The user's connections.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().clone()
    }

    /// A connection is about to be let in: the device's earlier ones here end. False when a later
    /// one of it is here: then this is the one that ends.
    pub(crate) fn replace(&self, device: &DeviceId, by: ConnectionId) -> bool {
        let links = self.links_of(Some(device));
        if links.iter().any(|link| link.id > by && !link.is_closing()) {
            return false;
        }
        for link in links.iter().filter(|link| link.id < by) {
            link.close(CloseCode::Replaced);
        }
        true
    }

    /// Whether a device is connected now.
    pub(crate) fn is_online(&self) -> bool {
        !self.links.lock().is_empty()
    }

    /// Whether nobody is connected as this user any more, nor will be: another connection makes
    /// another `LocalUser`. One who has just lost the last connection is not forgotten yet: the
    /// next one may come before, and finds everything joined.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Pushes the next entries of a room to every device.
    pub(crate) fn push_entries(
        &self,
        now: Instant,
        room: RoomRef<'_>,
        after: Seq,
        entries: &[Arc<OutEntry>],
    ) -> u64 {
        let links = self.links.lock();
        links
            .iter()
            .map(|link| link.push_entries(now, room, after, entries))
            .sum()
    }

    /// Sends a frame to every device but one.
    pub(crate) fn send(&self, frame: &ServerFrame, but: Option<ConnectionId>) {
        for link in self.links.lock().iter().filter(|link| Some(link.id) != but) {
            link.send(frame.clone());
        }
    }

    /// Sends a receipt to every device but one.
    pub(crate) fn send_receipt(&self, receipt: &ServerFrame, but: Option<ConnectionId>) {
        for link in self.links.lock().iter().filter(|link| Some(link.id) != but) {
            link.send_receipt(receipt);
        }
    }

    /// Entries of a conversation are not to be had, and the room holds the user no more.
    pub(crate) fn lost(&self, room: RoomRef<'_>, head: Seq) {
        self.rooms.lock().remove(room.conv);
        for link in self.links.lock().iter() {
            link.lost(room, head);
        }
    }

    /// The user left a conversation, and was told so by the entry that a room brought.
    pub(crate) fn left(&self, conv: &ConversationId, key: u64, head: Seq) {
        self.rooms.lock().remove(conv);
        self.note_parted(conv, head);
        for link in self.links.lock().iter() {
            link.left(key);
        }
    }

    /// The connections of a device; without one, all of them.
    fn links_of(&self, device: Option<&DeviceId>) -> Vec<Arc<Link>> {
        let mut links = self.links();
        links.retain(|link| device.is_none() || link.who().map(|(_, of)| of) == device);
        links
    }
}

/// The conversations that a user left last, with a place from the leaving on.
#[derive(Debug, Default)]
struct Parted(VecDeque<(ConversationId, Seq)>);

impl LocalUser {
    /// Keeps that the user knows of their leaving.
    pub(crate) fn note_parted(&self, conv: &ConversationId, seq: Seq) {
        let mut parted = self.parted.lock();
        parted.0.retain(|(other, _)| other != conv);
        if parted.0.len() >= PARTED_MAX {
            parted.0.pop_front();
        }
        parted.0.push_back((conv.clone(), seq));
    }

    /// They are a member again.
    pub(crate) fn forget_parted(&self, conv: &ConversationId) {
        self.parted.lock().0.retain(|(other, _)| other != conv);
    }

    /// A place from their leaving on, if they left lately and know it.
    pub(crate) fn parted(&self, conv: &ConversationId) -> Option<Seq> {
        let parted = self.parted.lock();
        let found = parted.0.iter().find(|(other, _)| other == conv);
        found.map(|(_, seq)| *seq)
    }
}

#[derive(Debug, Default)]
struct Maps {
    users: HashMap<UserId, Arc<LocalUser>>,
    links: BTreeMap<ConnectionId, Arc<Link>>,
    /// The buckets of users, connected or not; a full one is forgotten.
    buckets: BTreeMap<UserId, Bucket>,
}

/// Buckets kept before the full ones are swept out.
const BUCKETS_SWEEP: usize = 10_000;

/// Everybody who is connected here.
#[derive(Debug)]
pub(crate) struct Hub {
    maps: Mutex<Maps>,
    sends_per_s: u32,
}

impl Hub {
    pub(crate) fn new(sends_per_s: u32) -> Self {
        Self {
            maps: Mutex::default(),
            sends_per_s,
        }
    }

    /// A connected user.
    pub(crate) fn get(&self, user: &UserId) -> Option<Arc<LocalUser>> {
        self.maps.lock().users.get(user).cloned()
    }

    /// A connection exists, before its hello.
    pub(crate) fn add(&self, link: &Arc<Link>) {
        self.maps.lock().links.insert(link.id, Arc::clone(link));
    }

    /// A connection is gone.
    pub(crate) fn remove(&self, link: &Link) {
        self.maps.lock().links.remove(&link.id);
    }

    /// The user of a connection that said hello: registered first, heads are read after.
    pub(crate) fn attach(&self, user: &UserId, link: &Arc<Link>) -> Arc<LocalUser> {
        let mut maps = self.maps.lock();
        let local = maps.users.entry(user.clone()).or_insert_with(|| {
            Arc::new(LocalUser {
                id: user.clone(),
                links: Mutex::default(),
                rooms: Mutex::default(),
                parted: Mutex::default(),
                forgotten: AtomicBool::new(false),
                gate: tokio::sync::Mutex::default(),
                registering: tokio::sync::Mutex::default(),
            })
        });
        local.links.lock().push(Arc::clone(link));
        Arc::clone(local)
    }

    /// A connection of a user ended. True when it was the last.
    pub(crate) fn detach(&self, local: &Arc<LocalUser>, link: &Link) -> bool {
        let mut links = local.links.lock();
        links.retain(|other| other.id != link.id);
        links.is_empty()
    }

    /// Forgets a user who has no connection. Called under the user's gate.
    pub(crate) fn forget(&self, local: &Arc<LocalUser>) -> bool {
        let mut maps = self.maps.lock();
        if local.is_online() {
            return false;
        }
        local.forgotten.store(true, Ordering::Release);
        if maps
            .users
            .get(&local.id)
            .is_some_and(|known| Arc::ptr_eq(known, local))
        {
            maps.users.remove(&local.id);
        }
        true
    }

    /// A device connected on another node later than this connection of it here.
    pub(crate) fn replaced_elsewhere(&self, user: &UserId, device: &DeviceId, conn: ConnectionId) {
        let Some(local) = self.get(user) else { return };
        let links = local.links_of(Some(device));
        if let Some(link) = links.iter().find(|link| link.id == conn) {
            link.close(CloseCode::Replaced);
        }
    }

    /// Ends a user's connections, or those of one device: they may not be here any more.
    pub(crate) fn revoke(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        reconnect_ms: (u64, u64),
    ) {
        let Some(local) = self.get(user) else { return };
        for link in local.links_of(device) {
            link.bye(CloseCode::Banned, reconnect_ms);
        }
    }

    /// Every connection.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.maps.lock().links.values().cloned().collect()
    }

    /// Of these users, those who are connected.
    pub(crate) fn among<'a>(
        &self,
        users: impl IntoIterator<Item = &'a UserId>,
    ) -> Vec<Arc<LocalUser>> {
        let maps = self.maps.lock();
        users
            .into_iter()
            .filter_map(|user| maps.users.get(user).cloned())
            .collect()
    }

    /// The ids of everybody who is connected, in order.
    pub(crate) fn user_ids(&self) -> Vec<UserId> {
        let mut ids: Vec<UserId> = self.maps.lock().users.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.maps.lock().links.len()
    }

    /// Takes a token for a send.
    pub(crate) fn take_token(&self, user: &UserId, now: Instant) -> Result<(), Duration> {
        let mut maps = self.maps.lock();
        if maps.buckets.len() >= BUCKETS_SWEEP {
            maps.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let per_s = self.sends_per_s;
        if let Some(bucket) = maps.buckets.get_mut(user) {
            return bucket.take(now);
        }
        maps.buckets
            .entry(user.clone())
            .or_insert_with(|| Bucket::new(now, per_s))
            .take(now)
    }

    /// Gives a token back: the send was a retry.
    pub(crate) fn give_token(&self, user: &UserId) {
        if let Some(bucket) = self.maps.lock().buckets.get_mut(user) {
            bucket.give_back();
        }
    }
}
