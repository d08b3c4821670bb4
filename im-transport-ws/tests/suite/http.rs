//! The HTTP door: the same verdicts as the socket's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::Kit;
use crate::peer::text;

/// Sends a request; its status and body.
pub(crate) async fn ask(
    address: SocketAddr,
    verb: &str,
    path: &str,
    token: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        answer
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    )
}

#[tokio::test]
async fn messages_go_in_by_http_and_out_by_socket_and_the_other_way() {
    let kit = Kit::start().await;
    let mut ben = kit.peer("ben", "d").await;
    let body = r#"{"cm_id":"c1","to":{"user":"ben"},"body":{"kind":"text","text":"hi"}}"#;
    let (status, sent) = ask(kit.address, "POST", "/v1/messages", "ana", body).await;
    assert_eq!(status, 200, "{sent}");
    let conv = text(&ben.get("entry").await, "conv");
    ben.send("c1", r#"{"user":"ana"}"#, "yes?").await;
    let path = format!("/v1/conversations/{conv}/entries?after=0");
    let (status, page) = ask(kit.address, "GET", &path, "ana", "").await;
    assert_eq!(status, 200);
    assert!(page.contains("hi") && page.contains("yes?"), "{page}");
    for (token, status) in [("cara", 404), ("nobody", 401), ("", 401)] {
        let (refused, words) = ask(kit.address, "GET", &path, token, "").await;
        assert_eq!(refused, status, "{token}: {words}");
        assert!(!words.contains("yes?"));
    }
}

#[tokio::test]
async fn every_route_asks_for_a_token_before_anything_else() {
    let kit = Kit::start().await;
    for method in im_node::METHODS {
        let Some(route) = method.route else { continue };
        let verb = format!("{:?}", route.verb).to_uppercase();
        let path = route.path.replace("{conv}", "c");
        for token in ["nobody", ""] {
            let (status, _) = ask(kit.address, &verb, &path, token, "no json").await;
            assert_eq!(status, 401, "{verb} {path}");
        }
        let (status, words) = ask(kit.address, &verb, &path, "ana", "[1]").await;
        assert_eq!(status, 400, "{verb} {path}: {words}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_one_that_does_not_come_is_not_waited_for() {
    let kit = Kit::start().await;
    let large = " ".repeat(70_000);
    assert_eq!(
        ask(kit.address, "POST", "/v1/messages", "ana", &large)
            .await
            .0,
        413
    );
    // A stranger's body is not read at all.
    let mut stream = TcpStream::connect(kit.address).await.unwrap();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer nobody\r\n\
                content-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}
