//! Who is here, told to those who watch; and who is typing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{Limits, ServerFrame};
use im_core::model::{ConnectionId, ConversationId, Timestamp, UserId};
use parking_lot::Mutex;

use crate::hub::LocalUser;
use crate::link::Link;
use crate::node::Inner;
use crate::router::BusMessage;

/// A user's `typing` is passed on at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// Larger groups are not told who is typing.
const TYPING_MEMBERS_MAX: u32 = 100;

/// Connections that watch users.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    by_user: Mutex<BTreeMap<UserId, BTreeMap<ConnectionId, Arc<Link>>>>,
}

impl Watchers {
    /// A connection watches exactly these users from now on.
    pub(crate) fn watch(&self, link: &Arc<Link>, users: &[UserId]) {
        debug_assert!(users.len() <= Limits::WATCHED_MAX);
        self.forget(link.id);
        let mut by_user = self.by_user.lock();
        for user in users {
            by_user
                .entry(user.clone())
                .or_default()
                .insert(link.id, Arc::clone(link));
        }
    }

    /// A connection is gone, or watches others.
    pub(crate) fn forget(&self, link: ConnectionId) {
        self.by_user.lock().retain(|_, links| {
            links.remove(&link);
            !links.is_empty()
        });
    }

    /// A user came or went.
    pub(crate) fn tell(&self, user: &UserId, online: bool, at: Timestamp) {
        let by_user = self.by_user.lock();
        let Some(links) = by_user.get(user) else {
            return;
        };
        let frame = presence(user, online, at);
        for link in links.values() {
            link.send_if_idle(frame.clone());
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
    /// A user's first connection here came, or the last went.
    pub(crate) fn show_presence(self: &Arc<Self>, user: &UserId, online: bool) {
        let at = self.clock.timestamp();
        self.watchers.tell(user, online, at);
        self.publish(&BusMessage::Presence {
            user: user.clone(),
            online,
            at,
        });
    }

    /// A device says that its user is typing.
    pub(crate) fn on_typing(self: &Arc<Self>, local: &LocalUser, conv: &ConversationId) {
        let Some(room) = self.rooms.get(conv) else {
            return;
        };
        let now = self.clock.now();
        {
            let mut state = room.state.lock();
            let count = state
                .info
                .as_ref()
                .map_or(u32::MAX, |info| info.member_count);
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
