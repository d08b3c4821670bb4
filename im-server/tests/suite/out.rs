//! What goes out of a real process: a key of a program, webhooks over a kill.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::http;
use crate::process::{SECRET, Server, run_in};

const HOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Longer than the lease of a dead follower, and the first waits.
const DEADLINE: Duration = Duration::from_secs(60);

/// An endpoint that writes down the ids that it took, in the order in which they came.
struct Endpoint {
    url: String,
    status: Arc<AtomicU16>,
    took: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (status, took) = (Arc::new(AtomicU16::new(200)), Arc::default());
        let (says, book) = (Arc::clone(&status), Arc::clone(&took));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let _ = answer(socket.unwrap(), says.load(Ordering::Relaxed), &book);
            }
        });
        Self { url, status, took }
    }

    /// What it took, each at its first time.
    fn first(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let took = self.took.lock();
        let first = took.iter().filter(|&id| seen.insert(id.clone()));
        first.cloned().collect()
    }
}

fn answer(mut socket: TcpStream, status: u16, took: &Mutex<Vec<String>>) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    let mut part = [0; 4_096];
    while !text.contains("\"type\":\"message.sent\"}") {
        let read = socket.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    assert!(text.contains("webhook-signature: v1,"), "{text}");
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("webhook-id: "));
    if status == 200 {
        took.lock().push(id.unwrap().to_owned());
    }
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(head.as_bytes())
}

#[test]
fn a_program_sends_with_its_key_and_a_webhook_hears_of_all_of_it_over_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("test.db").display());
    let keys = |arguments: &[&str]| {
        let fixed = ["--store", &store, "--jwt-secret", SECRET, "keys"];
        let said = run_in(folder.path(), &[&fixed[..], arguments].concat(), &[]);
        assert!(said.ok, "{}", said.err);
        said.out
    };
    let key = keys(&["add", "the shop", "--user", "shop"]);
    let key = key.trim();
    let list = keys(&["list"]);
    assert!(
        list.contains("the shop") && !list.contains(&key[21..]),
        "{list}"
    );

    let endpoint = Endpoint::new();
    let hook = format!("crm={}", endpoint.url);
    let arguments = ["--webhooks", &hook, "--out-private", "true"];
    let variables = [("IMKIT_WEBHOOK_SECRET", HOOK_SECRET)];
    let mut sent = Vec::new();
    for life in 0..3 {
        let server = Server::start(folder.path(), &arguments, &variables);
        if life == 0 {
            // What is said before a follower ran for the first time need not be told.
            std::thread::sleep(Duration::from_secs(2));
        }
        endpoint
            .status
            .store([200, 500, 200][life], Ordering::Relaxed);
        for n in 0..20 {
            let body = format!(
                r#"{{"cm_id":"c{life}-{n}","to":{{"user":"ben"}},
                    "body":{{"kind":"text","text":"x"}}}}"#
            );
            let bearer = format!("Bearer {key}");
            let headers = [("authorization", bearer.as_str())];
            let answer = http::request(server.address, "POST", "/v1/messages", &headers, &body);
            assert_eq!(answer.status, 200, "{}", answer.body);
            let (_, id) = answer.body.split_once("\"id\":\"").unwrap();
            sent.push(format!("msg_{}", id.split_once('"').unwrap().0));
        }
        if life < 2 {
            drop(server);
            continue;
        }
        let begun = Instant::now();
        while endpoint.first().len() < sent.len() && begun.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(endpoint.first(), sent);
    }
    let id = &list[..16];
    keys(&["revoke", id]);
    assert_eq!(keys(&["list"]), "");
}
