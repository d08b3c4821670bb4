//! Rooms with so many users that what comes is gathered before it is pushed.

use std::time::Duration;

use im_testkit::memory::Fault;

use super::kit::{Client, Cluster, int, text};

/// Enough that the room gathers.
const MEMBERS: usize = 70;
const ROUNDS: u64 = 10;
/// Longer than a room gathers.
const PAUSE: Duration = Duration::from_millis(60);
/// Long enough for a stored entry to reach its room, and less than a room gathers.
const APPLIED: Duration = Duration::from_millis(3);

fn names() -> impl Iterator<Item = String> {
    (0..MEMBERS).map(|number| format!("m{number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_large_room_gathers_reaches_everybody_also_when_somebody_joins_late() {
    let cluster = Cluster::new();
    for name in names() {
        cluster.add_user(&name);
    }
    let node = cluster.node("a").await;
    let mut ana = Client::connect(&node, "ana", "d").await;
    let mut members = Vec::new();
    for name in names() {
        members.push(Client::connect(&node, &name, "d").await);
    }
    let all: Vec<_> = names().map(|name| format!("\"{name}\"")).collect();
    ana.say(&format!(
        r#"{{"t":"req","id":1,"method":"groups.create",
            "params":{{"title":"large","members":["ben",{}]}}}}"#,
        all.join(",")
    ));
    let made = ana.get("res").await;
    let conv = text(made.get("value").unwrap(), "conv");
    let mut heard = int(&members[0].get("entry").await, "seq");
    for round in 0..ROUNDS {
        // Ben's list is read before the messages and heard of after them.
        cluster.store.set_reads(Some(Fault::HangAfter));
        let mut ben = Client::hello(&node, "ben", "d");
        tokio::time::sleep(PAUSE).await;
        for number in 0..2 {
            ana.say(&format!(
                r#"{{"t":"send","cm_id":"{round}-{number}","to":{{"conv":"{conv}"}},
                    "body":{{"kind":"text","text":"x"}}}}"#
            ));
            ana.get("sent").await;
        }
        tokio::time::sleep(APPLIED).await;
        cluster.store.set_reads(None);
        ben.get("welcome").await;
        for _ in 0..2 {
            heard += 1;
            let entry = members[0].get("entry").await;
            assert_eq!(int(&entry, "seq"), heard, "round {round}: {entry:?}");
        }
    }
}
