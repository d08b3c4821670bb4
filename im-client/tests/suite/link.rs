//! Connections: how they begin, live and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, ConnectError, Event, SendError, Stopped};
use im_core::frame::{Bye, ClientFrame, RequestId, ServerFrame};
use im_core::machine::Backoff;
use im_core::model::{Body, Timestamp, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::mock::{Mock, draft, expect, soon, stopped, target};

#[tokio::test]
async fn it_says_hello_with_token_device_and_name() {
    let mock = Mock::new().await;
    let builder = mock.client().name("tester 1");
    let (connected, peer) = tokio::join!(builder.connect(), mock.welcome());
    connected.unwrap();
    let hello = peer.hello();
    assert_eq!(hello.token.as_deref(), Some("token"));
    assert_eq!(hello.device.as_str(), "phone");
    assert_eq!(hello.client.as_deref(), Some("tester 1"));
}

#[tokio::test]
async fn after_bye_it_comes_back_within_the_time_that_the_server_named() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (_client, _events) = connected.unwrap();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let bye = Bye {
            code: 1012,
            reconnect_ms: (300, 800),
        };
        peer.send(ServerFrame::Bye(bye)).await;
        let closed = Instant::now();
        peer.close(1012).await;
        peer = mock.welcome().await;
        waits.push(closed.elapsed().as_millis());
    }
    // A busy machine makes waits longer, not shorter.
    assert!(waits.iter().all(|ms| *ms >= 300), "{waits:?}");
    let spread = waits.iter().max().unwrap() - waits.iter().min().unwrap();
    assert!(spread > 20, "{waits:?} are spread");
}

#[tokio::test]
async fn of_several_nodes_it_goes_to_the_next_when_one_sends_it_away() {
    let (one, two) = (Mock::new().await, Mock::new().await);
    let builder = one.client().or_at(two.url());
    let (connected, first) = tokio::join!(builder.connect(), async {
        tokio::select! {
            peer = one.welcome() => (peer, &two),
            peer = two.welcome() => (peer, &one),
        }
    });
    let (_client, _events) = connected.unwrap();
    let (mut peer, other) = first;
    let bye = Bye {
        code: 1012,
        reconnect_ms: (0, 50),
    };
    peer.send(ServerFrame::Bye(bye)).await;
    peer.close(1012).await;
    other.welcome().await;
}

#[tokio::test]
async fn of_several_nodes_one_that_is_there_is_enough() {
    let mock = Mock::new().await;
    // Whichever comes first, two are not there, and one hangs up.
    let busy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("ws://{}", busy.local_addr().unwrap());
    tokio::spawn(async move { while busy.accept().await.is_ok() {} });
    for _ in 0..4 {
        let builder = mock.client().or_at("ws://127.0.0.1:1").or_at(&hanging);
        let builder = builder.or_at("ws://127.0.0.1:2");
        let (connected, _peer) = tokio::join!(builder.connect(), mock.welcome());
        connected.unwrap();
    }
    let gone = Client::builder("ws://127.0.0.1:1").or_at("ws://127.0.0.1:2");
    let refused = gone.connect().await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unreachable(_)), "{refused}");
}

#[tokio::test]
async fn it_stops_where_coming_back_would_not_help() {
    type Is = fn(&Stopped) -> bool;
    let codes: [(u16, Is); 4] = [
        (4403, |why| matches!(why, Stopped::Banned)),
        (4400, |why| {
            matches!(why, Stopped::Refused { code: 4400, .. })
        }),
        (1009, |why| {
            matches!(why, Stopped::Refused { code: 1009, .. })
        }),
        (1007, |why| {
            matches!(why, Stopped::Refused { code: 1007, .. })
        }),
    ];
    for (code, is) in codes {
        let mock = Mock::new().await;
        let (connected, mut peer) = tokio::join!(mock.client().connect(), mock.welcome());
        let (client, mut events) = connected.unwrap();
        let sending = client.queue(draft("m1")).await.unwrap();
        peer.expect_send().await;
        peer.close(code).await;
        let why = stopped(&mut events).await;
        assert!(is(&why), "{code}: {why}");
        assert_eq!(soon("the end", sending).await, Err(SendError::Closed));
        let later = client.send(target(), Body::text("hi")).await;
        assert_eq!(later, Err(SendError::Closed));
        mock.is_left_alone().await;
    }
}

#[tokio::test]
async fn a_connection_that_it_lost_itself_replaces_it_once() {
    let mock = Mock::new().await;
    let (connected, peer) = tokio::join!(mock.client().connect(), mock.welcome());
    let (_client, mut events) = connected.unwrap();
    // What the process before this one left may come to its end only now.
    peer.close(4409).await;
    let peer = mock.welcome().await;
    // Lost without a word: a node that stood still may read it later than the next.
    drop(peer);
    mock.welcome().await.close(4409).await;
    mock.welcome().await.close(4409).await;
    let why = stopped(&mut events).await;
    assert!(matches!(why, Stopped::Replaced), "{why}");
    mock.is_left_alone().await;
}

#[tokio::test]
async fn after_other_codes_it_comes_back() {
    for code in [1000, 1001, 1011, 4408, 4429, 4999] {
        let mock = Mock::new().await;
        let (connected, peer) = tokio::join!(mock.client().connect(), mock.welcome());
        let _client = connected.unwrap();
        peer.close(code).await;
        mock.welcome().await;
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_at_last_believed() {
    let mock = Mock::new().await;
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let builder = mock.client().token_provider(move || {
        let token = format!("token {}", counter.fetch_add(1, Ordering::Relaxed));
        async move { Ok::<_, std::io::Error>(token) }
    });
    let (connected, peer) = tokio::join!(builder.connect(), mock.welcome());
    let (_client, mut events) = connected.unwrap();
    peer.close(4401).await;
    for n in 1..3 {
        let peer = mock.accept().await;
        assert_eq!(peer.hello().token, Some(format!("token {n}")));
        peer.close(4401).await;
    }
    assert!(matches!(
        stopped(&mut events).await,
        Stopped::Unauthenticated
    ));
    mock.is_left_alone().await;
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_token_is_renewed_on_the_same_connection_before_it_ends() {
    let mock = Mock::new().await;
    let builder = mock
        .client()
        .token_provider(|| async { Ok::<_, std::io::Error>("next".to_owned()) });
    let (connected, mut peer) = tokio::join!(builder.connect(), async {
        let mut peer = mock.accept().await;
        peer.welcome(|welcome| welcome.expires_at = welcome.now.plus_ms(400))
            .await;
        peer
    });
    let _client = connected.unwrap();
    let auth = |frame| match frame {
        ClientFrame::Auth { id, token } => Some((id, token)),
        _ => None,
    };
    for _ in 0..2 {
        let began = Instant::now();
        let (id, token) = peer.expect(auth).await;
        assert_eq!(token, "next");
        assert!(matches!(id, RequestId::Text(_)), "no id of a request");
        assert!(began.elapsed() < Duration::from_secs(5));
        let expires_at = Value::from(Timestamp(1_000_000).plus_ms(1_500).0);
        let value = Value::object([("expires_at", expires_at)]);
        peer.send(ServerFrame::Res { id, value }).await;
    }
}

#[tokio::test]
async fn silence_is_asked_about_and_then_left() {
    let mock = Mock::new().await;
    let (connected, mut peer) = tokio::join!(mock.client().connect(), async {
        let mut peer = mock.accept().await;
        peer.welcome(|welcome| welcome.heartbeat_ms = 100).await;
        peer.synced(vec![], "t1").await;
        peer
    });
    let _client = connected.unwrap();
    let ping = |frame| matches!(frame, ClientFrame::Ping { .. }).then_some(());
    for _ in 0..3 {
        peer.expect(ping).await;
        peer.send(ServerFrame::Pong { id: None }).await;
    }
    peer.expect(ping).await;
    let asked = Instant::now();
    // It comes back although this connection still stands.
    let _again = mock.accept().await;
    assert!(
        asked.elapsed() >= Duration::from_secs(9),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn the_first_connection_may_fail_or_be_waited_for() {
    let mock = Mock::new().await;
    let url = mock.url();
    drop(mock);
    let failed = Client::builder(&url).connect().await.unwrap_err();
    assert!(matches!(failed, ConnectError::Unreachable(_)) && failed.is_retryable());
    let tls = Client::builder("wss://127.0.0.1")
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(tls, ConnectError::Tls));
    let no_url = Client::builder("nonsense").start().await.unwrap_err();
    assert!(matches!(no_url, ConnectError::Url(_)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let refuse = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.read(&mut [0; 2048]).await;
        let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.unwrap();
    };
    let (refused, ()) = tokio::join!(Client::builder(&url).connect(), refuse);
    assert!(matches!(refused.unwrap_err(), ConnectError::Http(401)));
}

#[tokio::test]
async fn a_client_that_was_started_offline_connects_when_it_can() {
    let mock = Mock::new().await;
    let reconnect = Backoff::new(Duration::from_millis(20), Duration::from_millis(50));
    let (client, mut events) = mock.client().reconnect(reconnect).start().await.unwrap();
    let sending = client.queue(draft("m1")).await.unwrap();
    // The first two connections come to nothing.
    for _ in 0..2 {
        drop(mock.accept().await);
    }
    let mut peer = mock.welcome().await;
    let draft = peer.expect_send().await;
    peer.sent(&draft.cm_id, 1, false).await;
    soon("sent", sending).await.unwrap();
    expect(&mut events, |event| {
        matches!(event, Event::Connected(_)).then_some(())
    })
    .await;
    client.close().await;
    assert!(matches!(stopped(&mut events).await, Stopped::Closed));
    assert!(peer.try_receive().await.is_none(), "it says goodbye");
}
