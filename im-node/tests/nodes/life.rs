//! How a node begins and ends, also when it does not get far.

use std::sync::Arc;
use std::time::Duration;

use im_core::model::NodeId;
use im_testkit::memory::Fault;

use super::kit::{Client, Cluster, int, text};

/// How long what has ended may take to let go of everything.
const GONE: Duration = Duration::from_secs(10);

/// Nobody but the test holds the store.
async fn all_let_go(cluster: &Cluster) {
    let waits = async {
        while Arc::strong_count(&cluster.store) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let count = || Arc::strong_count(&cluster.store);
    let done = tokio::time::timeout(GONE, waits).await;
    assert!(done.is_ok(), "the store is held {} times", count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_nothing_behind() {
    let cluster = Cluster::new();
    // The store takes the node's number, the registry its lease; then the list can't be read.
    cluster.store.set_reads(Some(Fault::FailBefore));
    for _ in 0..3 {
        let failed = cluster.start(Cluster::settings("a")).await;
        assert!(failed.is_err());
    }
    all_let_go(&cluster).await;
    cluster.store.set_reads(None);
    // The name is free at once, though its lease would have lasted.
    let name = NodeId::new("a").unwrap();
    let lease = cluster.registry.enter(&name).await.unwrap();
    cluster.registry.leave(&name, lease.epoch).await.unwrap();
    let node = cluster.node("a").await;
    let mut ana = Client::connect(&node, "ana", "d").await;
    ana.send("c1", "ben", "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_dropped_ends_its_tasks() {
    let cluster = Cluster::new();
    let node = cluster.node("a").await;
    let other = node.clone();
    let mut ana = Client::connect(&node, "ana", "d").await;
    ana.send("c1", "ben", "x").await;
    drop(node);
    // A clone is the node.
    ana.send("c2", "ben", "x").await;
    drop(ana);
    drop(other);
    all_let_go(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_shut_down_lets_go_of_everything() {
    let cluster = Cluster::new();
    let node = cluster.node("a").await;
    let mut ana = Client::connect(&node, "ana", "d").await;
    ana.send("c1", "ben", "x").await;
    let drains = tokio::spawn({
        let node = node.clone();
        async move { node.shutdown().await }
    });
    ana.closed().await;
    drop(ana);
    drains.await.unwrap();
    drop(node);
    all_let_go(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_before_a_drain_is_answered_before_the_goodbye() {
    let cluster = Cluster::new();
    let node = cluster.node("a").await;
    let mut ana = Client::connect(&node, "ana", "d").await;
    let conv = text(&ana.send("c1", "ben", "x").await, "conv");
    // Two reads take longer than the first half of the drain, over which goodbyes are spread.
    let slow = Cluster::settings("a").drain / 2 * 3 / 5;
    cluster.store.set_reads(Some(Fault::Delay(slow)));
    for frame in [
        format!(r#"{{"t":"pull","id":1,"conv":"{conv}","after":0}}"#),
        r#"{"t":"sync","id":2}"#.to_owned(),
        format!(r#"{{"t":"req","id":3,"method":"conv.get","params":{{"conv":"{conv}"}}}}"#),
        r#"{"t":"auth","id":4,"token":"ana"}"#.to_owned(),
    ] {
        ana.say(&frame);
    }
    let drains = tokio::spawn(async move { node.shutdown().await });
    let mut answered = Vec::new();
    loop {
        let frame = ana.next().await;
        match text(&frame, "t").as_str() {
            "bye" => break,
            "page" | "synced" | "res" => answered.push(int(&frame, "id")),
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4]);
    ana.closed().await;
    drop(ana);
    drains.await.unwrap();
}
