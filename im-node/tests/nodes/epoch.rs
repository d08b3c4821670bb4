//! A log that lost its end, as by a hot tier that went back in time.

use std::time::Duration;

use im_core::model::{ConversationId, Holder};
use im_core::port::{Commit, Hold, Store as _, Write};
use im_node::Settings;

use super::kit::{Client, Cluster, int, text};

/// Everybody who is connected is told, though nobody connects or reads: else they would go on with
/// entries that nobody else has.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_here_when_a_log_loses_its_end_is_told_to_begin_it_anew() {
    let cluster = Cluster::new();
    let settings = Settings {
        sweep: Duration::from_millis(100),
        ..Cluster::settings("a")
    };
    let node = cluster.start(settings).await.unwrap();
    let mut ana = Client::connect(&node, "ana", "d").await;
    let mut ben = Client::connect(&node, "ben", "d").await;
    let conv = text(&ana.send("c1", "ben", "1").await, "conv");
    ben.get("entry").await;
    let lost = Write::Hold(Hold {
        from: Holder(0),
        to: Holder(0),
        head: None,
        lost: true,
    });
    let commit = Commit {
        conv: ConversationId::new(conv.clone()).unwrap(),
        expect_version: None,
        actor: None,
        writes: vec![lost],
    };
    cluster.store.commit(&[commit]).await.remove(0).unwrap();
    for client in [&mut ana, &mut ben] {
        let behind = client.get("behind").await;
        assert_eq!(
            (text(&behind, "conv"), int(&behind, "epoch")),
            (conv.clone(), 2)
        );
    }
    // And what comes then is pushed to who has caught up.
    ben.say(&format!(
        r#"{{"t":"pull","id":1,"conv":"{conv}","after":0,"limit":10}}"#
    ));
    let page = ben.get("page").await;
    assert_eq!(int(&page, "epoch"), 2);
    ana.send("c2", "ben", "2").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 2);
}
