//! A bus that carries what nobody can read, and one that gives a node its own words back.

use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Incoming, To};

use super::kit::{Client, Cluster, int, text};

/// How many messages are looked at.
const MESSAGES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_dropped_and_what_follows_arrives() {
    let cluster = Cluster::new();
    let mut spy = cluster
        .bus
        .subscribe(&NodeId::new("spy").unwrap())
        .await
        .unwrap();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Client::connect(&a, "ana", "d").await;
    let mut ben = Client::connect(&b, "ben", "d").await;
    ana.send("c1", "ben", "1").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 1);
    let mut poison: Vec<Vec<u8>> = vec![vec![], vec![0xc1], vec![0xff; 4_096], b"{}".to_vec()];
    for _ in 0..MESSAGES {
        let Some(Incoming::Message(good)) = spy.next().await else {
            panic!("the bus is there")
        };
        for at in 0..good.len() {
            poison.push(good[..at].to_vec());
            let mut flipped = good.to_vec();
            flipped[at] ^= 0xff;
            poison.push(flipped);
        }
    }
    for bytes in poison {
        cluster
            .bus
            .publish(To::All, Bytes::from(bytes))
            .await
            .unwrap();
    }
    for at in 2..5 {
        ana.send(&format!("c{at}"), "ben", "after").await;
        let entry = ben.get("entry").await;
        assert_eq!(int(&entry, "seq"), at);
        assert_eq!(text(entry.get("body").unwrap(), "text"), "after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_itself_tells_nobody_twice() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.node("a").await, cluster.node("b").await);
    let mut ana = Client::connect(&a, "ana", "d").await;
    let ben = Client::connect(&a, "ben", "d1").await;
    let conv = text(&ana.send("c1", "ben", "1").await, "conv");
    ana.say(r#"{"t":"req","id":1,"method":"presence.watch","params":{"users":["ben"]}}"#);
    assert_eq!(text(&ana.get("presence").await, "state"), "online");
    drop(ben);
    assert_eq!(text(&ana.get("presence").await, "state"), "offline");
    ana.is_quiet("presence").await;
    let mut ben = Client::connect(&a, "ben", "d1").await;
    assert_eq!(text(&ana.get("presence").await, "state"), "online");
    ana.is_quiet("presence").await;
    ben.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":1}}"#));
    assert_eq!(int(&ana.get("receipt").await, "read"), 1);
    ana.is_quiet("receipt").await;
    ben.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#));
    ana.get("typing").await;
    ana.is_quiet("typing").await;
    // The other node's users hear of it once, too.
    let mut far = Client::connect(&b, "ana", "far").await;
    ben.say(&format!(r#"{{"t":"typing","conv":"{conv}"}}"#));
    ana.send("c2", "ben", "2").await;
    ben.say(&format!(r#"{{"t":"read","conv":"{conv}","seq":2}}"#));
    assert_eq!(int(&far.get("receipt").await, "read"), 2);
    far.is_quiet("receipt").await;
}
