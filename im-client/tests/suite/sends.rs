//! Sends and requests.

use std::time::Duration;

use im_client::{Event, RequestError, SendError};
use im_core::frame::{ClientFrame, Codec, ErrFrame, ErrorCode, Failure, PullRange, ServerFrame};
use im_core::machine::{Backoff, OutboxConfig, OutboxEvent};
use im_core::model::{Body, Seq, Value};

use crate::mock::{Mock, Peer, conv, draft, expect, soon, target};

fn refusal(frame: &ClientFrame, failure: Failure) -> ServerFrame {
    let (id, cm_id) = match frame {
        ClientFrame::Req { id, .. } => (Some(id.clone()), None),
        ClientFrame::Send(draft) => (None, Some(draft.cm_id.clone())),
        frame => panic!("{frame:?}"),
    };
    ServerFrame::Err(ErrFrame {
        re: frame.name().to_owned(),
        id,
        cm_id,
        failure,
    })
}

async fn expect_req(peer: &mut Peer) -> ClientFrame {
    peer.expect(|frame| matches!(frame, ClientFrame::Req { .. }).then_some(frame))
        .await
}

#[tokio::test]
async fn a_send_resolves_when_it_is_stored() {
    for codec in Codec::ALL {
        let mock = Mock::new().await;
        let (connected, mut peer) =
            tokio::join!(mock.client().codec(codec).connect(), mock.welcome());
        let (client, _events) = connected.unwrap();
        let send = tokio::spawn(async move { client.send(target(), Body::text("hi")).await });
        let draft = peer.expect_send().await;
        assert_eq!(draft.body.as_text().as_deref(), Some("hi"));
        peer.sent(&draft.cm_id, 5, false).await;
        let sent = soon("sent", send).await.unwrap().unwrap();
        assert_eq!((sent.cm_id, sent.seq), (draft.cm_id, Seq(5)));
    }
}

#[tokio::test]
async fn after_a_lost_connection_the_unanswered_leave_again_in_order_with_the_same_cm_id() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, mut events) = connected.unwrap();
    let mut sendings = Vec::new();
    for n in 1..=3 {
        sendings.push(client.queue(draft(&format!("m{n}"))).await.unwrap());
    }
    for n in 1..=3 {
        assert_eq!(peer.expect_send().await, draft(&format!("m{n}")));
    }
    peer.sent(sendings[0].cm_id(), 1, false).await;
    assert_eq!(soon("sent", sendings.remove(0)).await.unwrap().seq, Seq(1));
    drop(peer);
    expect(&mut events, |event| {
        matches!(event, Event::Disconnected).then_some(())
    })
    .await;
    let mut peer = mock.welcome().await;
    for n in 2..=3 {
        let again = peer.expect_send().await;
        assert_eq!(again, draft(&format!("m{n}")));
        peer.sent(&again.cm_id, n, true).await;
        assert!(soon("sent", sendings.remove(0)).await.unwrap().dup);
    }
}

#[tokio::test]
async fn a_send_whose_future_was_dropped_ends_as_an_event() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, mut events) = connected.unwrap();
    drop(client.queue(draft("m1")).await.unwrap());
    let frame = ClientFrame::Send(peer.expect_send().await);
    peer.send(refusal(&frame, Failure::new(ErrorCode::Muted, "muted")))
        .await;
    let outcome = |event| match event {
        Event::Send(outcome) => Some(outcome),
        _ => None,
    };
    let outcome = expect(&mut events, outcome).await;
    assert!(matches!(outcome, OutboxEvent::Failed { cm_id, .. } if cm_id.as_str() == "m1"));
}

#[tokio::test]
async fn one_draft_sent_twice_is_one_send_and_another_under_its_cm_id_is_refused() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, _events) = connected.unwrap();
    let first = client.queue(draft("m1")).await.unwrap();
    let second = client.queue(draft("m1")).await.unwrap();
    let mut other = draft("m1");
    other.body = Body::text("another");
    assert_eq!(client.queue(other).await.unwrap_err(), SendError::Pending);
    let draft = peer.expect_send().await;
    peer.sent(&draft.cm_id, 1, false).await;
    assert_eq!(soon("sent", first).await, soon("sent", second).await);
}

#[tokio::test]
async fn a_send_larger_than_a_frame_is_refused_here() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, _events) = connected.unwrap();
    let large = client.send(target(), Body::text("x".repeat(70_000))).await;
    let Err(SendError::Refused(failure)) = large else {
        panic!("{large:?}");
    };
    assert_eq!(failure.code, ErrorCode::TooLarge);
    let _small = client.queue(draft("m1")).await.unwrap();
    assert_eq!(peer.expect_send().await, draft("m1"));
}

#[tokio::test]
async fn a_full_outbox_makes_senders_wait() {
    let mock = Mock::new().await;
    let outbox = OutboxConfig {
        queue_max: 2,
        ..OutboxConfig::default()
    };
    let (connected, mut peer) =
        tokio::join!(mock.client().outbox(outbox).connect(), mock.welcome());
    let (client, _events) = connected.unwrap();
    let _first = client.queue(draft("m1")).await.unwrap();
    let _second = client.queue(draft("m2")).await.unwrap();
    let third = client.queue(draft("m3"));
    tokio::pin!(third);
    let wait = Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, &mut third).await.is_err());
    // Everything else goes on.
    let asked = client.clone();
    let ask = tokio::spawn(async move {
        asked
            .request("x", Value::object([("a", 1_u64.into())]))
            .await
    });
    let req = expect_req(&mut peer).await;
    peer.send(refusal(&req, Failure::new(ErrorCode::NotFound, "no")))
        .await;
    assert!(ask.await.unwrap().is_err());
    let m1 = draft("m1");
    peer.sent(&m1.cm_id, 1, false).await;
    soon("room", third).await.unwrap();
}

#[tokio::test]
async fn a_client_reads_while_it_writes() {
    let mock = Mock::new().await;
    let never = Duration::from_secs(3_600);
    let outbox = OutboxConfig {
        window: 400,
        answer: Backoff::new(never, never),
        ..OutboxConfig::default()
    };
    let builder = mock.client().outbox(outbox);
    let welcome = async {
        let mut peer = mock.accept().await;
        peer.welcome(|welcome| welcome.limits.sends_per_s = 1_000)
            .await;
        peer.synced(vec![], "t1").await;
        peer
    };
    let (connected, mut peer) = tokio::join!(builder.connect(), welcome);
    let (client, _events) = connected.unwrap();
    // The server reads nothing while the client has more to write than any buffer takes …
    for n in 0..250 {
        let mut large = draft(&format!("m{n}"));
        large.body = Body::text("x".repeat(60_000));
        drop(client.queue(large).await.unwrap());
    }
    // … and writes more than any buffer takes itself.
    let large = Value::from("x".repeat(60_000));
    let large = Value::object([("kind", Value::from("test")), ("x", large)]);
    let large = ServerFrame::Event(large);
    soon("a reader", async {
        for _ in 0..400 {
            peer.send(large.clone()).await;
        }
    })
    .await;
    for n in 0..250 {
        assert_eq!(peer.expect_send().await.cm_id.as_str(), format!("m{n}"));
    }
}

#[tokio::test]
async fn a_request_gets_its_answer_and_is_repeated_only_under_a_key() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, _events) = connected.unwrap();
    let nothing = Value::Object(Vec::new());
    let (plain, params) = (client.clone(), nothing.clone());
    let plain = tokio::spawn(async move { plain.request("groups.leave", params).await });
    let (keyed, params) = (client.clone(), nothing.clone());
    let keyed = tokio::spawn(async move { keyed.request_once("groups.create", params, "k").await });
    let page =
        tokio::spawn(async move { client.pull(conv("c"), PullRange::Before(Seq(9)), 10).await });
    for _ in 0..2 {
        expect_req(&mut peer).await;
    }
    drop(peer);
    assert_eq!(plain.await.unwrap(), Err(RequestError::Disconnected));
    let mut peer = mock.welcome().await;
    let mut both = 0;
    while both < 2 {
        match peer.receive().await {
            ClientFrame::Req { id, key, .. } => {
                assert_eq!(key.as_deref(), Some("k"));
                let value = nothing.clone();
                peer.send(ServerFrame::Res { id, value }).await;
                both += 1;
            }
            ClientFrame::Pull(pull) => {
                peer.page(pull.id, 7..9, true).await;
                both += 1;
            }
            _ => {}
        }
    }
    assert_eq!(keyed.await.unwrap(), Ok(nothing));
    assert_eq!(page.await.unwrap().unwrap().entries.len(), 2);
}

#[tokio::test]
async fn read_marks_are_told_once_per_place_and_again_after_a_lost_connection() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (client, _events) = connected.unwrap();
    client.read(conv("c"), Seq(4)).await;
    let read = |frame| match frame {
        ClientFrame::Read(mark) => Some(mark.seq.0),
        _ => None,
    };
    assert_eq!(peer.expect(read).await, 4);
    client.typing(conv("c"));
    peer.expect(|frame| matches!(frame, ClientFrame::Typing { .. }).then_some(()))
        .await;
    drop(peer);
    let mut peer = mock.welcome().await;
    assert_eq!(peer.expect(read).await, 4);
}
