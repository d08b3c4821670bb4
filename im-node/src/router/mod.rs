//! Between nodes: hints over the bus, and the [sweep](sweep) that heals what they lose.

mod sweep;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use im_core::frame::ServerFrame;
use im_core::model::{ConversationId, NodeId, Stamps};
use im_core::port::{Incoming, PortError, PortErrorKind, Subscription, To};

use self::sweep::sweep;
pub(crate) use self::wire::BusMessage;
use self::wire::{BusEntry, Created};
use crate::dispatch::News;
use crate::node::Inner;

/// Heads remembered of conversations that nobody here belongs to.
const OWN_HEADS_MAX: usize = 20_000;
/// How long to wait before the bus is subscribed again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

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
            created: news.created.as_ref().map(Created::of),
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
        let stamps = self.store.changed(&Stamps::START, 0).await?.stamps;
        let poke = Arc::clone(&self.poke);
        self.spawn(listen(
            Arc::downgrade(self),
            subscription,
            Arc::clone(&poke),
        ));
        self.spawn(sweep(Arc::downgrade(self), stamps, poke));
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
                let entries = entries
                    .into_iter()
                    .filter_map(|entry| entry.into_entry(&conv));
                let news = News {
                    created: created.map(Created::into_new),
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
