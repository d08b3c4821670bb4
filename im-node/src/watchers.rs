//! Users who are watched, and the connections that do.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use im_core::frame::Limits;
use im_core::model::{ConnectionId, Timestamp, UserId};
use parking_lot::Mutex;

use crate::link::Link;
use crate::presence::presence;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    state: Mutex<State>,
    /// Those around whom it is looked now what is still allowed, and whether to look again then.
    looked_at: Mutex<BTreeMap<UserId, bool>>,
}

#[derive(Debug, Default)]
struct State {
    by_user: BTreeMap<UserId, Watched>,
    /// The same the other way around: whom a connection watches.
    by_link: BTreeMap<ConnectionId, Vec<UserId>>,
}

#[derive(Debug, Default)]
struct Watched {
    links: BTreeMap<ConnectionId, Watcher>,
    /// What the links were told last, or are being told.
    online: Option<bool>,
    /// How often that was told: what was asked before counts for nothing after.
    told: u64,
}

#[derive(Debug)]
struct Watcher {
    link: Arc<Link>,
    /// It has been answered; before, nothing is told: it may not be allowed.
    is_open: bool,
}

/// A watched user, as of when it was asked whether they are here.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) user: UserId,
    told: u64,
}

impl Watchers {
    /// A connection wants to watch exactly these users from now on. Each is to be
    /// [answered](Self::answer), or [ended](Self::end) where it is not allowed: who is asked about
    /// only after this can't be missed when it changes. Nothing for a connection that is gone.
    pub(crate) fn watch(&self, link: &Arc<Link>, users: &[UserId]) -> Vec<Asked> {
        debug_assert!(users.len() <= Limits::WATCHED_MAX);
        let mut state = self.state.lock();
        state.forget(link.id);
        // It is gone before it is forgotten: whoever comes after that leaves nothing behind.
        if link.is_gone() {
            return Vec::new();
        }
        let State { by_user, by_link } = &mut *state;
        by_link.insert(link.id, users.to_vec());
        let mut watch = |user: &UserId| {
            let watched = by_user.entry(user.clone()).or_default();
            let link = Arc::clone(link);
            let is_open = false;
            watched.links.insert(link.id, Watcher { link, is_open });
            watched.asked(user)
        };
        users.iter().map(&mut watch).collect()
    }

    /// What a connection that watches a user since then is told first, unless that was ended.
    /// Whatever the user did meanwhile holds.
    pub(crate) fn answer(&self, link: &Link, asked: &Asked, online: bool, at: Timestamp) {
        let mut state = self.state.lock();
        let Some(watched) = state.by_user.get_mut(&asked.user) else {
            return;
        };
        if watched.told == asked.told {
            watched.online = Some(online);
        }
        let online = watched.online.unwrap_or(online);
        if let Some(watcher) = watched.links.get_mut(&link.id) {
            watcher.is_open = true;
            link.send_presence(presence(&asked.user, online, at));
        }
    }

    /// A connection is gone, or watches others.
    pub(crate) fn forget(&self, link: ConnectionId) {
        self.state.lock().forget(link);
    }

    /// Who watches a user, and whom these connections of that user's watch.
    pub(crate) fn around(&self, user: &UserId, own: &[Arc<Link>]) -> Vec<(Arc<Link>, UserId)> {
        let state = self.state.lock();
        let others = state.by_user.get(user).into_iter();
        let others = others.flat_map(|watched| watched.links.values());
        let mut around: Vec<_> = others
            .map(|watcher| (Arc::clone(&watcher.link), user.clone()))
            .collect();
        for link in own {
            let users = state.by_link.get(&link.id).into_iter().flatten();
            around.extend(users.map(|watched| (Arc::clone(link), watched.clone())));
        }
        around
    }

    /// Who watches some of those who are watched, and the last of these, after one of them.
    pub(crate) fn pairs(&self, after: Option<&UserId>, users: usize) -> Vec<(Arc<Link>, UserId)> {
        let state = self.state.lock();
        let mut pairs = Vec::new();
        for (user, watched) in state.after(after).take(users) {
            let links = watched.links.values();
            pairs.extend(links.map(|watcher| (Arc::clone(&watcher.link), user.clone())));
        }
        pairs
    }

    /// A connection may not watch a user, and sees nobody there any more.
    pub(crate) fn end(&self, link: &Link, user: &UserId) {
        let mut state = self.state.lock();
        if let Some(users) = state.by_link.get_mut(&link.id) {
            users.retain(|other| other != user);
        }
        let Some(watched) = state.by_user.get_mut(user) else {
            return;
        };
        let ended = watched.links.remove(&link.id);
        if ended.is_some_and(|watcher| watcher.is_open) {
            link.send_presence(presence(user, false, Timestamp(0)));
        }
        if watched.links.is_empty() {
            state.by_user.remove(user);
        }
    }

    /// It is to be looked around a user what is still allowed. False when somebody does: they look
    /// again when they have done.
    pub(crate) fn begin_look(&self, user: &UserId) -> bool {
        let mut looked_at = self.looked_at.lock();
        if let Some(again) = looked_at.get_mut(user) {
            *again = true;
            return false;
        }
        looked_at.insert(user.clone(), false);
        true
    }

    /// It was looked around a user. True when it is to be done again.
    pub(crate) fn end_look(&self, user: &UserId) -> bool {
        let mut looked_at = self.looked_at.lock();
        let again = looked_at.get_mut(user).is_some_and(std::mem::take);
        if !again {
            looked_at.remove(user);
        }
        again
    }

    /// A user came or went.
    pub(crate) fn tell(&self, user: &UserId, online: bool, at: Timestamp) {
        if let Some(watched) = self.state.lock().by_user.get_mut(user) {
            watched.tell(user, online, at);
        }
    }

    /// Those who are watched, after one of them, in order.
    pub(crate) fn ask(&self, after: Option<&UserId>, limit: usize) -> Vec<Asked> {
        let state = self.state.lock();
        let watched = state.after(after);
        let asked = watched.map(|(user, watched)| watched.asked(user));
        asked.take(limit).collect()
    }

    /// Whether a user was here when it was asked: told if it is news.
    pub(crate) fn check(&self, asked: &Asked, online: bool, at: Timestamp) {
        if let Some(watched) = self.state.lock().by_user.get_mut(&asked.user)
            && watched.told == asked.told
            && watched.online.is_some_and(|known| known != online)
        {
            watched.tell(&asked.user, online, at);
        }
    }
}

impl State {
    fn forget(&mut self, link: ConnectionId) {
        for user in self.by_link.remove(&link).unwrap_or_default() {
            if let Some(watched) = self.by_user.get_mut(&user) {
                watched.links.remove(&link);
                if watched.links.is_empty() {
                    self.by_user.remove(&user);
                }
            }
        }
    }

    fn after(&self, user: Option<&UserId>) -> impl Iterator<Item = (&UserId, &Watched)> {
        let from = user.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_user.range::<UserId, _>((from, Bound::Unbounded))
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
        for watcher in self.links.values().filter(|watcher| watcher.is_open) {
            watcher.link.send_presence(presence(user, online, at));
        }
    }
}
