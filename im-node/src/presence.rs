//! Who is here, told to those who watch; and who is typing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::frame::{Limits, ServerFrame};
use im_core::model::{ConnectionId, ConversationId, Timestamp, UserId};
use im_core::port::PortError;
use parking_lot::Mutex;

use crate::hub::LocalUser;
use crate::link::Link;
use crate::node::Inner;
use crate::router::BusMessage;

/// A user's `typing` is passed on at most this often.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// Larger groups are not told who is typing.
const TYPING_MEMBERS_MAX: u32 = 100;
/// How often it is looked who of those who are watched is here.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How many users are looked up at once.
const CHECK_USERS: usize = 500;

/// Users who are watched, and the connections that do.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    by_user: Mutex<BTreeMap<UserId, Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    links: BTreeMap<ConnectionId, Arc<Link>>,
    /// What the links were told last, or are being told.
    online: Option<bool>,
    /// How often that was told: what was asked before counts for nothing after.
    told: u64,
}

/// A watched user, as of when it was asked whether they are here.
#[derive(Debug)]
pub(crate) struct Asked {
    user: UserId,
    told: u64,
}

impl Watchers {
    /// A connection watches exactly these users from now on. It is to be [answered](Self::answer)
    /// who of them is here.
    pub(crate) fn watch(&self, link: &Arc<Link>, users: &[UserId]) -> Vec<Asked> {
        debug_assert!(users.len() <= Limits::WATCHED_MAX);
        self.forget(link.id);
        let mut by_user = self.by_user.lock();
        let mut watch = |user: &UserId| {
            let watched = by_user.entry(user.clone()).or_default();
            watched.links.insert(link.id, Arc::clone(link));
            watched.asked(user)
        };
        users.iter().map(&mut watch).collect()
    }

    /// What a connection that watches a user since then is told first. Whatever the user did
    /// meanwhile was told, and holds.
    pub(crate) fn answer(&self, link: &Arc<Link>, asked: &Asked, online: bool, at: Timestamp) {
        let mut by_user = self.by_user.lock();
        let Some(watched) = by_user.get_mut(&asked.user) else {
            return;
        };
        if watched.told == asked.told {
            watched.online = Some(online);
        }
        let online = watched.online.unwrap_or(online);
        link.send_presence(presence(&asked.user, online, at));
    }

    /// A connection is gone, or watches others.
    pub(crate) fn forget(&self, link: ConnectionId) {
        self.by_user.lock().retain(|_, watched| {
            watched.links.remove(&link);
            !watched.links.is_empty()
        });
    }

    /// Who watches a user, and whom that user's connections watch.
    pub(crate) fn around(&self, user: &UserId) -> Vec<(Arc<Link>, UserId)> {
        let by_user = self.by_user.lock();
        let mut around = Vec::new();
        for (watched, state) in by_user.iter() {
            let is_theirs = |link: &Arc<Link>| link.who().is_some_and(|(who, _)| who == user);
            let links = state.links.values();
            let links = links.filter(|link| watched == user || is_theirs(link));
            around.extend(links.map(|link| (Arc::clone(link), watched.clone())));
        }
        around
    }

    /// A connection may not watch a user any more, and sees nobody there.
    pub(crate) fn end(&self, link: &Arc<Link>, user: &UserId) {
        let mut by_user = self.by_user.lock();
        let Some(watched) = by_user.get_mut(user) else {
            return;
        };
        if watched.links.remove(&link.id).is_some() {
            link.send_presence(presence(user, false, Timestamp(0)));
        }
        if watched.links.is_empty() {
            by_user.remove(user);
        }
    }

    /// A user came or went.
    pub(crate) fn tell(&self, user: &UserId, online: bool, at: Timestamp) {
        if let Some(watched) = self.by_user.lock().get_mut(user) {
            watched.tell(user, online, at);
        }
    }

    /// Those who are watched, after one of them, in order.
    fn ask(&self, after: Option<&UserId>, limit: usize) -> Vec<Asked> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let by_user = self.by_user.lock();
        let watched = by_user.range::<UserId, _>((from, Bound::Unbounded));
        let asked = watched.map(|(user, watched)| watched.asked(user));
        asked.take(limit).collect()
    }

    /// Whether a user was here when it was asked: told if it is news.
    fn check(&self, asked: &Asked, online: bool, at: Timestamp) {
        if let Some(watched) = self.by_user.lock().get_mut(&asked.user)
            && watched.told == asked.told
            && watched.online.is_some_and(|known| known != online)
        {
            watched.tell(&asked.user, online, at);
        }
    }
}

impl Watched {
    fn asked(&self, user: &UserId) -> Asked {
        Asked {
            user: user.clone(),
            told: self.told,
        }
    }

    fn tell(&mut self, user: &UserId, online: bool, at: Timestamp) {
        self.told += 1;
        // Who is connected twice comes and goes more than once.
        if self.online.replace(online) == Some(online) {
            return;
        }
        for link in self.links.values() {
            link.send_presence(presence(user, online, at));
        }
    }
}

/// Asks the registry again and again who of those who are watched is here: a node may have died
/// with its users, and the bus may have lost that somebody came or went.
pub(crate) async fn check_watched(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
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
