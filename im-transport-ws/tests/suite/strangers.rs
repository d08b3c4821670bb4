//! Before anybody knows who it is: requests that are too large, too slow, or only look right.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::Kit;
use crate::peer::Peer;

/// Requests that never end, at once.
const SLOW: usize = 200;
/// The deadline for headers, and what a busy machine may add.
const HEADERS: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);

/// Writes bytes and reads whatever comes until the end.
async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be closed in the middle of it.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = async {
        let mut part = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
        }
    };
    tokio::time::timeout(HEADERS + GRACE, read).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_header_without_end_is_refused_at_once() {
    let kit = Kit::start().await;
    for header in [
        format!("x: {}", "y".repeat(1 << 20)),
        format!("sec-websocket-extensions: a; b=\"{}", "\\".repeat(1 << 20)),
        "x: y\r\n".repeat(200_000),
    ] {
        let start = Instant::now();
        let request = format!("GET /v1/ws HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n");
        let answer = say(kit.address, request.as_bytes()).await;
        assert!(!answer.contains(" 101 ") && !answer.contains(" 200 "));
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }
    kit.peer("ana", "d").await;
}

#[tokio::test]
async fn who_is_slow_with_the_headers_is_closed_and_others_come_in_meanwhile() {
    let kit = Kit::start().await;
    let start = Instant::now();
    let mut slow = Vec::new();
    for n in 0..SLOW {
        let mut stream = TcpStream::connect(kit.address).await.unwrap();
        let part = "GET /v1/ws HTTP/1.1\r\nhost: x\r\nx: y";
        stream
            .write_all(&part.as_bytes()[..n % part.len()])
            .await
            .unwrap();
        slow.push(stream);
    }
    kit.peer("ana", "d").await;
    assert!(start.elapsed() < GRACE);
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(HEADERS + GRACE, stream.read_to_end(&mut rest));
        // A reset is an end too.
        let _ = ended.await.unwrap();
    }
    assert!(start.elapsed() < HEADERS + GRACE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn compression_is_not_agreed_to() {
    let kit = Kit::start().await;
    let request = "GET /v1/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let mut stream = TcpStream::connect(kit.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 1_024];
    let count = stream.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..count]).to_lowercase();
    assert!(
        head.contains(" 101 ") && !head.contains("sec-websocket-extensions"),
        "{head}"
    );
}

#[tokio::test]
async fn a_token_is_taken_from_its_header_alone_and_no_page_is_told_that_it_may_ask() {
    let kit = Kit::start().await;
    for (path, header) in [
        ("/v1/sync", "cookie: token=ana; authorization=Bearer ana"),
        ("/v1/sync?token=ana&access_token=ana", "x: y"),
        ("/v1/sync", "authorization: Basic ana"),
        ("/v1/sync", "authorization: ana"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\n\
             connection: close\r\n{header}\r\n\r\n"
        );
        let answer = say(kit.address, request.as_bytes()).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 401"), "{header}: {answer}");
        assert!(!answer.contains("access-control-"), "{answer}");
    }
    // A page that asks whether it may is not told that it may.
    let ask = "OPTIONS /v1/messages HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\n\
        access-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = say(kit.address, ask.as_bytes()).await.to_lowercase();
    assert!(
        !answer.contains(" 200 ") && !answer.contains("access-control-"),
        "{answer}"
    );
    assert_eq!(
        Peer::connect(
            kit.address,
            "cookie: token=ana\r\nauthorization: Bearer nobody\r\n"
        )
        .await
        .unwrap_err(),
        401
    );
}

#[tokio::test]
async fn a_body_in_parts_without_end_is_refused_at_its_bound() {
    let kit = Kit::start().await;
    let mut request = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n\
        authorization: Bearer ana\r\ntransfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..1_000 {
        request.extend_from_slice(b"1000\r\n");
        request.extend_from_slice(&[b' '; 4_096]);
        request.extend_from_slice(b"\r\n");
    }
    let start = Instant::now();
    let answer = say(kit.address, &request).await;
    // The answer may be lost with the rest of what was written.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    assert!(start.elapsed() < GRACE);
    kit.peer("ana", "d").await;
}
