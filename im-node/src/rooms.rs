//! The rooms of this node: live views of the conversations whose members are connected here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use im_core::machine::Room;
use im_core::model::{
    Conversation, ConversationId, ConversationKind, Entry, Epoch, Kind, Member, Role, Seq,
    Timestamp, UserId, Value,
};
use im_core::rule::{ActorView, Barrier, MemberEvent, MemberEventOp, Rights};
use parking_lot::Mutex;

use crate::dispatch::GATHER_USERS_MIN;
use crate::hub::LocalUser;
use crate::link::RoomRef;
use crate::outgoing::OutEntry;

/// How long a room believes what it read of blocks.
const BLOCKED_FOR: std::time::Duration = std::time::Duration::from_secs(30);

/// A room and its number on this node.
#[derive(Debug)]
pub(crate) struct LiveRoom {
    pub(crate) key: u64,
    pub(crate) conv: ConversationId,
    pub(crate) state: Mutex<RoomState>,
}

/// What the lock of a room guards.
#[derive(Debug, Default)]
pub(crate) struct RoomState {
    pub(crate) machine: Room<Arc<LocalUser>>,
    /// The conversation as of the head; `None` until it was read.
    pub(crate) info: Option<Conversation>,
    /// The places of those who are here.
    pub(crate) places: BTreeMap<UserId, Place>,
    barrier: Option<(Barrier, Instant)>,
    /// When somebody's `typing` was passed on last.
    pub(crate) typing: BTreeMap<UserId, Instant>,
    /// When somebody's `read` was passed on last.
    pub(crate) receipts: BTreeMap<UserId, Instant>,
    /// Entries applied and not yet pushed, see [`Self::push_at`].
    pub(crate) waiting: Vec<Arc<OutEntry>>,
    /// A large room is not pushed to again before this: what comes meanwhile goes along, in one
    /// write for each connection.
    pub(crate) push_at: Option<Instant>,
    /// Somebody will push at that time.
    pub(crate) push_planned: bool,
    /// Every member who was connected here when the room began is in it.
    pub(crate) checked: bool,
    /// The room has left the map: look it up again.
    pub(crate) closed: bool,
}

/// A member who is here.
#[derive(Debug)]
pub(crate) struct Place {
    /// Their cursors are those of now, whatever else is.
    pub(crate) member: Member,
    /// Role and mute are as of `info.version`: decisions may be made on them.
    is_fresh: bool,
}

impl LiveRoom {
    /// Whether a push here takes a while.
    pub(crate) fn is_large(&self) -> bool {
        self.state.lock().machine.len() >= GATHER_USERS_MIN as usize
    }

    /// How connections know this room.
    pub(crate) fn known(&self, state: &RoomState) -> RoomRef<'_> {
        let epoch = state.info.as_ref().map_or(Epoch(1), |info| info.epoch);
        RoomRef {
            key: self.key,
            conv: &self.conv,
            epoch,
        }
    }
}

impl RoomState {
    /// Takes a conversation that was read from the store, unless what is known is newer. False when
    /// it is of an earlier epoch: what was read with it is void.
    pub(crate) fn learn(&mut self, conversation: &Conversation) -> bool {
        let known = self.info.as_ref().map(|info| (info.epoch, info.version));
        if !self
            .machine
            .handle_epoch(conversation.epoch, conversation.head)
        {
            return false;
        }
        if known < Some((conversation.epoch, conversation.version)) {
            // Entries that told of changes up to that version may still come, and are then taken
            // for known: what is cached of the members could miss them.
            for place in self.places.values_mut() {
                place.is_fresh = false;
            }
            self.info = Some(conversation.clone());
        }
        true
    }

    /// The version of the members that the room knows.
    pub(crate) fn version(&self) -> Option<Seq> {
        self.info.as_ref().map(|info| info.version)
    }

    /// What a decision about this user needs, if the room knows it.
    pub(crate) fn actor<'a>(
        &'a self,
        user: &UserId,
        now: Instant,
        at: Timestamp,
    ) -> Option<(ActorView<'a>, Seq)> {
        let info = self.info.as_ref()?;
        let place = self.places.get(user).filter(|place| place.is_fresh)?;
        let barrier = match info.kind {
            ConversationKind::Direct => self.barrier_known(now)?,
            _ => Barrier::None,
        };
        let view = ActorView {
            kind: info.kind,
            speaks: info.speaks,
            rights: Rights::DEFAULT,
            member: Some(&place.member),
            barrier,
            now: at,
        };
        Some((view, info.version))
    }

    /// A member is here, or was read anew.
    pub(crate) fn place(&mut self, mut member: Member) {
        if let Some(known) = self.places.get(&member.user) {
            // The store hears of cursors later.
            member.delivered = member.delivered.max(known.member.delivered);
            member.read = member.read.max(known.member.read);
        }
        let place = Place {
            member,
            is_fresh: true,
        };
        self.places.insert(place.member.user.clone(), place);
    }

    /// What stands between the two, if it was read lately.
    pub(crate) fn barrier_known(&self, now: Instant) -> Option<Barrier> {
        let (barrier, at) = self.barrier?;
        (now.saturating_duration_since(at) < BLOCKED_FOR).then_some(barrier)
    }

    pub(crate) fn set_barrier(&mut self, barrier: Option<Barrier>, now: Instant) {
        self.barrier = barrier.map(|barrier| (barrier, now));
    }

    /// Follows an entry that the machine applied.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        let Some(info) = &mut self.info else { return };
        // Later reads of the store may already have told of it.
        info.head = info.head.max(entry.seq);
        if entry.seq <= info.version {
            return;
        }
        match entry.body.kind() {
            // How a group began is no change of it, in the store's count of versions either.
            Kind::Group
                if entry.body.value().get("op").and_then(Value::as_text) == Some("create") => {}
            Kind::Group => {
                info.version = entry.seq;
                set_rules(info, &entry.body.value());
            }
            Kind::Member => {
                info.version = entry.seq;
                if let Some(event) = MemberEvent::of(&entry.body) {
                    self.apply_members(&event, entry.seq);
                }
            }
            _ => {}
        }
    }

    fn apply_members(&mut self, event: &MemberEvent, seq: Seq) {
        if let Some(info) = &mut self.info {
            let users = u32::try_from(event.users.len()).unwrap_or(u32::MAX);
            match event.op {
                MemberEventOp::Add | MemberEventOp::Join => info.member_count += users,
                MemberEventOp::Remove | MemberEventOp::Leave => {
                    info.member_count = info.member_count.saturating_sub(users);
                }
                MemberEventOp::Role(_) | MemberEventOp::Mute(_) => {}
            }
        }
        for user in &event.users {
            let Some(place) = self.places.get_mut(user) else {
                continue;
            };
            place.member.version = seq;
            match event.op {
                MemberEventOp::Role(role) => place.member.role = role,
                MemberEventOp::Mute(until) => place.member.muted_until = until,
                // Their row is read again when they join, or is not needed any more.
                _ => {
                    self.places.remove(user);
                }
            }
        }
    }
}

/// What a `group` entry tells of a conversation's rules.
fn set_rules(info: &mut Conversation, body: &Value) {
    let text = |field| body.get(field).and_then(Value::as_text);
    if let Some(title) = text("title") {
        info.title = Some(title.to_owned());
    }
    if let Some(role) = text("speaks").and_then(Role::parse) {
        info.speaks = role;
    }
    if let Some(Value::Bool(hide)) = body.get("hide_history") {
        info.hide_history = *hide;
    }
}

/// Rooms by conversation.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    map: Mutex<HashMap<ConversationId, Arc<LiveRoom>>>,
    next: AtomicU64,
}

impl Rooms {
    pub(crate) fn get(&self, conv: &ConversationId) -> Option<Arc<LiveRoom>> {
        self.map.lock().get(conv).cloned()
    }

    pub(crate) fn get_or_make(&self, conv: &ConversationId) -> Arc<LiveRoom> {
        let mut map = self.map.lock();
        if let Some(room) = map.get(conv) {
            return Arc::clone(room);
        }
        let room = Arc::new(LiveRoom {
            key: self.next.fetch_add(1, Ordering::Relaxed),
            conv: conv.clone(),
            state: Mutex::default(),
        });
        map.insert(conv.clone(), Arc::clone(&room));
        room
    }

    /// Forgets a room that holds nobody.
    pub(crate) fn close_if_empty(&self, room: &Arc<LiveRoom>) {
        let mut map = self.map.lock();
        let mut state = room.state.lock();
        if state.machine.is_empty() && !state.closed {
            state.closed = true;
            map.remove(&room.conv);
        }
    }

    /// Forgets every room that holds nobody.
    pub(crate) fn reap(&self) {
        let mut map = self.map.lock();
        map.retain(|_, room| {
            let mut state = room.state.lock();
            state.closed = state.machine.is_empty();
            !state.closed
        });
        metrics::gauge!("im_rooms").set(map.len() as f64);
    }
}
