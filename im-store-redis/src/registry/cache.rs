//! Look-ups that found somebody, for a short time. That nobody was found is never kept: who
//! connects a moment later is to be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use im_core::model::UserId;
use im_core::port::Route;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The most users that are kept.
const USERS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Cache {
    holds: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with everything that is forgotten: what was asked before is not kept after.
    generation: u64,
    users: BTreeMap<UserId, Known>,
}

#[derive(Debug)]
struct Known {
    routes: Vec<Route>,
    until: Instant,
}

/// What is known of some users.
#[derive(Debug)]
pub(crate) struct LookedUp {
    pub(crate) routes: Vec<Route>,
    pub(crate) unknown: Vec<UserId>,
    pub(crate) generation: u64,
}

impl Cache {
    pub(crate) fn new(holds: Duration) -> Self {
        Self {
            holds,
            state: Mutex::default(),
        }
    }

    pub(crate) fn look_up(&self, users: &[UserId]) -> LookedUp {
        let now = Instant::now();
        let state = self.state.lock();
        let mut looked_up = LookedUp {
            routes: Vec::new(),
            unknown: Vec::new(),
            generation: state.generation,
        };
        for user in users {
            match state.users.get(user).filter(|known| known.until > now) {
                Some(known) => looked_up.routes.extend_from_slice(&known.routes),
                None => looked_up.unknown.push(user.clone()),
            }
        }
        looked_up
    }

    /// Keeps what was found, asked at `asked`; beside each route stands how long its lease held.
    pub(crate) fn keep(&self, generation: u64, asked: Instant, found: &[(Route, Duration)]) {
        let mut of_users = BTreeMap::<UserId, Known>::new();
        for (route, lease) in found {
            let until = asked + self.holds.min(*lease);
            let known = of_users.entry(route.user.clone()).or_insert_with(|| Known {
                routes: Vec::new(),
                until,
            });
            known.until = known.until.min(until);
            known.routes.push(route.clone());
        }
        let mut state = self.state.lock();
        if state.generation != generation || self.holds.is_zero() {
            return;
        }
        if state.users.len() + of_users.len() > USERS_MAX {
            let now = Instant::now();
            state.users.retain(|_, known| known.until > now);
        }
        if state.users.len() + of_users.len() > USERS_MAX {
            state.users.clear();
        }
        state.users.append(&mut of_users);
    }

    pub(crate) fn forget(&self, user: &UserId) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.users.remove(user);
    }

    pub(crate) fn forget_all(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.users.clear();
    }
}

#[cfg(test)]
mod tests {
    use im_core::model::{ConnectionId, DeviceId, NodeId};

    use super::*;

    const HOLDS: Duration = Duration::from_secs(2);

    fn user(n: usize) -> UserId {
        UserId::new(format!("u{n}")).unwrap()
    }

    fn route(n: usize) -> Route {
        Route {
            user: user(n),
            device: DeviceId::new("phone").unwrap(),
            node: NodeId::new("n").unwrap(),
            epoch: 1,
            conn: ConnectionId(1),
        }
    }

    fn is_known(cache: &Cache, n: usize) -> bool {
        cache.look_up(&[user(n)]).unknown.is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_time_or_with_the_lease() {
        let cache = Cache::new(HOLDS);
        let long = Duration::from_secs(60);
        cache.keep(
            0,
            Instant::now(),
            &[(route(1), long), (route(2), HOLDS / 2)],
        );
        assert!(is_known(&cache, 1) && is_known(&cache, 2) && !is_known(&cache, 3));
        tokio::time::advance(HOLDS / 2).await;
        assert!(is_known(&cache, 1) && !is_known(&cache, 2));
        tokio::time::advance(HOLDS / 2).await;
        assert!(!is_known(&cache, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_not_kept_after_it() {
        let cache = Cache::new(HOLDS);
        let asked = cache.look_up(&[user(1)]);
        cache.forget(&user(1));
        cache.keep(asked.generation, Instant::now(), &[(route(1), HOLDS)]);
        assert!(!is_known(&cache, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_holds_more_than_its_bound() {
        let cache = Cache::new(HOLDS);
        for n in 0..USERS_MAX + 5 {
            cache.keep(0, Instant::now(), &[(route(n), HOLDS)]);
            assert!(is_known(&cache, n));
        }
        assert_eq!(cache.state.lock().users.len(), 5);
    }
}
