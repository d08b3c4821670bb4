//! A disk that is full, for real.

use std::time::{Duration, Instant};

use crate::http::{Answer, request};
use crate::process::{Server, token};

/// The disk's size in MiB, a sixth of which is the ballast.
const DISK_MIB: u32 = 6;
/// More messages than it takes.
const SENDS_MAX: usize = 5_000;
/// How long the server may take to see that there is room.
const HEALED: Duration = Duration::from_secs(20);

fn send(server: &Server, token: &str, cm_id: &str) -> Answer {
    let words = "x".repeat(3_900);
    let body = format!(
        r#"{{"cm_id":"{cm_id}","to":{{"user":"ben"}},"body":{{"kind":"text","text":"{words}"}}}}"#
    );
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    request(server.address, "POST", "/v1/messages", &headers, &body)
}

/// The `cm_id`s of ben's whole log.
fn pull(server: &Server, token: &str, conv: &str) -> Vec<String> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.len();
        let path = format!("/v1/conversations/{conv}/entries?after={after}&limit=200");
        let answer = request(server.address, "GET", &path, &headers, "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        for entry in page["entries"].as_array().unwrap() {
            assert_eq!(entry["seq"], found.len() + 1);
            found.push(entry["cm_id"].as_str().unwrap().to_owned());
        }
        if page["more"] != true {
            return found;
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_reads_go_on_and_writes_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, ballast)) = Server::on_small_disk(folder.path(), DISK_MIB) else {
        eprintln!("no disk of one's own can be had here: not tested");
        return;
    };
    let (ana, ben) = (token("ana"), token("ben"));
    let (mut sent, mut conv, mut refused) = (Vec::new(), String::new(), None);
    for n in 0..SENDS_MAX {
        let cm_id = format!("c{n}");
        let answer = send(&server, &ana, &cm_id);
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        if answer.status != 200 {
            assert_eq!(
                (answer.status, &value["code"]),
                (503, &"unavailable".into())
            );
            assert!(answer.header("retry-after").is_some());
            refused = Some(cm_id);
            break;
        }
        conv = value["conv"].as_str().unwrap().to_owned();
        sent.push(cm_id);
    }
    let refused = refused.expect("the disk is full");
    assert!(sent.len() > 100, "{} messages before that", sent.len());
    for _ in 0..3 {
        assert_eq!(send(&server, &ana, &refused).status, 503);
    }
    assert_eq!(server.get("/readyz").status, 503);
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(pull(&server, &ben, &conv), sent);
    std::fs::remove_file(ballast).unwrap();
    // Without anybody who sends.
    let start = Instant::now();
    while server.get("/readyz").status != 200 {
        assert!(start.elapsed() < HEALED);
        std::thread::sleep(Duration::from_millis(50));
    }
    for cm_id in [refused.as_str(), "after"] {
        assert_eq!(send(&server, &ana, cm_id).status, 200);
        sent.push(cm_id.to_owned());
    }
    assert_eq!(pull(&server, &ben, &conv), sent);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
