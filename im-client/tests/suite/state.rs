//! The state file: what a client remembers over a restart.

use im_client::{Client, Event, Events, StateError, Stopped};
use im_client::{ConnectError, SendError};
use im_core::frame::PullRange;
use im_core::machine::OutboxEvent;
use im_core::model::Seq;
use tempfile::TempDir;

use crate::mock::{Mock, Peer, draft, expect, line, next_seq, soon, stopped, user};

struct Home {
    mock: Mock,
    folder: TempDir,
}

impl Home {
    async fn new() -> Self {
        Self {
            mock: Mock::new().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// A client on the file, and the server's end; the `sync` is not answered yet.
    async fn connect(&self) -> (Client, Events, Peer) {
        let builder = self.mock.client().state_file(self.path());
        let (connected, peer) = tokio::join!(builder.connect(), async {
            let mut peer = self.mock.accept().await;
            peer.welcome(|_| {}).await;
            peer
        });
        let (client, events) = connected.unwrap();
        (client, events, peer)
    }
}

#[tokio::test]
async fn pending_sends_survive_a_restart_under_their_cm_ids() {
    let home = Home::new().await;
    let (client, _events, mut peer) = home.connect().await;
    let first = client.queue(draft("m1")).await.unwrap();
    let second = client.queue(draft("m2")).await.unwrap();
    for cm_id in ["m1", "m2"] {
        assert_eq!(peer.expect_send().await.cm_id.as_str(), cm_id);
    }
    peer.sent(first.cm_id(), 1, false).await;
    first.await.unwrap();
    client.close().await;
    assert_eq!(soon("the end", second).await, Err(SendError::Closed));

    let (_client, mut events, mut peer) = home.connect().await;
    let again = peer.expect_send().await;
    assert_eq!(again, draft("m2"), "the answered one is forgotten");
    peer.sent(&again.cm_id, 2, true).await;
    let outcome = |event| match event {
        Event::Send(outcome) => Some(outcome),
        _ => None,
    };
    let outcome = expect(&mut events, outcome).await;
    assert!(matches!(outcome, OutboxEvent::Sent { dup: true, .. }));
}

#[tokio::test]
async fn a_send_is_on_the_disk_before_it_is_accepted_or_leaves() {
    let home = Home::new().await;
    let (client, _events, mut peer) = home.connect().await;
    let holds = |what: &str| {
        let bytes = std::fs::read(home.path()).unwrap();
        String::from_utf8_lossy(&bytes).contains(what)
    };
    let _sending = client.queue(draft("m1")).await.unwrap();
    assert!(holds("text") && holds("m1"));
    peer.expect_send().await;
    assert!(holds(r#""tried","cm_id":"m1""#));
}

#[tokio::test]
async fn what_was_dealt_with_does_not_come_again_and_what_was_not_does() {
    let home = Home::new().await;
    let (client, mut events, mut peer) = home.connect().await;
    assert_eq!(peer.synced(vec![line(3)], "t1").await, None);
    let pull = peer.expect_pull().await;
    peer.page(pull.id, 1..4, false).await;
    for seq in 1..=3 {
        assert_eq!(next_seq(&mut events).await, seq);
    }
    // The third was handed out, but nobody said that it was dealt with.
    client.close().await;

    let (client, mut events, mut peer) = home.connect().await;
    assert_eq!(peer.synced(vec![], "t2").await.as_deref(), Some("t1"));
    let pull = peer.expect_pull().await;
    assert_eq!(
        pull.range,
        PullRange::After(Seq(2)),
        "no line had to mention it"
    );
    peer.page(pull.id, 3..4, false).await;
    assert_eq!(next_seq(&mut events).await, 3);
    expect(&mut events, |event| {
        matches!(event, Event::Synced).then_some(())
    })
    .await;
    events.confirm();
    client.close().await;

    let (_client, mut events, mut peer) = home.connect().await;
    assert_eq!(
        peer.synced(vec![line(3)], "t3").await.as_deref(),
        Some("t2")
    );
    expect(&mut events, |event| {
        matches!(event, Event::Synced).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_torn_file_is_mended_and_a_damaged_one_refused() {
    let home = Home::new().await;
    let (client, _events, mut peer) = home.connect().await;
    let _first = client.queue(draft("m1")).await.unwrap();
    let _second = client.queue(draft("m2")).await.unwrap();
    peer.expect_send().await;
    client.close().await;
    let whole = std::fs::read(home.path()).unwrap();
    let mut torn = whole.clone();
    torn.truncate(torn.len() - 3);
    torn.extend([0; 50]);
    std::fs::write(home.path(), &torn).unwrap();
    let (client, _events, mut peer) = home.connect().await;
    assert_eq!(peer.expect_send().await, draft("m1"));
    client.close().await;

    let mut damaged = whole;
    damaged[30] ^= 1;
    std::fs::write(home.path(), &damaged).unwrap();
    let refused = home.mock.client().state_file(home.path()).start().await;
    let error = refused.unwrap_err();
    assert!(matches!(
        error,
        ConnectError::State(StateError::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_file_is_of_one_client_and_one_user() {
    let home = Home::new().await;
    let (client, _events, _peer) = home.connect().await;
    let second = home.mock.client().state_file(home.path()).start().await;
    let error = second.unwrap_err();
    assert!(matches!(
        error,
        ConnectError::State(StateError::InUse { .. })
    ));
    client.close().await;

    let builder = home.mock.client().state_file(home.path());
    let (_client, mut events) = builder.start().await.unwrap();
    let mut peer = home.mock.accept().await;
    peer.welcome(|welcome| welcome.user = user("eve")).await;
    assert!(matches!(stopped(&mut events).await, Stopped::OtherUser));
}
