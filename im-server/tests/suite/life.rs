//! Health, metrics, the end, and what is logged meanwhile.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::http;
use crate::process::{SECRET, Server, token};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The drain of the servers here.
const DRAIN_MS: u64 = 2_000;
/// What an exit may take beyond its drain: a busy machine, and the last goodbyes.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn connect(server: &Server, token: &str, device: &str) -> Socket {
    let url = format!("ws://{}/v1/ws", server.address);
    let (mut socket, _) = connect_async(url).await.unwrap();
    say(
        &mut socket,
        &format!(r#"{{"t":"hello","token":"{token}","device":"{device}"}}"#),
    )
    .await;
    let welcome = hear(&mut socket).await;
    assert!(welcome.contains(r#""t":"welcome""#), "{welcome}");
    socket
}

pub(crate) async fn say(socket: &mut Socket, frame: &str) {
    socket.send(Message::text(frame)).await.unwrap();
}

/// The next frame; of a close its code.
pub(crate) async fn hear(socket: &mut Socket) -> String {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), socket.next())
            .await
            .unwrap();
        match next {
            Some(Ok(Message::Text(text))) => return text.to_string(),
            Some(Ok(Message::Close(frame))) => {
                return format!("close {}", frame.map_or(0, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            None | Some(Err(_)) => return "gone".to_owned(),
        }
    }
}

fn send_frame(cm_id: &str, to: &str, text: &str) -> String {
    format!(
        r#"{{"t":"send","cm_id":"{cm_id}","to":{{"user":"{to}"}},
            "body":{{"kind":"text","text":"{text}"}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lives_is_ready_and_counts_without_naming_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[]);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    let mut socket = connect(&server, &token("ana-unmistakable"), "d1").await;
    say(&mut socket, &send_frame("c1", "ben-unmistakable", "hi")).await;
    say(
        &mut socket,
        r#"{"t":"send","cm_id":"c2","to":{"conv":"no-such"},"body":{"kind":"text","text":"x"}}"#,
    )
    .await;
    let mut seen = String::new();
    while !(seen.contains("\"sent\"") && seen.contains("\"err\"")) {
        seen.push_str(&hear(&mut socket).await);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let metrics = server.get("/metrics");
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    for line in [
        "im_connections 1",
        "im_sends_total 1",
        "im_entries_total 1",
        "im_deliveries_total 1",
        "im_errors_total{code=\"not_found\"} 1",
        "im_commit_seconds_count 1",
    ] {
        assert!(
            metrics.body.lines().any(|shown| shown == line),
            "{line}\n{}",
            metrics.body
        );
    }
    assert!(!metrics.body.contains("unmistakable"), "{}", metrics.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_says_bye_to_everybody_and_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let drain = DRAIN_MS.to_string();
    let mut server = Server::start(folder.path(), &["--drain-ms", &drain], &[]);
    let mut sockets = Vec::new();
    for user in ["ana", "ben", "cara"] {
        sockets.push(connect(&server, &token(user), "d1").await);
    }
    say(&mut sockets[0], &send_frame("c1", "dora", "on the way out")).await;
    let start = Instant::now();
    server.signal(libc::SIGTERM);
    let draining = loop {
        match http::try_request(server.address, "GET", "/readyz", &[], "") {
            Ok(answer) if answer.status == 503 => break true,
            Ok(_) if start.elapsed() < Duration::from_millis(DRAIN_MS) => {}
            _ => break false,
        }
    };
    assert!(draining, "readyz says 503 while it drains");
    let mut sent = false;
    for (at, socket) in sockets.iter_mut().enumerate() {
        let mut heard = Vec::new();
        while heard
            .last()
            .is_none_or(|last: &String| !last.starts_with("close") && last != "gone")
        {
            heard.push(hear(socket).await);
        }
        sent |= heard.iter().any(|frame| frame.contains("\"sent\""));
        let bye = heard
            .iter()
            .any(|frame| frame.contains("\"bye\"") && frame.contains("1012"));
        assert!(bye, "connection {at} got {heard:?}");
        assert_eq!(
            heard.last().unwrap(),
            "close 1012",
            "connection {at} got {heard:?}"
        );
    }
    assert!(sent, "what was accepted is answered");
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(DRAIN_MS) + GRACE,
        "took {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_go_is_not_waited_for_beyond_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let drain = DRAIN_MS.to_string();
    let mut server = Server::start(folder.path(), &["--drain-ms", &drain], &[]);
    let _deaf = connect(&server, &token("ana"), "d1").await;
    let start = Instant::now();
    server.signal(libc::SIGINT);
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_millis(DRAIN_MS) + GRACE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &["--drain-ms", "60000"], &[]);
    let _deaf = connect(&server, &token("ana"), "d1").await;
    let start = Instant::now();
    server.signal(libc::SIGTERM);
    while server.get("/readyz").status != 503 {
        assert!(start.elapsed() < GRACE);
    }
    server.signal(libc::SIGTERM);
    assert_ne!(server.wait().code(), Some(0));
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (ana, ben) = (token("ana"), token("ben"));
    let server = Server::start(folder.path(), &[], &[]);
    let mut socket = connect(&server, &ana, "d1").await;
    say(&mut socket, &send_frame("c1", "ben", "still here")).await;
    while !hear(&mut socket).await.contains("\"sent\"") {}
    drop(server); // SIGKILL
    let server = Server::start(folder.path(), &[], &[]);
    let bearer = format!("Bearer {ben}");
    let list = http::request(
        server.address,
        "GET",
        "/v1/sync",
        &[("authorization", &bearer)],
        "",
    );
    assert!(list.body.contains("still here"), "{}", list.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_holds_a_token_the_secret_or_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[], &[("RUST_LOG", "trace")]);
    let (ana, bad) = (token("ana"), "bad-token-unmistakable.x.y");
    let mut socket = connect(&server, &ana, "d1").await;
    say(&mut socket, &send_frame("c1", "ben", "words-unmistakable")).await;
    while !hear(&mut socket).await.contains("\"sent\"") {}
    say(
        &mut socket,
        &format!(r#"{{"t":"auth","id":1,"token":"{bad}"}}"#),
    )
    .await;
    while !hear(&mut socket).await.contains("unauthenticated") {}
    say(
        &mut socket,
        r#"{"t":"pull","id":2,"conv":17,"words-unmistakable":1}"#,
    )
    .await;
    while !hear(&mut socket).await.contains("bad_frame") {}
    for token in [ana.as_str(), bad] {
        let bearer = format!("Bearer {token}");
        let body = r#"{"cm_id":"c2","to":{"user":"ben"},
            "body":{"kind":"text","text":"words-unmistakable"}}"#;
        let headers = [("authorization", bearer.as_str())];
        http::request(server.address, "POST", "/v1/messages", &headers, body);
    }
    server.get(&format!("/?token={ana}"));
    let url = format!("ws://{}/v1/ws?token={ana}", server.address);
    connect_async(url).await.unwrap();
    let logs = server.logs();
    assert!(logs.contains("DEBUG"), "everything is logged: {logs}");
    let signature = ana.rsplit('.').next().unwrap();
    for secret in [SECRET, &ana, signature, bad, "words-unmistakable"] {
        let line = logs.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
