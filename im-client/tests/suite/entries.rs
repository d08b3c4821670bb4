//! Entries and other events.

use std::time::Duration;

use im_client::{Client, Event, Events};
use im_core::frame::{ClientFrame, PullRange, ServerFrame};
use im_core::model::{Body, Epoch, Seq};

use crate::mock::{Mock, Peer, conv, expect, line, next_seq, soon, target, user};

/// A client that is connected and in one conversation, whose log ends there.
async fn connect(mock: &Mock, last: u64) -> (Client, Events, Peer) {
    let (connected, peer) = tokio::join!(mock.client().connect(), async {
        let mut peer = mock.accept().await;
        peer.welcome(|_| {}).await;
        peer.synced(vec![line(last)], "t1").await;
        peer
    });
    let (client, events) = connected.unwrap();
    (client, events, peer)
}

#[tokio::test]
async fn a_hole_is_pulled_and_entries_come_in_order_and_once() {
    let mock = Mock::new().await;
    let (_client, mut events, mut peer) = connect(&mock, 2).await;
    let pull = peer.expect_pull().await;
    assert_eq!((pull.range, pull.limit), (PullRange::After(Seq(0)), 200));
    peer.push(3).await;
    peer.page(pull.id, 1..3, false).await;
    peer.push(3).await;
    peer.push(5).await;
    let pull = peer.expect_pull().await;
    assert_eq!(pull.range, PullRange::After(Seq(3)));
    peer.page(pull.id, 4..6, false).await;
    for seq in 1..=5 {
        assert_eq!(next_seq(&mut events).await, seq);
    }
    let ack = |frame| match frame {
        ClientFrame::Ack(mark) if mark.seq == Seq(5) => Some(()),
        _ => None,
    };
    peer.expect(ack).await;
}

#[tokio::test]
async fn another_epoch_starts_a_conversation_again() {
    let mock = Mock::new().await;
    let (_client, mut events, mut peer) = connect(&mock, 0).await;
    peer.push(1).await;
    assert_eq!(next_seq(&mut events).await, 1);
    let behind = ServerFrame::Behind {
        conv: conv("c"),
        last_seq: Seq(1),
        epoch: Epoch(2),
    };
    peer.send(behind).await;
    let reset = |event| match event {
        Event::Reset {
            epoch, first_seq, ..
        } => Some((epoch, first_seq)),
        _ => None,
    };
    assert_eq!(expect(&mut events, reset).await, (Epoch(2), Seq(1)));
    assert_eq!(peer.expect_pull().await.range, PullRange::After(Seq(0)));
}

#[tokio::test]
async fn who_takes_no_events_gets_no_more_entries_and_all_of_them_later() {
    const ALL: u64 = 6_000;
    let mock = Mock::new().await;
    let (client, mut events, mut peer) = connect(&mock, 0).await;
    // A server that minds no window.
    for seq in 1..=ALL {
        peer.push(seq).await;
        if seq % 100 == 0 {
            let user = user("bo");
            let (delivered, read) = (None, Some(Seq(seq)));
            let conv = conv("c");
            let receipt = ServerFrame::Receipt {
                conv,
                user,
                delivered,
                read,
            };
            peer.send(receipt).await;
        }
    }
    // It still sends, and acks nothing that nobody took.
    let sending = tokio::spawn(async move { client.send(target(), Body::text("hi")).await });
    let mut acked = 0;
    let draft = loop {
        match peer.receive().await {
            ClientFrame::Ack(mark) => acked = mark.seq.0,
            ClientFrame::Send(draft) => break draft,
            ClientFrame::Pull(pull) => panic!("it pulls {pull:?}"),
            _ => {}
        }
    };
    peer.sent(&draft.cm_id, ALL + 1, false).await;
    soon("sent", sending).await.unwrap().unwrap();
    assert!(acked <= 257, "{acked} acked");
    // What it had to drop it pulls when there is room.
    let server = tokio::spawn(async move {
        while let Some(frame) = peer.try_receive().await {
            if let ClientFrame::Pull(pull) = frame {
                let PullRange::After(after) = pull.range else {
                    panic!("{pull:?}");
                };
                let end = (after.0 + 201).min(ALL + 1);
                peer.page(pull.id, after.0 + 1..end, end <= ALL).await;
            }
        }
    });
    let mut read = None;
    let mut seq = 0;
    while seq < ALL {
        match soon("an event", events.next()).await.unwrap() {
            Event::Entry(entry) => {
                assert_eq!(entry.seq.0, seq + 1);
                seq += 1;
            }
            Event::Receipt { read: mark, .. } => {
                assert!(mark > read, "receipts are merged: {mark:?}");
                read = mark;
            }
            _ => {}
        }
    }
    assert_eq!(read, Some(Seq(ALL)));
    server.abort();
}

#[tokio::test]
async fn who_drops_the_events_can_still_send() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, events) = connected.unwrap();
    drop(events);
    for seq in 1..=10 {
        peer.push(seq).await;
    }
    let sending = tokio::spawn(async move { client.send(target(), Body::text("hi")).await });
    let draft = peer.expect_send().await;
    peer.sent(&draft.cm_id, 1, false).await;
    sending.await.unwrap().unwrap();
    // Now nobody holds the client: it says goodbye.
    soon("the end", async {
        while peer.try_receive().await.is_some() {}
    })
    .await;
}

#[tokio::test]
async fn events_that_are_no_entries_come_too() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (_client, mut events) = connected.unwrap();
    let synced = |event| matches!(event, Event::Synced).then_some(());
    expect(&mut events, synced).await;
    let (conv, user) = (conv("c"), user("bo"));
    peer.send(ServerFrame::Typing { conv, user }).await;
    let typing = |event| matches!(event, Event::Typing { .. }).then_some(());
    expect(&mut events, typing).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}
