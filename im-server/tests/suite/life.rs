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

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_file_newcomers_wait_and_those_who_are_here_go_on() {
    /// What the server itself has open leaves room for some connections, not for all.
    const FILES: u32 = 72;
    const NEWCOMERS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with_files(folder.path(), FILES);
    let mut here = connect(&server, &token("ana"), "d1").await;
    let mut newcomers = Vec::new();
    for _ in 0..NEWCOMERS {
        newcomers.push(std::net::TcpStream::connect(server.address).unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let late = connect_async(format!("ws://{}/v1/ws", server.address));
    let late = tokio::time::timeout(Duration::from_millis(500), late).await;
    assert!(late.is_err(), "there is a file for everybody");
    for at in 0..20 {
        say(&mut here, &send_frame(&format!("c{at}"), "ben", "hi")).await;
        while !hear(&mut here).await.contains("\"sent\"") {}
    }
    drop(newcomers);
    let mut late = connect(&server, &token("ben"), "d1").await;
    say(&mut late, &send_frame("c1", "ana", "hi")).await;
    while !hear(&mut late).await.contains("\"sent\"") {}
    let counted = server.get("/metrics").body;
    let errors = counted
        .lines()
        .find_map(|line| line.strip_prefix("im_accept_errors_total "));
    assert!(errors.is_some_and(|count| count != "0"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_cut_off_loses_nothing_that_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (ana, ben) = (token("ana"), token("ben"));
    let server = Server::start(folder.path(), &["--drain-ms", "5000"], &[]);
    let mut socket = connect(&server, &ana, "d1").await;
    for at in 0..50 {
        say(&mut socket, &send_frame(&format!("c{at}"), "ben", "x")).await;
    }
    server.signal(libc::SIGTERM);
    let mut sent = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        let heard = tokio::time::timeout(Duration::from_millis(100), hear(&mut socket)).await;
        let Ok(Ok(frame)) = heard.map(|frame| serde_json::from_str::<serde_json::Value>(&frame))
        else {
            continue;
        };
        if frame["t"] == "sent" {
            sent.push(frame["cm_id"].to_string());
        }
    }
    assert!(!sent.is_empty(), "nothing was answered before the end");
    drop(server); // SIGKILL, long before the drain was to end
    let server = Server::start(folder.path(), &[], &[]);
    let bearer = format!("Bearer {ben}");
    let headers = [("authorization", bearer.as_str())];
    let list = http::request(server.address, "GET", "/v1/sync", &headers, "");
    let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
    let conv = list["convs"][0]["conv"].as_str().unwrap();
    let path = format!("/v1/conversations/{conv}/entries?after=0&limit=200");
    let log = http::request(server.address, "GET", &path, &headers, "").body;
    for cm_id in sent {
        assert_eq!(log.matches(cm_id.as_str()).count(), 1, "{cm_id} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_for_a_while_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--heartbeat-ms", "500"];
    let server = Server::start(folder.path(), &arguments, &[]);
    let mut ana = connect(&server, &token("ana"), "d1").await;
    say(&mut ana, &send_frame("c1", "ben", "before")).await;
    while !hear(&mut ana).await.contains("\"sent\"") {}
    server.signal(libc::SIGSTOP);
    // Written into its socket while it sleeps, for longer than it lets anybody be silent.
    say(&mut ana, &send_frame("c2", "ben", "meanwhile")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.signal(libc::SIGCONT);
    let mut again = connect(&server, &token("ana"), "d2").await;
    for cm_id in ["c1", "c2", "c3"] {
        say(&mut again, &send_frame(cm_id, "ben", "once")).await;
    }
    let mut seqs = Vec::new();
    while seqs.len() < 3 {
        let frame = hear(&mut again).await;
        let value: serde_json::Value = serde_json::from_str(&frame).unwrap();
        match value["t"].as_str() {
            Some("sent") => seqs.push(value["seq"].as_u64().unwrap()),
            Some("err") => {
                // The words of the first tries were others: they are there.
                assert_eq!(value["code"], "cm_id_reused");
                let of = value["cm_id"].as_str().unwrap();
                seqs.push(if of == "c1" { 1 } else { 2 });
            }
            _ => {}
        }
    }
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3]);
}
