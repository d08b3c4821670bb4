//! What every registry must do: [`registry_suite!`](crate::registry_suite).

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{ConnectionId, DeviceId, NodeId, UserId};
use im_core::port::{Lease, PortErrorKind, Registry, Route};

type Shared = Arc<dyn Registry>;

/// The longest lease that the suite waits for.
const TTL_MAX: Duration = Duration::from_secs(2);
/// Ids that a key scheme which folds case or joins names takes for one another.
const LOOK_ALIKES: [&str; 9] = ["a", "A", "á", "a\u{301}", "a ", "a:a", "a/a", "a*", "*"];

fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

fn user(id: &str) -> UserId {
    UserId::new(id).expect("a user id")
}

/// A live node of a registry.
struct Live<'a> {
    registry: &'a Shared,
    id: NodeId,
    lease: Lease,
}

impl<'a> Live<'a> {
    async fn enter(registry: &'a Shared, id: &str) -> Self {
        let id = node(id);
        let lease = registry.enter(&id).await.expect("nobody has this name");
        assert!(
            lease.ttl <= TTL_MAX,
            "the suite needs leases of at most {TTL_MAX:?}"
        );
        Self {
            registry,
            id,
            lease,
        }
    }

    fn route(&self, who: &str, device: &str, conn: u64) -> Route {
        Route {
            user: user(who),
            device: DeviceId::new(device).expect("a device id"),
            node: self.id.clone(),
            epoch: self.lease.epoch,
            conn: ConnectionId(conn),
        }
    }

    async fn put(&self, who: &str, device: &str, conn: u64) -> Option<Route> {
        let put = self.registry.put(self.route(who, device, conn)).await;
        put.expect("the lease holds")
    }

    async fn renew(&self) -> Result<(), PortErrorKind> {
        let renewed = self.registry.renew(&self.id, self.lease.epoch).await;
        renewed.map_err(|error| error.kind())
    }

    async fn leave(&self) {
        let left = self.registry.leave(&self.id, self.lease.epoch).await;
        left.expect("the lease holds");
    }

    /// Waits until the lease is over, with room for a busy machine.
    async fn end(&self) {
        tokio::time::sleep(self.lease.ttl + self.lease.ttl / 2).await;
    }
}

async fn find(registry: &Shared, users: &[&str]) -> Vec<Route> {
    let users: Vec<_> = users.iter().map(|id| user(id)).collect();
    let mut found = registry.find(&users).await.expect("routes");
    found.sort_by(|a, b| (&a.user, &a.device).cmp(&(&b.user, &b.device)));
    found
}

/// Every start gets a greater number, whichever node it is.
pub async fn the_epoch_grows_with_every_start(registry: Shared) {
    let mut last = 0;
    for id in ["n", "m", "N", "o"] {
        let live = Live::enter(&registry, id).await;
        assert!(live.lease.epoch > last);
        last = live.lease.epoch;
    }
}

/// A live node's name is its own; when it left, the name is free and the number greater.
pub async fn a_live_nodes_name_is_its_own(registry: Shared) {
    let first = Live::enter(&registry, "n").await;
    let refused = registry.enter(&node("n")).await.expect_err("it lives");
    assert_eq!(refused.kind(), PortErrorKind::Fenced);
    first
        .renew()
        .await
        .expect("the refused one changed nothing");
    first.leave().await;
    let second = Live::enter(&registry, "n").await;
    assert!(second.lease.epoch > first.lease.epoch);
}

/// A lease ends by itself: it can't be renewed, its routes are void, its name is free.
pub async fn a_lease_ends_by_itself(registry: Shared) {
    let first = Live::enter(&registry, "n").await;
    first.put("al", "phone", 1).await;
    assert_eq!(find(&registry, &["al"]).await.len(), 1);
    first.end().await;
    assert!(find(&registry, &["al"]).await.is_empty());
    assert_eq!(first.renew().await, Err(PortErrorKind::Fenced));
    let second = Live::enter(&registry, "n").await;
    assert!(second.lease.epoch > first.lease.epoch);
    assert!(
        find(&registry, &["al"]).await.is_empty(),
        "routes of an earlier lease"
    );
    assert_eq!(first.renew().await, Err(PortErrorKind::Fenced));
    second.renew().await.expect("it lives");
}

/// A renewed lease holds, and its routes with it, without being written again.
pub async fn a_renewed_lease_holds(registry: Shared) {
    let live = Live::enter(&registry, "n").await;
    live.put("al", "phone", 1).await;
    for _ in 0..9 {
        tokio::time::sleep(live.lease.ttl / 3).await;
        live.renew().await.expect("in time");
    }
    assert_eq!(
        find(&registry, &["al"]).await,
        [live.route("al", "phone", 1)]
    );
}

/// Only the lease that was given is renewed: not a wrong number, not an unknown node.
pub async fn only_the_lease_that_was_given_is_renewed(registry: Shared) {
    let live = Live::enter(&registry, "n").await;
    for (id, epoch) in [
        ("n", live.lease.epoch + 1),
        ("N", live.lease.epoch),
        ("x", 1),
    ] {
        let refused = registry
            .renew(&node(id), epoch)
            .await
            .expect_err("not that lease");
        assert_eq!(refused.kind(), PortErrorKind::Fenced);
    }
    live.renew().await.expect("it lives");
}

/// Routes are found by their users, all devices of all users asked for, on whichever node.
pub async fn routes_are_found_by_user(registry: Shared) {
    let (n, m) = (
        Live::enter(&registry, "n").await,
        Live::enter(&registry, "m").await,
    );
    assert!(find(&registry, &["al"]).await.is_empty());
    assert_eq!(n.put("al", "phone", 1).await, None);
    assert_eq!(m.put("al", "laptop", 1).await, None);
    assert_eq!(n.put("bo", "phone", 2).await, None);
    assert_eq!(n.put("cy", "phone", 3).await, None);
    let expected = [
        m.route("al", "laptop", 1),
        n.route("al", "phone", 1),
        n.route("bo", "phone", 2),
    ];
    assert_eq!(find(&registry, &["bo", "al", "nobody"]).await, expected);
    assert!(find(&registry, &[]).await.is_empty());
}

/// Many users are found at once.
pub async fn many_users_are_found_at_once(registry: Shared) {
    let live = Live::enter(&registry, "n").await;
    let names: Vec<_> = (0..300).map(|n| format!("u{n:03}")).collect();
    for (n, name) in names.iter().enumerate().step_by(3) {
        live.put(name, "d", n as u64).await;
    }
    live.renew().await.expect("in time");
    let asked: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(find(&registry, &asked).await.len(), 100);
}

/// Users, devices and nodes are compared byte by byte.
pub async fn ids_that_look_alike_have_their_own_routes(registry: Shared) {
    let live = Live::enter(&registry, "a").await;
    for (n, who) in LOOK_ALIKES.iter().enumerate() {
        for (m, device) in LOOK_ALIKES.iter().enumerate() {
            let conn = (n * LOOK_ALIKES.len() + m) as u64;
            assert_eq!(
                live.put(who, device, conn).await,
                None,
                "{who:?} {device:?}"
            );
        }
    }
    live.renew().await.expect("in time");
    for who in LOOK_ALIKES {
        let found = find(&registry, &[who]).await;
        assert_eq!(found.len(), LOOK_ALIKES.len(), "{who:?}");
        assert!(found.iter().all(|route| route.user == user(who)));
    }
}

/// A device that connects again displaces its earlier route, elsewhere or here, and only that.
pub async fn a_device_displaces_its_earlier_route(registry: Shared) {
    let (n, m) = (
        Live::enter(&registry, "n").await,
        Live::enter(&registry, "m").await,
    );
    n.put("al", "phone", 1).await;
    n.put("al", "laptop", 2).await;
    assert_eq!(
        m.put("al", "phone", 1).await,
        Some(n.route("al", "phone", 1))
    );
    assert_eq!(
        m.put("al", "phone", 7).await,
        Some(m.route("al", "phone", 1))
    );
    assert_eq!(m.put("al", "phone", 7).await, None, "the same connection");
    let expected = [n.route("al", "laptop", 2), m.route("al", "phone", 7)];
    assert_eq!(find(&registry, &["al"]).await, expected);
}

/// A connection that is written anew displaces none that came later, elsewhere or here.
pub async fn what_is_restored_displaces_nothing_that_came_later(registry: Shared) {
    let (n, m) = (
        Live::enter(&registry, "n").await,
        Live::enter(&registry, "m").await,
    );
    let restore = async |route: Route| registry.restore(route).await.expect("the lease holds");
    assert_eq!(restore(n.route("al", "phone", 1)).await, None);
    assert_eq!(find(&registry, &["al"]).await, [n.route("al", "phone", 1)]);
    assert_eq!(restore(n.route("al", "phone", 1)).await, None, "again");
    // A later connection here, and one that is earlier.
    assert_eq!(restore(n.route("al", "phone", 5)).await, None);
    let five = n.route("al", "phone", 5);
    assert_eq!(restore(n.route("al", "phone", 1)).await, Some(five));
    m.put("al", "phone", 2).await;
    let two = m.route("al", "phone", 2);
    assert_eq!(restore(n.route("al", "phone", 5)).await, Some(two.clone()));
    assert_eq!(find(&registry, &["al"]).await, [two]);
    assert_eq!(restore(n.route("al", "laptop", 6)).await, None);
    assert_eq!(find(&registry, &["al"]).await.len(), 2);
}

/// A void route keeps nobody from being written anew, and a void lease writes nothing.
pub async fn what_is_restored_counts_as_far_as_leases_hold(registry: Shared) {
    let late = Live::enter(&registry, "late").await;
    late.put("al", "phone", 9).await;
    late.end().await;
    let live = Live::enter(&registry, "live").await;
    let restored = registry.restore(live.route("al", "phone", 1)).await;
    assert_eq!(restored.expect("the lease holds"), None);
    let refused = registry.restore(late.route("al", "phone", 9)).await;
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(PortErrorKind::Fenced)
    );
    let found = find(&registry, &["al"]).await;
    assert_eq!(found, [live.route("al", "phone", 1)]);
}

/// A closed connection takes its own route away, never the one that replaced it.
pub async fn a_closed_connection_removes_only_its_own_route(registry: Shared) {
    let (n, m) = (
        Live::enter(&registry, "n").await,
        Live::enter(&registry, "m").await,
    );
    let old = n.route("al", "phone", 1);
    n.put("al", "phone", 1).await;
    m.put("al", "phone", 1).await;
    registry.remove(&old).await.expect("nothing to do");
    assert_eq!(find(&registry, &["al"]).await, [m.route("al", "phone", 1)]);
    registry
        .remove(&m.route("al", "phone", 9))
        .await
        .expect("nothing to do");
    registry
        .remove(&m.route("al", "laptop", 1))
        .await
        .expect("nothing to do");
    assert_eq!(find(&registry, &["al"]).await, [m.route("al", "phone", 1)]);
    registry
        .remove(&m.route("al", "phone", 1))
        .await
        .expect("removed");
    assert!(find(&registry, &["al"]).await.is_empty());
    registry
        .remove(&m.route("al", "phone", 1))
        .await
        .expect("nothing to do");
    assert_eq!(n.put("al", "phone", 2).await, None);
}

/// A node that leaves takes its routes with it at once, and nobody else's.
pub async fn a_node_that_leaves_takes_its_routes(registry: Shared) {
    let (n, m) = (
        Live::enter(&registry, "n").await,
        Live::enter(&registry, "m").await,
    );
    n.put("al", "phone", 1).await;
    m.put("al", "laptop", 1).await;
    n.leave().await;
    assert_eq!(find(&registry, &["al"]).await, [m.route("al", "laptop", 1)]);
    assert_eq!(n.renew().await, Err(PortErrorKind::Fenced));
    let again = Live::enter(&registry, "n").await;
    assert_eq!(find(&registry, &["al"]).await.len(), 1);
    // A late leave of the earlier lease does nothing to this one, whatever it answers.
    again.put("al", "phone", 2).await;
    let _ = registry.leave(&n.id, n.lease.epoch).await;
    again.renew().await.expect("it lives");
    assert_eq!(find(&registry, &["al"]).await.len(), 2);
}

/// A node whose lease is over is fenced: its late writes neither show nor displace anybody's.
pub async fn late_writes_of_an_ended_lease_do_nothing(registry: Shared) {
    let late = Live::enter(&registry, "late").await;
    late.put("al", "phone", 1).await;
    late.put("bo", "phone", 2).await;
    late.end().await;
    let live = Live::enter(&registry, "live").await;
    assert_eq!(
        live.put("al", "phone", 1).await,
        None,
        "a void route is not displaced"
    );
    for (who, conn) in [("al", 3), ("bo", 4), ("cy", 5)] {
        let refused = registry.put(late.route(who, "phone", conn)).await;
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(PortErrorKind::Fenced)
        );
    }
    let _ = registry.remove(&late.route("al", "phone", 1)).await;
    let expected = [live.route("al", "phone", 1)];
    assert_eq!(find(&registry, &["al", "bo", "cy"]).await, expected);
}

/// One device that connects everywhere at once ends up in one place, and each of the others was
/// displaced exactly once.
pub async fn one_device_at_once_everywhere_ends_up_in_one_place(registry: Shared) {
    let live = Live::enter(&registry, "n").await;
    let puts = (0..16).map(|conn| live.put("al", "phone", conn));
    let displaced = futures_util::future::join_all(puts).await;
    let found = find(&registry, &["al"]).await;
    assert_eq!(found.len(), 1);
    let mut conns: Vec<_> = displaced.into_iter().flatten().map(|it| it.conn).collect();
    conns.push(found[0].conn);
    conns.sort_unstable();
    assert_eq!(conns, (0..16).map(ConnectionId).collect::<Vec<_>>());
}

/// Makes the tests of a [`Registry`]: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Arc<dyn Registry>)`, evaluated for each case: a registry
/// that nobody else uses, with leases short enough to wait for (at most 2 s; long enough for a
/// busy machine). See [`suite`](crate::suite).
#[macro_export]
macro_rules! registry_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, registry,
            the_epoch_grows_with_every_start
            a_live_nodes_name_is_its_own
            a_lease_ends_by_itself
            a_renewed_lease_holds
            only_the_lease_that_was_given_is_renewed
            routes_are_found_by_user
            many_users_are_found_at_once
            ids_that_look_alike_have_their_own_routes
            a_device_displaces_its_earlier_route
            what_is_restored_displaces_nothing_that_came_later
            what_is_restored_counts_as_far_as_leases_hold
            a_closed_connection_removes_only_its_own_route
            a_node_that_leaves_takes_its_routes
            late_writes_of_an_ended_lease_do_nothing
            one_device_at_once_everywhere_ends_up_in_one_place
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("registry.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
