//! Three nodes, and the broker between them killed and paused, and a node killed, while all write.
//! The broker is not for the test alone then, so these are run by `scripts/faults`, which says in
//! `IMKIT_SERVICES` by which script it is killed. The registry is another Redis.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, Event, Events};
use im_core::model::{Body, ConversationId, Seq, Target};
use parking_lot::Mutex;

use crate::cluster::Place;

/// How long all write before a fault and after it.
const CALM: Duration = Duration::from_secs(3);
/// How long a paused broker is silent.
const PAUSE: Duration = Duration::from_secs(15);
/// How long what is written after a fault may take to the members on other nodes.
const RESUMES: Duration = Duration::from_secs(5);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two messages of a member.
const EVERY: Duration = Duration::from_millis(60);

async fn services(command: &'static str, name: &'static str) {
    let script = std::env::var("IMKIT_SERVICES").unwrap();
    let run = move || Command::new(script).args([command, name]).output().unwrap();
    let done = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// What a member was told, in that order.
type Told = Arc<Mutex<Vec<(Seq, String)>>>;

fn listen(mut events: Events, conv: ConversationId) -> Told {
    let told = Told::default();
    let into = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Entry(entry) = event
                && entry.conv == conv
                && let Some(text) = entry.body.as_text()
            {
                into.lock().push((entry.seq, text.to_owned()));
            }
        }
    });
    told
}

async fn say(client: &Client, conv: &ConversationId, text: &str) {
    let to = Target::Conversation(conv.clone());
    client.send(to, Body::text(text)).await.unwrap();
}

/// Waits until every member was told that; how long it took.
async fn until_told(text: &str, all: &[Told]) -> Duration {
    let began = Instant::now();
    for told in all {
        while !told.lock().iter().any(|(_, it)| it == text) {
            assert!(began.elapsed() < PATIENCE, "{text} is not told");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    began.elapsed()
}

/// Nobody was told anything twice, all the same in the same order, and each member's own in the
/// order of sending.
fn check(all: &[Told], wrote: &[(&str, usize)]) {
    let first = all[0].lock().clone();
    for told in all {
        assert!(*told.lock() == first, "all are told the same");
    }
    let mut seen = HashSet::new();
    assert!(first.iter().all(|(_, text)| seen.insert(text)), "twice");
    for (name, count) in wrote {
        let own = first.iter().map(|(_, text)| text.as_str());
        let own: Vec<_> = own.filter(|text| text.starts_with(name)).collect();
        let sent: Vec<_> = (0..*count).map(|n| format!("{name} {n}")).collect();
        assert_eq!(own, sent, "each once, in the order of sending");
    }
}

async fn members_miss_nothing(bus: &'static str, variable: &str) {
    let place = Place::on(&format!("faults-{bus}"), variable, "IMKIT_TEST_REDIS2_URL");
    let place = place.unwrap();
    let mut nodes = ["n1", "n2", "n3"].map(|name| place.node(name, "127.0.0.1:0"));
    let (ann, of_ann) = place.client(&nodes[0], "ann").await;
    let (bo, of_bo) = place.client(&nodes[1], "bo").await;
    let (cy, of_cy) = place.client(&nodes[2], "cy").await;
    let conv = place.group(&ann).await;
    let all = [of_ann, of_bo, of_cy].map(|events| listen(events, conv.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers = [(&ann, "ann"), (&bo, "bo"), (&cy, "cy")].map(|(client, name)| {
        let (client, conv, stop) = (client.clone(), conv.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Acquire) {
                say(&client, &conv, &format!("{name} {count}")).await;
                count += 1;
                tokio::time::sleep(EVERY).await;
            }
            (name, count)
        })
    });
    for fault in ["broker killed", "broker paused for 15 s", "node killed"] {
        tokio::time::sleep(CALM).await;
        match fault {
            "broker killed" => {
                services("kill", bus).await;
                services("up", bus).await;
            }
            "node killed" => {
                let listen = nodes[2].address.to_string();
                nodes[2].signal(libc::SIGKILL);
                nodes[2].wait();
                // The name is free when its lease is over.
                nodes[2] = place.node("n3-again", &listen);
            }
            _ => {
                services("pause", bus).await;
                tokio::time::sleep(PAUSE).await;
                services("resume", bus).await;
            }
        }
        say(&ann, &conv, fault).await;
        let took = until_told(fault, &all).await;
        println!("{bus}, {fault}: what is written after it is told everywhere within {took:?}");
        assert!(took < RESUMES, "{took:?}");
    }
    tokio::time::sleep(CALM).await;
    stop.store(true, Ordering::Release);
    let mut wrote = Vec::new();
    for writer in writers {
        wrote.push(writer.await.unwrap());
    }
    say(&bo, &conv, "the end").await;
    until_told("the end", &all).await;
    check(&all, &wrote);
    let count: usize = wrote.iter().map(|(_, count)| count).sum();
    println!("{bus}: {count} messages, 0 lost, 0 doubled, one order");
}

macro_rules! buses {
    ($($bus:ident $variable:literal)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "kills the broker: scripts/faults"]
            async fn $bus() {
                members_miss_nothing(stringify!($bus), $variable).await;
            }
        )+
    };
}

buses! {
    redis "IMKIT_TEST_REDIS_URL"
    nats "IMKIT_TEST_NATS_URL"
    rabbitmq "IMKIT_TEST_AMQP_URL"
    kafka "IMKIT_TEST_KAFKA_URL"
    rocketmq "IMKIT_TEST_ROCKETMQ_URL"
}
