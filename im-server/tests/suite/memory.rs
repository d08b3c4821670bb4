//! What the server holds stays bounded, whatever its clients do or don't.

use crate::life::{Socket, connect, hear, say};
use crate::process::{Server, token};

/// Messages that fill what the server keeps anyway, and those whose cost is measured: more than may
/// be held, though entries are held once for all connections.
const FIRST: usize = 6_000;
const MEASURED: usize = 12_000;
/// The bytes of each.
const BYTES: usize = 2_000;
/// Sends in flight.
const WINDOW: usize = 64;
/// Devices that don't read.
const DEAF: usize = 12;
/// What the process may grow by, once it has all that it keeps anyway.
const GROWTH_KIB_MAX: u64 = 24 * 1_024;

/// Sends a round of messages to ben and waits for every answer.
async fn round(ana: &mut Socket, name: &str, messages: usize) {
    let words = "x".repeat(BYTES);
    let mut waiting = 0;
    for at in 0..messages {
        let frame = format!(
            r#"{{"t":"send","cm_id":"{name}{at}","to":{{"user":"ben"}},
                "body":{{"kind":"text","text":"{words}"}}}}"#
        );
        say(ana, &frame).await;
        waiting += 1;
        while waiting >= WINDOW || (at + 1 == messages && waiting > 0) {
            let frame = hear(ana).await;
            assert!(!frame.contains(r#""t":"err""#), "{frame}");
            if frame.contains(r#""t":"sent""#) {
                waiting -= 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_do_not_read_cost_their_window_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--sends-per-s", "1000000", "--threads", "2"];
    let server = Server::start(folder.path(), &arguments, &[]);
    let mut ana = connect(&server, &token("ana"), "d").await;
    // The store keeps its last entries in memory, the allocator what it once had.
    round(&mut ana, "a", FIRST).await;
    round(&mut ana, "b", FIRST).await;
    let ben = token("ben");
    let mut deaf = Vec::new();
    for at in 0..DEAF {
        deaf.push(connect(&server, &ben, &format!("d{at}")).await);
    }
    let before = server.memory_kib();
    round(&mut ana, "c", MEASURED).await;
    let grown = server.memory_kib().saturating_sub(before);
    eprintln!("{DEAF} devices that don't read, {MEASURED} messages: {grown} KiB");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    // They are told so when they read again.
    for socket in &mut deaf {
        let mut entries = 0;
        loop {
            let frame = hear(socket).await;
            if frame.contains(r#""t":"behind""#) {
                break;
            }
            entries += usize::from(frame.contains(r#""t":"entry""#));
        }
        assert_eq!(entries, 256, "its window");
    }
}
