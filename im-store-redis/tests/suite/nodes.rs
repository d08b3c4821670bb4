//! Several nodes, each with a connection of its own.

use im_core::port::{PortErrorKind, Registry};
use tokio::time::{Instant, sleep};

use crate::{Leftovers, connect, keys, node, options, raw, route, url, user};

#[tokio::test]
async fn a_look_up_is_believed_for_a_short_time_and_away_never() {
    let Some(url) = url() else { return };
    let options = options();
    let _gone = Leftovers::of(&url, &options);
    let (a, b) = (connect(&url, &options).await, connect(&url, &options).await);
    let (on_a, on_b) = (
        a.enter(&node("a")).await.unwrap(),
        b.enter(&node("b")).await.unwrap(),
    );
    // Away is asked again, so who comes is found at once.
    assert_eq!(a.find(&[user("al")]).await.unwrap(), []);
    let there = route("b", &on_b, "al", 1);
    b.put(there.clone()).await.unwrap();
    assert_eq!(
        a.find(&[user("al")]).await.unwrap(),
        std::slice::from_ref(&there)
    );
    // What another node writes is seen a little later, what this one writes at once.
    b.remove(&there).await.unwrap();
    let start = Instant::now();
    while !a.find(&[user("al")]).await.unwrap().is_empty() {
        assert!(start.elapsed() < options.look_up * 2);
        sleep(options.look_up / 20).await;
    }
    b.put(there.clone()).await.unwrap();
    assert_eq!(
        a.find(&[user("al")]).await.unwrap(),
        std::slice::from_ref(&there)
    );
    let here = route("a", &on_a, "al", 1);
    assert_eq!(a.put(here.clone()).await.unwrap(), Some(there));
    assert_eq!(a.find(&[user("al")]).await.unwrap(), [here]);
}

#[tokio::test]
async fn one_name_at_once_from_everywhere_is_given_once() {
    let Some(url) = url() else { return };
    let options = options();
    let _gone = Leftovers::of(&url, &options);
    let mut nodes = Vec::new();
    for _ in 0..8 {
        nodes.push(connect(&url, &options).await);
    }
    let name = node("n");
    let enter = nodes.iter().map(|it| it.enter(&name));
    let entered = futures_util::future::join_all(enter).await;
    assert_eq!(entered.iter().filter(|it| it.is_ok()).count(), 1);
    let refused = entered.iter().filter_map(|it| it.as_ref().err());
    assert!(
        refused
            .into_iter()
            .all(|it| it.kind() == PortErrorKind::Fenced)
    );
}

#[tokio::test]
async fn a_redis_that_forgot_everything_is_filled_again_with_greater_epochs() {
    let Some(url) = url() else { return };
    let options = options();
    let _gone = Leftovers::of(&url, &options);
    let registry = connect(&url, &options).await;
    let lease = registry.enter(&node("n")).await.unwrap();
    registry.put(route("n", &lease, "al", 1)).await.unwrap();
    let mut raw = raw(&url).await;
    for key in keys(&mut raw, &options).await {
        let mut forget = redis::cmd("DEL");
        forget.arg(format!("{{{}}}:registry:{key}", options.prefix));
        forget.query_async::<()>(&mut raw).await.unwrap();
    }
    let refused = registry.renew(&node("n"), lease.epoch).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Fenced);
    let again = registry.enter(&node("n")).await.unwrap();
    assert!(again.epoch > lease.epoch, "{again:?} {lease:?}");
    let route = route("n", &again, "al", 1);
    assert_eq!(registry.restore(route.clone()).await.unwrap(), None);
    assert_eq!(registry.find(&[user("al")]).await.unwrap(), [route]);
}

#[tokio::test]
async fn what_dead_nodes_left_is_tidied_up() {
    let Some(url) = url() else { return };
    let options = options();
    let _gone = Leftovers::of(&url, &options);
    let registry = connect(&url, &options).await;
    let dead = registry.enter(&node("dead")).await.unwrap();
    // More than one go.
    let puts = (0..1200).map(|n| registry.put(route("dead", &dead, &format!("u{n}"), n)));
    let puts = futures_util::future::join_all(puts).await;
    assert!(puts.iter().all(Result::is_ok));
    sleep(options.lease + options.lease / 10).await;
    let live = registry.enter(&node("live")).await.unwrap();
    registry.put(route("live", &live, "u7", 1)).await.unwrap();
    for _ in 0..3 {
        registry.renew(&node("live"), live.epoch).await.unwrap();
    }
    let of_live = format!("of:{}", live.epoch);
    let left = ["epoch", "epochs", "node:live", &of_live, "user:u7"];
    assert_eq!(keys(&mut raw(&url).await, &options).await, left);
    // What is removed leaves nothing either.
    registry
        .remove(&route("live", &live, "u7", 1))
        .await
        .unwrap();
    registry.leave(&node("live"), live.epoch).await.unwrap();
    assert_eq!(keys(&mut raw(&url).await, &options).await, ["epoch"]);
}
