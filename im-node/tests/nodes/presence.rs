//! Who is here, as those see it who watch.

use std::time::Duration;

use im_core::model::Value;
use im_node::Node;

use super::kit::{Client, Cluster, int, text};

const WATCH: &str = r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben"]}}"#;

/// Ana, who has written to ben and watches him; and what she is told first.
async fn watcher(node: &Node) -> (Client, Value) {
    let mut ana = Client::connect(node, "ana", "d").await;
    ana.send("c1", "ben", "1").await;
    ana.say(WATCH);
    let first = ana.get("presence").await;
    (ana, first)
}

async fn is_told(ana: &mut Client, state: &str) -> i64 {
    let told = ana.get("presence").await;
    assert_eq!(text(&told, "state"), state);
    int(&told, "at")
}

async fn call(client: &mut Client, method: &str, params: &str) {
    client.say(&format!(
        r#"{{"t":"req","id":7,"method":"{method}","params":{params}}}"#
    ));
    client.get("res").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_while_other_frames_wait_is_told_gone() {
    let cluster = Cluster::new();
    let a = cluster.node("a").await;
    let ben = Client::connect(&a, "ben", "d1").await;
    let (mut ana, first) = watcher(&a).await;
    assert_eq!(text(&first, "state"), "online");
    // Answers that she has not read yet.
    for _ in 0..20 {
        ana.say(r#"{"t":"ping"}"#);
    }
    drop(ben);
    tokio::time::sleep(Duration::from_millis(100)).await;
    is_told(&mut ana, "offline").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_what_is_so_now_and_no_more() {
    let cluster = Cluster::new();
    let a = cluster.node("a").await;
    let (mut ana, _) = watcher(&a).await;
    ana.say(r#"{"t":"ping"}"#);
    for _ in 0..5 {
        drop(Client::connect(&a, "ben", "d1").await);
    }
    let _ben = Client::connect(&a, "ben", "d1").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    is_told(&mut ana, "online").await;
    ana.is_quiet("presence").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_two_nodes_is_gone_with_the_last() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let one = Client::connect(&a, "ben", "d1").await;
    let other = Client::connect(&b, "ben", "d2").await;
    let (mut ana, _) = watcher(&b).await;
    drop(one);
    ana.is_quiet("presence").await;
    drop(other);
    is_told(&mut ana, "offline").await;
}

#[tokio::test(start_paused = true)]
async fn who_was_at_a_node_that_died_is_gone_when_its_lease_is() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let _ben = Client::connect(&a, "ben", "d1").await;
    let (mut ana, first) = watcher(&b).await;
    assert_eq!(text(&first, "state"), "online");
    a.kill();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        ana.say(r#"{"t":"ping"}"#);
    }
    is_told(&mut ana, "offline").await;
    ana.is_quiet("presence").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_somebody_was_here_last_is_kept() {
    let cluster = Cluster::new();
    let a = cluster.node("a").await;
    let (mut ana, first) = watcher(&a).await;
    assert_eq!(int(&first, "at"), 0, "nobody knows yet");
    drop(Client::connect(&a, "ben", "d1").await);
    is_told(&mut ana, "online").await;
    let at = is_told(&mut ana, "offline").await;
    assert!(at > 0);
    // Whoever asks later, at another node, is told the same, as soon as it is stored.
    let b = cluster.node("b").await;
    let mut later = Client::connect(&b, "ana", "d2").await;
    let mut kept = 0;
    for _ in 0..200 {
        later.say(WATCH);
        kept = is_told(&mut later, "offline").await;
        if kept != 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(kept, at);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_it_to_few_is_seen_by_few_and_sees_few() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ben = Client::connect(&a, "ben", "d1").await;
    let (mut ana, _) = watcher(&b).await;
    ben.say(r#"{"t":"req","id":2,"method":"presence.watch","params":{"users":["ana"]}}"#);
    is_told(&mut ben, "online").await;
    // They are no friends: from now on neither sees the other.
    call(&mut ben, "privacy.set", r#"{"presence":"friends"}"#).await;
    assert_eq!(is_told(&mut ana, "offline").await, 0);
    assert_eq!(is_told(&mut ben, "offline").await, 0);
    let _more = Client::connect(&a, "ben", "d2").await;
    ana.is_quiet("presence").await;
    call(&mut ana, "friends.ask", r#"{"user":"ben"}"#).await;
    call(&mut ben, "friends.accept", r#"{"user":"ana"}"#).await;
    ana.say(WATCH);
    is_told(&mut ana, "online").await;
    call(&mut ben, "friends.remove", r#"{"user":"ana"}"#).await;
    is_told(&mut ana, "offline").await;
    call(&mut ben, "privacy.set", r#"{"presence":"nobody"}"#).await;
    ana.say(WATCH);
    ana.is_quiet("presence").await;
    call(&mut ben, "privacy.set", r#"{"presence":"contacts"}"#).await;
    ana.say(WATCH);
    is_told(&mut ana, "online").await;
    call(&mut ben, "blocks.add", r#"{"user":"ana"}"#).await;
    is_told(&mut ana, "offline").await;
    ben.say(r#"{"t":"req","id":9,"method":"privacy.set","params":{"presence":"all"}}"#);
    ben.get("err").await;
}
