//! What Redis itself may do to a bus.

use im_bus_redis::{ConnectError, RedisBus};
use im_core::port::{Bus, Incoming, To};
use im_testkit::suite::bus::Reach;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::{next, node, options, reach_by, url};

async fn refused(url: &str) -> ConnectError {
    let error = RedisBus::connect(url, options())
        .await
        .expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed_over() {
    let Some(url) = url() else { return };
    let options = options();
    let bus = RedisBus::connect(&url, options.clone()).await.unwrap();
    let mut heard = bus.subscribe(&node("n")).await.unwrap();
    let client = redis::Client::open(url).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let channels = ["all", "node:n"].map(|it| format!("{}:{it}", options.prefix));
    let oversized = [&[0xB5, 1, 0][..], &vec![0; 2 << 20]].concat();
    let poison = [
        &b""[..],
        b"garbage",
        &[0xB5, 9, 0, 1],
        &[0xB5, 1, 77, 1],
        &oversized,
    ];
    for channel in &channels {
        for frame in poison {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(frame);
            let heard_by: u32 = publish.query_async(&mut raw).await.unwrap();
            assert_eq!(heard_by, 1, "the names of the channels");
        }
    }
    bus.publish(To::All, "good".into()).await.unwrap();
    assert_eq!(next(&mut heard).await, Incoming::Message("good".into()));
}

#[tokio::test]
async fn an_old_server_that_quotes_the_password_is_not_quoted() {
    let answer =
        "-ERR unknown command `HELLO`, with args beginning with: `3`, `hunter2`, \r\n".repeat(4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    });
    let error = refused(&format!("redis://u:hunter2@{place}")).await;
    server.abort();
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn wrong_credentials_are_said() {
    let Some(url) = url() else { return };
    let reach: Reach = reach_by(url);
    let error = refused(&reach.login("nobody:hunter2", reach.place())).await;
    let ConnectError::Credentials { at } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, reach.place());
}
