//! Between nodes: hints over the bus, and the [sweep](sweep) that heals what they lose.

mod hints;
mod sweep;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use im_core::frame::ServerFrame;
use im_core::model::{ConversationId, Stamps, UserId, Value};
use im_core::port::{Incoming, PortError, PortErrorKind, Subscription};

pub(crate) use self::hints::Hints;
use self::sweep::sweep;
pub(crate) use self::wire::BusMessage;
use self::wire::{BusEntry, Created};
use crate::cursors::tells_others;
use crate::dispatch::News;
use crate::moderation::List;
use crate::node::Inner;
use crate::rooms::RoomState;

/// Heads remembered of conversations that nobody here belongs to.
const OWN_HEADS_MAX: usize = 20_000;
/// Whoever is connected is told so long after something was missed that it may have been.
const MISSED_AFTER: Duration = Duration::from_secs(2);
/// How long to wait before the bus is subscribed again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

impl Inner {
    /// Tells every other node, soon: a hint.
    pub(crate) fn publish(&self, message: &BusMessage) {
        let capability = self.bus.capability();
        if !capability.alone {
            let node = &self.settings.node;
            self.hints.push(node, message, capability.payload_bytes_max);
        }
    }

    /// Tells all devices of some users, on every node, of a change that is no entry. Who is not
    /// connected is not told: they ask when they come.
    pub(crate) fn tell(&self, users: &[UserId], event: &Value) {
        self.tell_here(users, event);
        self.publish(&BusMessage::Told {
            users: users.to_vec(),
            event: event.to_json(),
        });
    }

    fn tell_here(&self, users: &[UserId], event: &Value) {
        let frame = ServerFrame::Event(event.clone());
        for local in users.iter().filter_map(|user| self.hub.get(user)) {
            local.send(&frame, None);
        }
    }

    /// The bus may have lost something. Entries the sweep finds; of what is no entry, whoever is
    /// connected here is told, once for all that comes in a while, to ask anew.
    fn on_missed(self: &Arc<Self>) {
        self.poke.notify_one();
        self.moderation.wake(List::Words);
        self.moderation.wake(List::Standings);
        self.unsure.store(true, Ordering::Release);
        if self.missed.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(self);
        self.spawn(async move {
            tokio::time::sleep(MISSED_AFTER).await;
            inner.missed.store(false, Ordering::Release);
            let event = Value::object([("kind", Value::from("missed"))]);
            let frame = ServerFrame::Event(event);
            for link in inner.hub.links() {
                link.send(frame.clone());
            }
        });
    }

    pub(crate) fn publish_news(&self, conv: &ConversationId, news: &News) {
        self.remember_head(conv, news);
        if self.bus.capability().alone {
            return;
        }
        self.publish(&BusMessage::News {
            conv: conv.clone(),
            created: news.created.as_ref().map(Created::of),
            entries: news
                .entries
                .iter()
                .map(|entry| BusEntry::of(entry))
                .collect(),
        });
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
        let stamps = self.store.changed(&Stamps::START, 0).await?.stamps;
        let poke = Arc::clone(&self.poke);
        self.spawn(listen(Arc::downgrade(self), subscription));
        self.spawn(sweep(Arc::downgrade(self), stamps, poke));
        let (hints, bus) = (Arc::clone(&self.hints), Arc::clone(&self.bus));
        self.spawn(hints::send(Arc::downgrade(self), hints, bus));
        self.spawn(renew(Arc::downgrade(self), ttl / 3));
        Ok(())
    }

    fn on_bus(self: &Arc<Self>, payload: &[u8]) {
        let Some((from, messages)) = hints::read(payload) else {
            return undecodable();
        };
        if from == self.settings.node.as_str() {
            return;
        }
        for message in messages {
            match message {
                Some(message) => self.on_message(message),
                None => undecodable(),
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
                let entries = entries
                    .into_iter()
                    .filter_map(|entry| entry.into_entry(&conv));
                let news = News {
                    created: created.map(Created::into_new),
                    entries: entries.map(Arc::new).collect(),
                };
                self.deliver(&conv, news);
            }
            BusMessage::Missed => self.on_missed(),
            BusMessage::Receipt {
                conv,
                user,
                delivered,
                read,
            } => {
                let Some(room) = self.rooms.get(&conv) else {
                    return;
                };
                let whose = user.clone();
                let receipt = ServerFrame::Receipt {
                    conv,
                    user,
                    delivered,
                    read,
                };
                show_receipt(&room.state.lock(), &receipt, &whose);
            }
            BusMessage::Typing { conv, user } => self.show_typing(&conv, &user),
            BusMessage::Presence { user, online, at } => {
                self.watchers.tell(&user, online, at);
            }
            BusMessage::Watch { user } => self.unwatch(user),
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
            BusMessage::Told { users, event } => match Value::from_json(&event) {
                Ok(event) => self.tell_here(&users, &event),
                Err(_) => undecodable(),
            },
            BusMessage::Changed { list } => self.moderation.wake(list),
            BusMessage::Blocks { conv } => {
                if let Some(room) = self.rooms.get(&conv) {
                    room.state.lock().set_barrier(None, self.clock.now());
                }
            }
        }
    }
}

/// Passes a mark on: to the user's own devices, and to others where they are told.
fn show_receipt(state: &RoomState, receipt: &ServerFrame, whose: &UserId) {
    let to_others = state.info.as_ref().is_some_and(tells_others);
    for (user, local) in state.machine.users() {
        if to_others || user == whose {
            local.send_receipt(receipt, None);
        }
    }
}

/// A newer node's words, or poison; either way the store is the truth.
fn undecodable() {
    metrics::counter!("im_bus_undecodable_total").increment(1);
    tracing::warn!("a bus message could not be read");
}

async fn listen(inner: std::sync::Weak<Inner>, mut subscription: Box<dyn Subscription>) {
    loop {
        let incoming = subscription.next().await;
        let Some(inner) = inner.upgrade() else { return };
        match incoming {
            Some(Incoming::Message(payload)) => inner.on_bus(&payload),
            Some(Incoming::Reconnected) => inner.on_missed(),
            None => {
                tokio::time::sleep(RESUBSCRIBE).await;
                match inner.bus.subscribe(&inner.settings.node).await {
                    Ok(again) => subscription = again,
                    Err(error) => tracing::warn!(%error, "the bus can't be subscribed"),
                }
                inner.on_missed();
            }
        }
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
                inner.remove_routes();
            }
            Err(error) if error.kind() == PortErrorKind::Fenced => inner.enter_again().await,
            Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
        }
    }
}

impl Inner {
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
