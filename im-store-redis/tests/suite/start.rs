//! A registry that can't start says why, and shows no secret.

use std::time::Duration;

use im_store_redis::{ConnectError, HotOptions, Options, RedisHot, RedisRegistry};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::{options, url};

async fn refused(url: &str) -> ConnectError {
    let start = Instant::now();
    let error = RedisRegistry::connect(url, options())
        .await
        .expect_err("refused");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = refused(&format!("redis://u:hunter2@{place}")).await;
    let ConnectError::Unreachable { at, reason } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, place);
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn somebody_who_is_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let error = refused(&format!("redis://u:hunter2@{place}")).await;
    assert!(error.to_string().contains("no answer within 2s"), "{error}");
}

#[tokio::test]
async fn another_protocol_is_said() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "-ERR unknown command `HELLO`, with args beginning with: `3`, `hunter2`, \r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            // Once for each command of a login.
            socket.write_all(answer.repeat(4).as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        let error = refused(&format!("redis://u:hunter2@{place}")).await;
        server.abort();
        let ConnectError::Protocol { at } = error else {
            panic!("{error:?}");
        };
        assert_eq!(at.addr, place.to_string());
    }
}

#[tokio::test]
async fn wrong_credentials_are_said() {
    let Some(url) = url() else { return };
    let place = url.rsplit('/').nth(1).unwrap();
    let place = place.rsplit('@').next().unwrap();
    let error = refused(&format!("redis://nobody:hunter2@{place}")).await;
    let ConnectError::Credentials { at } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, place);
}

/// Without `INFO` a hot tier would not notice that Redis went back in time.
#[tokio::test]
async fn a_login_that_may_not_ask_for_info_is_no_hot_tiers() {
    let Some(url) = url() else { return };
    let mut raw = redis::Client::open(&*url)
        .unwrap()
        .get_connection()
        .unwrap();
    let name = options().prefix;
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg(&name);
    acl.arg(&["on", ">hunter2", "~*", "&*", "+@all", "-info"]);
    acl.exec(&mut raw).unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let place = rest.rsplit('@').next().unwrap();
    let with = format!("{scheme}://{name}:hunter2@{place}");
    let refused = RedisHot::connect(&with, HotOptions::default()).await;
    let gone = redis::cmd("ACL").arg("DELUSER").arg(&name).exec(&mut raw);
    gone.unwrap();
    let error = refused.expect_err("refused");
    assert!(error.to_string().contains("INFO"), "{error}");
}

#[tokio::test]
async fn options_that_can_not_be_are_refused() {
    let with = |prefix: &str, lease: u64| Options {
        prefix: prefix.to_owned(),
        lease: Duration::from_millis(lease),
        ..options()
    };
    for options in [
        with("", 1000),
        with("a}b", 1000),
        with("a", 0),
        with("a", 4_000_000),
    ] {
        let refused = RedisRegistry::connect("redis://127.0.0.1:1", options).await;
        let error = refused.expect_err("refused");
        assert!(matches!(error, ConnectError::Option(_)), "{error:?}");
    }
}
