//! What Redis itself may do to a bus.

use im_bus_redis::{ConnectError, Options, RedisBus};
use im_testkit::suite::bus::{poison_is_passed_over, the_servers_authority_is_asked_for};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::reach;

async fn refused(url: &str) -> ConnectError {
    let refused = RedisBus::connect(url, Options::default()).await;
    let error = refused.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed() {
    let Some(reach) = reach() else { return };
    let client = redis::Client::open(reach.url()).unwrap();
    let raw = client.get_multiplexed_async_connection().await.unwrap();
    poison_is_passed_over(&reach, async |frame| {
        let mut raw = raw.clone();
        for name in ["all", "node:n"] {
            let mut publish = redis::cmd("PUBLISH");
            publish
                .arg(format!("{}:{name}", reach.prefix()))
                .arg(&*frame);
            publish.query_async::<()>(&mut raw).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_servers_authority_is_asked_for() {
    let Some(reach) = reach() else { return };
    the_servers_authority_is_asked_for(&reach, "rediss", false).await;
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
    let Some(reach) = reach() else { return };
    let error = refused(&reach.login("nobody:hunter2", reach.place())).await;
    let ConnectError::Credentials { at } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, reach.place());
}
