//! Between nodes: hints over the bus, and the sweep that heals what they lose.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use im_core::frame::ServerFrame;
use im_core::model::{
    Body, CmId, ConnectionId, ConversationId, ConversationKind, DeviceId, Entry, Kind, Mentions,
    MessageId, NewEntry, NodeId, Role, Seq, Stamp, Timestamp, UserId,
};
use im_core::port::{
    Changed, Commit, Incoming, NewConversation, PortError, PortErrorKind, Record, RecordKey,
    Subscription, To, Write,
};
use serde::{Deserialize, Serialize};

use crate::dispatch::News;
use crate::node::Inner;
use crate::rooms::LiveRoom;

/// Conversations asked of the store per step of the sweep.
const SWEEP_LIMIT: usize = 500;
/// Members of a conversation without a room here that one step looks through.
const SWEEP_MEMBERS: usize = 200;
/// Users asked for at once when a large conversation without a room here changed.
const SWEEP_USERS: usize = 500;
/// Heads remembered of conversations that nobody here belongs to.
const OWN_HEADS_MAX: usize = 20_000;
/// How long to wait before members that could not be read are looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long what was written to try the store is kept, in milliseconds.
const PROBE_MS: u64 = 60_000;
/// How long to wait before the bus is subscribed again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// What nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BusMessage {
    /// A conversation got entries, and maybe began with them.
    News {
        conv: ConversationId,
        created: Option<Created>,
        entries: Vec<BusEntry>,
    },
    /// A cursor moved.
    Receipt {
        conv: ConversationId,
        user: UserId,
        delivered: Option<Seq>,
        read: Option<Seq>,
    },
    /// Somebody is typing.
    Typing { conv: ConversationId, user: UserId },
    /// A user came or went.
    Presence {
        user: UserId,
        online: bool,
        at: Timestamp,
    },
    /// A device connected elsewhere: its connection here ends.
    /// Connections are numbered by each start of each node, so the lease says which one is meant.
    Replaced {
        node: String,
        epoch: u64,
        user: UserId,
        device: DeviceId,
        conn: ConnectionId,
    },
    /// A user's connections end, or those of one device.
    Revoked {
        user: UserId,
        device: Option<DeviceId>,
    },
    /// What was read of blocks in a direct conversation is out of date.
    Blocks { conv: ConversationId },
}

/// How a conversation began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Created {
    kind: ConversationKind,
    title: Option<String>,
    hide_history: bool,
    members: Vec<(UserId, Role)>,
}

/// An entry between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BusEntry {
    seq: Seq,
    id: u64,
    from: UserId,
    at: Timestamp,
    cm_id: Option<CmId>,
    digest: u64,
    kind: String,
    body: Arc<str>,
    reply_to: Option<Seq>,
    mention_all: bool,
    mentions: Vec<UserId>,
    expires_at: Option<Timestamp>,
}

impl BusEntry {
    fn of(entry: &Entry) -> Self {
        let mentions = match &entry.mentions {
            Mentions::Users(users) => users.clone(),
            Mentions::None | Mentions::All => Vec::new(),
        };
        Self {
            seq: entry.seq,
            id: entry.id.0,
            from: entry.from.clone(),
            at: entry.at,
            cm_id: entry.cm_id.clone(),
            digest: entry.digest,
            kind: entry.body.kind().as_str().to_owned(),
            body: Arc::clone(entry.body.json()),
            reply_to: entry.reply_to,
            mention_all: entry.mentions == Mentions::All,
            mentions,
            expires_at: entry.expires_at,
        }
    }

    /// `None` when it is of a kind that this version does not know: the store is read instead.
    fn into_entry(self, conv: &ConversationId) -> Option<Entry> {
        let mentions = match (self.mention_all, self.mentions.is_empty()) {
            (true, _) => Mentions::All,
            (false, true) => Mentions::None,
            (false, false) => Mentions::Users(self.mentions),
        };
        let new = NewEntry {
            id: MessageId(self.id),
            from: self.from,
            at: self.at,
            cm_id: self.cm_id,
            digest: self.digest,
            body: Body::from_stored(Kind::parse(&self.kind)?, self.body),
            reply_to: self.reply_to,
            mentions,
            expires_at: self.expires_at,
        };
        Some(Entry {
            conv: conv.clone(),
            seq: self.seq,
            new,
        })
    }
}

impl BusMessage {
    pub(crate) fn receipt(receipt: &ServerFrame) -> Option<Self> {
        let ServerFrame::Receipt {
            conv,
            user,
            delivered,
            read,
        } = receipt
        else {
            return None;
        };
        let (conv, user) = (conv.clone(), user.clone());
        Some(Self::Receipt {
            conv,
            user,
            delivered: *delivered,
            read: *read,
        })
    }
}

impl Inner {
    /// Tells every other node; a hint, so a failure is only logged.
    pub(crate) fn publish(self: &Arc<Self>, message: &Option<BusMessage>) {
        let Some(message) = message else { return };
        if self.bus.capability().alone {
            return;
        }
        // With its sender: many a bus gives a node its own words back.
        let payload = match rmp_serde::to_vec(&(&self.settings.node, message)) {
            Ok(payload) if payload.len() <= self.bus.capability().payload_bytes_max => payload,
            // Too large to hint at: the sweep tells.
            Ok(_) => return,
            Err(error) => return tracing::error!(%error, "a bus message could not be written"),
        };
        let inner = Arc::clone(self);
        self.spawn(async move {
            if let Err(error) = inner.bus.publish(To::All, Bytes::from(payload)).await {
                tracing::debug!(%error, "the bus did not take a message; the sweep will heal it");
            }
        });
    }

    pub(crate) fn publish_news(self: &Arc<Self>, conv: &ConversationId, news: &News) {
        self.remember_head(conv, news);
        if self.bus.capability().alone {
            return;
        }
        self.publish(&Some(BusMessage::News {
            conv: conv.clone(),
            created: news.created.as_ref().map(|made| Created {
                kind: made.kind,
                title: made.title.clone(),
                hide_history: made.hide_history,
                members: made.members.clone(),
            }),
            entries: news
                .entries
                .iter()
                .map(|entry| BusEntry::of(entry))
                .collect(),
        }));
    }

    /// So that the sweep need not look for members of what this node itself just handled.
    fn remember_head(&self, conv: &ConversationId, news: &News) {
        let (Some(first), Some(last)) = (news.entries.first(), news.entries.last()) else {
            return;
        };
        if self.rooms.get(conv).is_some() {
            return;
        }
        let mut heads = self.own_heads.lock();
        // What came before, if anything, was seen here too: else a member who is connected here may
        // have been made one by news that were lost.
        let known = heads.get(conv).copied().unwrap_or_default();
        if known.next() < first.seq {
            return;
        }
        if heads.len() >= OWN_HEADS_MAX {
            heads.pop_first();
        }
        heads.insert(conv.clone(), last.seq);
    }

    /// Subscribes, and starts what listens, sweeps and renews the lease.
    pub(crate) async fn start_router(self: &Arc<Self>, ttl: Duration) -> Result<(), PortError> {
        let subscription = self.bus.subscribe(&self.settings.node).await?;
        let stamp = self.store.changed(Stamp(0), 0).await?.stamp;
        let poke = Arc::clone(&self.poke);
        self.spawn(listen(
            Arc::downgrade(self),
            subscription,
            Arc::clone(&poke),
        ));
        self.spawn(sweep(Arc::downgrade(self), stamp, poke));
        self.spawn(renew(Arc::downgrade(self), ttl / 3));
        Ok(())
    }

    fn on_bus(self: &Arc<Self>, payload: &[u8]) {
        match rmp_serde::from_slice::<(NodeId, BusMessage)>(payload) {
            Ok((from, _)) if from == self.settings.node => {}
            Ok((_, message)) => self.on_message(message),
            // A newer node's, or poison; either way the store is the truth.
            Err(error) => {
                metrics::counter!("im_bus_undecodable_total").increment(1);
                tracing::warn!(%error, "a bus message could not be read");
            }
        }
    }

    fn on_message(self: &Arc<Self>, message: BusMessage) {
        match message {
            BusMessage::News {
                conv,
                created,
                entries,
            } => {
                let created = created.map(|made| NewConversation {
                    kind: made.kind,
                    title: made.title,
                    hide_history: made.hide_history,
                    members: made.members,
                });
                let entries = entries
                    .into_iter()
                    .filter_map(|entry| entry.into_entry(&conv));
                let news = News {
                    created,
                    entries: entries.map(Arc::new).collect(),
                };
                self.deliver(&conv, news);
            }
            BusMessage::Receipt {
                conv,
                user,
                delivered,
                read,
            } => {
                let Some(room) = self.rooms.get(&conv) else {
                    return;
                };
                let receipt = ServerFrame::Receipt {
                    conv,
                    user,
                    delivered,
                    read,
                };
                for (_, local) in room.state.lock().machine.users() {
                    local.send_receipt(&receipt, None);
                }
            }
            BusMessage::Typing { conv, user } => self.show_typing(&conv, &user),
            BusMessage::Presence { user, online, at } => {
                self.watchers.tell(&user, online, at);
            }
            BusMessage::Replaced {
                node,
                epoch,
                user,
                device,
                conn,
            } => {
                let lease = self.lease.load(Ordering::Acquire);
                if node == self.settings.node.as_str() && epoch == lease {
                    self.hub.replaced_elsewhere(&user, &device, conn);
                }
            }
            BusMessage::Revoked { user, device } => {
                let reconnect_ms = self.settings.reconnect_ms;
                self.hub.revoke(&user, device.as_ref(), reconnect_ms);
            }
            BusMessage::Blocks { conv } => {
                if let Some(room) = self.rooms.get(&conv) {
                    room.state.lock().set_blocked(None, self.clock.now());
                }
            }
        }
    }

    /// Asks the store what changed, and brings the rooms up to it.
    async fn sweep_once(self: &Arc<Self>, mut stamp: Stamp) -> Result<Stamp, PortError> {
        loop {
            let Changed {
                convs,
                stamp: next,
                more,
            } = self.store.changed(stamp, SWEEP_LIMIT).await?;
            for changed in convs {
                match self.rooms.get(&changed.conv) {
                    Some(room) => self.bring_up(&room, changed.head).await?,
                    None => self.look_for_members(&changed.conv, changed.head).await?,
                }
            }
            stamp = next;
            if !more {
                return Ok(stamp);
            }
        }
    }

    /// A conversation changed that has a room here.
    async fn bring_up(self: &Arc<Self>, room: &Arc<LiveRoom>, head: Seq) -> Result<(), PortError> {
        let checked = {
            let mut state = room.state.lock();
            state.machine.handle_head(head);
            let checked = state.checked;
            self.drain(room, state);
            checked
        };
        if !checked {
            // Who was connected here and became a member before the room began is not in it when
            // the news of that were lost.
            self.look_for_members(&room.conv, head).await?;
            room.state.lock().checked = true;
        }
        Ok(())
    }

    /// A room missed entries for good: whom they made members was not told.
    pub(crate) async fn look_after_gap(self: &Arc<Self>, conv: &ConversationId, head: Seq) {
        while let Err(error) = self.look_for_members(conv, head).await {
            tracing::warn!(%error, "the members of a conversation could not be read");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A conversation changed: do any of those connected belong to it who are in no room of it?
    async fn look_for_members(
        self: &Arc<Self>,
        conv: &ConversationId,
        head: Seq,
    ) -> Result<(), PortError> {
        if self
            .own_heads
            .lock()
            .get(conv)
            .is_some_and(|own| *own >= head)
        {
            return Ok(());
        }
        let Some(view) = self.store.view(conv, &[]).await? else {
            return Ok(());
        };
        let mut found = Vec::new();
        if view.conversation.member_count as usize <= SWEEP_MEMBERS {
            let members = self.store.members(conv, None, SWEEP_MEMBERS).await?;
            found.extend(members.into_iter().map(|member| member.user));
        } else {
            for users in self.hub.user_ids().chunks(SWEEP_USERS) {
                let Some(view) = self.store.view(conv, users).await? else {
                    break;
                };
                found.extend(
                    view.members
                        .into_iter()
                        .filter(|m| m.is_in())
                        .map(|m| m.user),
                );
            }
        }
        let room = self.rooms.get(conv);
        let is_in = |user: &UserId| {
            let state = room.as_ref().map(|room| room.state.lock());
            state.is_some_and(|state| state.machine.get(user).is_some())
        };
        for local in self.hub.among(&found) {
            if is_in(&local.id) {
                continue;
            }
            let (inner, conv) = (Arc::clone(self), conv.clone());
            self.spawn(async move { inner.join_new(&local, &conv, head.next()).await });
        }
        Ok(())
    }
}

async fn listen(
    inner: std::sync::Weak<Inner>,
    mut subscription: Box<dyn Subscription>,
    poke: Arc<tokio::sync::Notify>,
) {
    loop {
        let incoming = subscription.next().await;
        let Some(inner) = inner.upgrade() else { return };
        match incoming {
            Some(Incoming::Message(payload)) => inner.on_bus(&payload),
            Some(Incoming::Reconnected) => poke.notify_one(),
            None => {
                tokio::time::sleep(RESUBSCRIBE).await;
                match inner.bus.subscribe(&inner.settings.node).await {
                    Ok(again) => subscription = again,
                    Err(error) => tracing::warn!(%error, "the bus can't be subscribed"),
                }
                poke.notify_one();
            }
        }
    }
}

async fn sweep(inner: std::sync::Weak<Inner>, mut stamp: Stamp, poke: Arc<tokio::sync::Notify>) {
    loop {
        let Some(every) = inner.upgrade().map(|inner| inner.settings.sweep) else {
            return;
        };
        // Whichever comes first; both mean the same.
        let _ = tokio::time::timeout(every, poke.notified()).await;
        let Some(inner) = inner.upgrade() else { return };
        match inner.sweep_once(stamp).await {
            Ok(next) => stamp = next,
            Err(error) => tracing::warn!(%error, "the sweep could not read the store"),
        }
        if !inner.store_ok.load(Ordering::Acquire) {
            inner.try_store().await;
        }
        inner.rooms.reap();
    }
}

async fn renew(inner: std::sync::Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        let node = &inner.settings.node;
        let epoch = inner.lease.load(Ordering::Acquire);
        match inner.registry.renew(node, epoch).await {
            Ok(()) => {
                if inner.unregistered.swap(false, Ordering::AcqRel) {
                    inner.restore_routes();
                }
            }
            Err(error) if error.kind() == PortErrorKind::Fenced => inner.enter_again().await,
            Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }
}

impl Inner {
    /// The last commit failed: tries one that changes nothing that anybody sees, since a node that
    /// is not ready may get no other to try.
    async fn try_store(&self) {
        let name = self.settings.node.as_str();
        let (Ok(conv), Ok(user)) = (ConversationId::new(name), UserId::new(name)) else {
            return;
        };
        let record = Record {
            key: RecordKey::Answer {
                user,
                key: format!("probe-{}", self.ids.next()),
            },
            value: "null".to_owned(),
            expires_at: self.clock.timestamp().plus_ms(PROBE_MS),
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![Write::Record(record)],
        };
        // Whether it succeeded, the lane has noted.
        let _ = self.appender.commit(commit).await;
    }

    /// The lease was lost: take another, and register everybody again.
    async fn enter_again(self: &Arc<Self>) {
        match self.registry.enter(&self.settings.node).await {
            Ok(lease) => self.lease.store(lease.epoch, Ordering::Release),
            Err(error) => return tracing::warn!(%error, "no lease; trying again"),
        }
        self.unregistered.store(false, Ordering::Release);
        self.restore_routes();
    }
}
