//! Who is here, told to those who watch; and who is typing.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::frame::ServerFrame;
use im_core::model::{ConversationId, ConversationKind, Timestamp, UserId};
use im_core::port::PortError;

use crate::hub::LocalUser;
use crate::node::Inner;
use crate::router::BusMessage;
use crate::watchers::Asked;

/// A user's `typing` is passed on at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// Larger groups are not told who is typing.
const TYPING_MEMBERS_MAX: u32 = 100;
/// How often it is looked who of those who are watched is here.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How many users are looked up at once.
const CHECK_USERS: usize = 500;

/// Asks the registry again and again who of those who are watched is here: a node may have died
/// with its users, and the bus may have lost that somebody came or went.
pub(crate) async fn check_watched(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        if inner.unsure.swap(false, Ordering::AcqRel) {
            inner.check_allowed().await;
        }
        let mut after = None;
        loop {
            let asked = inner.watchers.ask(after.as_ref(), CHECK_USERS);
            let Some(last) = asked.last() else { break };
            after = Some(last.user.clone());
            inner.check(&asked).await;
        }
    }
}

/// The frame of a user's state.
pub(crate) fn presence(user: &UserId, online: bool, at: Timestamp) -> ServerFrame {
    let state = if online { "online" } else { "offline" };
    ServerFrame::Presence {
        user: user.clone(),
        state: state.to_owned(),
        at,
    }
}

impl Inner {
    /// The bus may have lost that somebody may be seen no longer: everybody who watches here is
    /// asked about anew, one after the other.
    async fn check_allowed(self: &Arc<Self>) {
        let mut after = None;
        loop {
            let pairs = self.watchers.pairs(after.as_ref(), CHECK_USERS);
            let Some((_, last)) = pairs.last() else { break };
            after = Some(last.clone());
            if let Err(error) = self.end_forbidden(pairs).await {
                tracing::debug!(%error, "it can't be read who may be watched; later again");
                return self.unsure.store(true, Ordering::Release);
            }
        }
    }

    async fn check(&self, asked: &[Asked]) {
        let users: Vec<UserId> = asked.iter().map(|asked| asked.user.clone()).collect();
        let at = self.clock.timestamp();
        match self.online(&users).await {
            Ok(online) => {
                for asked in asked {
                    self.watchers.check(asked, online.contains(&asked.user), at);
                }
            }
            Err(error) => tracing::debug!(%error, "who is watched can't be looked up"),
        }
    }

    /// Of these users, those who are connected to any node.
    pub(crate) async fn online(&self, users: &[UserId]) -> Result<BTreeSet<UserId>, PortError> {
        let here = |user: &&UserId| self.hub.get(user).is_some_and(|local| local.is_online());
        let mut online: BTreeSet<UserId> = users.iter().filter(here).cloned().collect();
        let routes = self.registry.find(users).await?;
        online.extend(routes.into_iter().map(|route| route.user));
        Ok(online)
    }

    /// A user's last connection here went.
    pub(crate) async fn show_gone(self: &Arc<Self>, user: &UserId) {
        let still = self.online(std::slice::from_ref(user)).await;
        // Where the registry is away, others know no better than this node.
        if still.is_ok_and(|still| !still.is_empty()) {
            return;
        }
        let at = self.show_presence(user, false);
        // Who is sent to another node by a drain is there in a moment.
        if !self.draining.load(Ordering::Acquire) {
            self.keep_seen(user, at).await;
        }
    }

    /// A user's first connection here came, or the last went.
    pub(crate) fn show_presence(self: &Arc<Self>, user: &UserId, online: bool) -> Timestamp {
        let at = self.clock.timestamp();
        self.watchers.tell(user, online, at);
        self.publish(&BusMessage::Presence {
            user: user.clone(),
            online,
            at,
        });
        at
    }

    /// A device says that its user is typing.
    pub(crate) fn on_typing(self: &Arc<Self>, local: &LocalUser, conv: &ConversationId) {
        let Some(room) = self.rooms.get(conv) else {
            return;
        };
        let now = self.clock.now();
        {
            let mut state = room.state.lock();
            // In a channel, it would show who has subscribed.
            let count = match &state.info {
                Some(info) if info.kind != ConversationKind::Channel => info.member_count,
                _ => u32::MAX,
            };
            if count > TYPING_MEMBERS_MAX || !state.places.contains_key(&local.id) {
                return;
            }
            let last = state.typing.get(&local.id);
            if last.is_some_and(|last| now.saturating_duration_since(*last) < TYPING_EVERY) {
                return;
            }
            state.typing.insert(local.id.clone(), now);
        }
        self.show_typing(conv, &local.id);
        let (conv, user) = (conv.clone(), local.id.clone());
        self.publish(&BusMessage::Typing { conv, user });
    }

    /// Passes a `typing` on to the others who are here.
    pub(crate) fn show_typing(&self, conv: &ConversationId, user: &UserId) {
        let Some(room) = self.rooms.get(conv) else {
            return;
        };
        let frame = ServerFrame::Typing {
            conv: conv.clone(),
            user: user.clone(),
        };
        for (other, local) in room.state.lock().machine.users() {
            if other != user {
                for link in local.links() {
                    link.send_if_idle(frame.clone());
                }
            }
        }
    }
}
