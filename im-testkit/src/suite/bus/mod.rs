//! What every bus must do: while nothing is wrong with it, [`bus_suite!`](crate::bus_suite); when
//! the way to its broker is not well, [`bus_way_suite!`](crate::bus_way_suite); at the start,
//! [`bus_start_suite!`](crate::bus_start_suite); and when the broker itself is killed or paused,
//! [`outlives_faults`].

mod fault;
mod poison;
mod reach;
pub mod start;
#[cfg(feature = "tls")]
mod tls;
pub mod way;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Incoming, PortErrorKind, Subscription, To};
use tokio::time::{Instant, timeout};

pub use self::fault::outlives_faults;
pub use self::poison::poison_is_passed_over;
pub use self::reach::{Connected, Dial, Reach};
#[cfg(feature = "tls")]
pub use self::tls::{
    the_authority_of_a_server_with_tls_is_asked_for, the_servers_authority_is_asked_for,
};

/// Two nodes' connections to the same bus; the same one twice where there is but one.
pub type Buses = [Arc<dyn Bus>; 2];

/// How long a message may be on its way.
const WAIT: Duration = Duration::from_secs(20);
/// How long nothing must come where nothing was sent to.
const QUIET: Duration = Duration::from_millis(200);
/// More messages than any subscriber keeps that does not read.
const FLOOD: usize = 20_000;
/// Ids that a broker which folds case, joins names or knows wildcards takes for one another.
const NODES: [&str; 14] = [
    "a", "A", "á", "a\u{301}", "a ", "a.b", "a/b", "a:b", "*", "#", ">", "a.*", "?", "%",
];

fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

fn to(id: &str) -> To {
    To::Node(node(id))
}

async fn send(bus: &Arc<dyn Bus>, to: To, text: impl Into<Bytes>) {
    bus.publish(to, text.into())
        .await
        .expect("the bus takes it");
}

async fn subscribe(bus: &Arc<dyn Bus>, id: &str) -> Box<dyn Subscription> {
    bus.subscribe(&node(id)).await.expect("a subscription")
}

/// The next message; panics when none comes.
async fn next(from: &mut Box<dyn Subscription>) -> Bytes {
    match timeout(WAIT, from.next()).await {
        Ok(Some(Incoming::Message(payload))) => payload,
        other => panic!("expected a message, got {other:?}"),
    }
}

async fn assert_quiet(from: &mut Box<dyn Subscription>) {
    if let Ok(it) = timeout(QUIET, from.next()).await {
        panic!("nothing was sent there, got {it:?}");
    }
}

/// What is sent to one node reaches that node, from whichever connection, and no other.
pub async fn a_directed_message_reaches_that_node_only([a, b]: Buses) {
    let (mut one, mut two) = (subscribe(&a, "one").await, subscribe(&b, "two").await);
    send(&a, to("one"), "1").await;
    send(&b, to("one"), "2").await;
    let got: BTreeSet<_> = [next(&mut one).await, next(&mut one).await].into();
    assert_eq!(got, ["1", "2"].map(Bytes::from).into());
    assert_quiet(&mut two).await;
    send(&a, to("two"), "3").await;
    assert_eq!(next(&mut two).await, "3");
    assert_quiet(&mut one).await;
    // Nobody has that name: it is lost, and nobody minds.
    send(&a, to("nobody"), "4").await;
    assert_quiet(&mut one).await;
}

/// What is sent to all reaches every other node.
pub async fn a_broadcast_reaches_every_other_node([a, b]: Buses) {
    let _publisher = subscribe(&a, "one").await;
    let (mut two, mut three) = (subscribe(&b, "two").await, subscribe(&b, "three").await);
    for text in ["x", "y"] {
        send(&a, To::All, text).await;
        assert_eq!(next(&mut two).await, text);
        assert_eq!(next(&mut three).await, text);
    }
}

/// Node ids are compared byte by byte, and none of them is a pattern.
pub async fn nodes_that_look_alike_get_their_own_messages([a, b]: Buses) {
    let mut all = Vec::new();
    for id in NODES {
        all.push((id, subscribe(&a, id).await));
    }
    for id in NODES {
        send(&b, to(id), id).await;
    }
    for (id, subscription) in &mut all {
        assert_eq!(next(subscription).await, *id);
    }
    for (id, mut subscription) in all {
        let more = timeout(QUIET / 4, subscription.next()).await;
        assert!(more.is_err(), "{id:?} also got {more:?}");
    }
}

/// A subscription gets what is sent from now on.
pub async fn a_subscription_starts_now([a, b]: Buses) {
    send(&a, to("one"), "before").await;
    send(&a, To::All, "before").await;
    let mut one = subscribe(&b, "one").await;
    send(&a, to("one"), "after").await;
    assert_eq!(next(&mut one).await, "after");
    assert_quiet(&mut one).await;
}

/// A bus that says so keeps the order of one publisher; every bus that is well delivers all.
pub async fn messages_arrive_whole_and_in_order_if_the_bus_says_so([a, b]: Buses) {
    let mut one = subscribe(&b, "one").await;
    let texts: Vec<_> = (0..200).map(|n| Bytes::from(format!("{n:03}"))).collect();
    for (n, text) in texts.iter().enumerate() {
        let to = if n % 3 == 0 { To::All } else { to("one") };
        send(&a, to, text.clone()).await;
    }
    let mut got = Vec::new();
    for _ in &texts {
        got.push(next(&mut one).await);
    }
    if !b.capability().ordered {
        got.sort_unstable();
    }
    assert_eq!(got, texts);
}

/// Any bytes are carried, none and the largest too; more is refused as too large.
pub async fn any_bytes_up_to_the_largest_are_carried([a, b]: Buses) {
    /// A larger one is not tried: it would measure the machine.
    const TRIED_MAX: usize = 8 << 20;
    let mut one = subscribe(&b, "one").await;
    let every_byte: Bytes = (0..=u8::MAX).collect();
    let max = a.capability().payload_bytes_max;
    assert!(max >= 64 << 10, "too small for an entry");
    let largest = Bytes::from(vec![0xA5; max.min(TRIED_MAX)]);
    for payload in [Bytes::new(), every_byte, largest] {
        send(&a, to("one"), payload.clone()).await;
        assert!(next(&mut one).await == payload);
    }
    if max < TRIED_MAX {
        let larger = Bytes::from(vec![0; max + 1]);
        for to in [to("one"), To::All] {
            let refused = a
                .publish(to, larger.clone())
                .await
                .expect_err("it is larger");
            assert_eq!(refused.kind(), PortErrorKind::TooLarge);
        }
    }
    send(&a, to("one"), "still well").await;
    assert_eq!(next(&mut one).await, "still well");
}

/// A subscriber that does not read holds nobody up and is bounded: it loses the oldest, is told,
/// and gets the newest.
pub async fn a_slow_subscriber_loses_the_oldest_and_is_told([a, b]: Buses) {
    let (mut slow, mut quick) = (subscribe(&b, "slow").await, subscribe(&b, "quick").await);
    let payload = |n: usize| Bytes::from(format!("{n:01000}"));
    let number = |payload: &Bytes| -> usize {
        let text = std::str::from_utf8(payload).expect("digits");
        text.parse().expect("a number")
    };
    for n in 0..FLOOD {
        send(&a, to("slow"), payload(n)).await;
    }
    send(&a, to("quick"), "hi").await;
    assert_eq!(next(&mut quick).await, "hi");
    let (mut got, mut was_told) = (Vec::new(), false);
    while got.last() != Some(&(FLOOD - 1)) {
        match timeout(WAIT, slow.next()).await {
            Ok(Some(Incoming::Message(it))) => got.push(number(&it)),
            Ok(Some(Incoming::Reconnected)) => was_told = true,
            other => panic!("the newest is missing: {other:?}"),
        }
    }
    assert!(
        was_told || got.len() == FLOOD,
        "{} of {FLOOD}, and not told",
        got.len()
    );
}

/// A wait that is dropped loses nothing.
pub async fn a_wait_can_be_dropped([a, b]: Buses) {
    const COUNT: usize = 100;
    let mut one = subscribe(&b, "one").await;
    let publish = tokio::spawn(async move {
        for n in 0..COUNT {
            send(&a, to("one"), n.to_string()).await;
            tokio::time::sleep(Duration::from_micros(700)).await;
        }
    });
    let mut got = BTreeSet::new();
    let end = Instant::now() + WAIT;
    while got.len() < COUNT && Instant::now() < end {
        if let Ok(it) = timeout(Duration::from_millis(1), one.next()).await {
            let Some(Incoming::Message(payload)) = it else {
                panic!("{it:?}");
            };
            assert!(
                got.insert(payload),
                "twice the same from a bus that is well"
            );
        }
    }
    publish.await.expect("all are published");
    assert_eq!(got.len(), COUNT);
}

/// A dropped subscription holds nobody up; the next one of that node starts anew.
pub async fn a_dropped_subscription_is_gone([a, b]: Buses) {
    let (one, mut two) = (subscribe(&b, "one").await, subscribe(&b, "two").await);
    drop(one);
    for n in 0..50 {
        send(&a, to("one"), n.to_string()).await;
    }
    send(&a, To::All, "x").await;
    assert_eq!(next(&mut two).await, "x");
    let mut again = subscribe(&a, "one").await;
    assert_quiet(&mut again).await;
    send(&b, to("one"), "y").await;
    assert_eq!(next(&mut again).await, "y");
}

/// With two nodes, no connection of the bus says that it is alone.
pub async fn nobody_is_alone_among_two([a, b]: Buses) {
    let _one = subscribe(&a, "one").await;
    let _two = subscribe(&b, "two").await;
    let end = Instant::now() + WAIT;
    while a.capability().alone || b.capability().alone {
        assert!(Instant::now() < end, "still alone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Many publish at once and every message arrives.
pub async fn many_publish_at_once([a, b]: Buses) {
    const TASKS: usize = 16;
    const EACH: usize = 50;
    let mut one = subscribe(&b, "one").await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let bus = Arc::clone(if task % 2 == 0 { &a } else { &b });
        tasks.spawn(async move {
            for n in 0..EACH {
                send(&bus, to("one"), format!("{task} {n}")).await;
            }
        });
    }
    let mut got = BTreeSet::new();
    for _ in 0..TASKS * EACH {
        got.insert(next(&mut one).await);
    }
    assert_eq!(got.len(), TASKS * EACH);
    tasks.join_all().await;
}

/// Makes the tests of a [`Bus`]: a `#[test]` for each case.
///
/// The expression is a future of `(guard, [Arc<dyn Bus>; 2])`, evaluated for each case: two nodes'
/// connections to one bus that nobody else uses. See [`suite`](crate::suite).
#[macro_export]
macro_rules! bus_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, bus,
            a_directed_message_reaches_that_node_only
            a_broadcast_reaches_every_other_node
            nodes_that_look_alike_get_their_own_messages
            a_subscription_starts_now
            messages_arrive_whole_and_in_order_if_the_bus_says_so
            any_bytes_up_to_the_largest_are_carried
            a_slow_subscriber_loses_the_oldest_and_is_told
            a_wait_can_be_dropped
            a_dropped_subscription_is_gone
            nobody_is_alone_among_two
            many_publish_at_once
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("mod.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
