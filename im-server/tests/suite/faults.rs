//! Three nodes under load while what is between them is killed and paused. These end servers that
//! are not for themselves, so they run alone: `scripts/faults`, which says in `IMKIT_SERVICES` by
//! which script that is done.

mod hot;
mod shards;

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, Event, Events};
use im_core::model::{Body, ConversationId, Seq, Target};

use crate::cluster::Place;
use crate::process::Server;

/// The wait between two messages of one person.
const PAUSE: Duration = Duration::from_millis(20);
/// How long people write before the first fault, and after each.
const CALM: Duration = Duration::from_secs(8);
/// How long a paused server is silent.
const SILENCE: Duration = Duration::from_secs(15);
/// What was sent so long after a fault has ended crosses nodes as quickly as ever.
const BACK: Duration = Duration::from_secs(5);
/// A message that took longer came by the sweep and not by the bus.
const QUICK: Duration = Duration::from_secs(1);
/// How long the last message may take to everybody.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is on which node.
const PEOPLE: [(usize, &str); 3] = [(0, "ann"), (0, "bo"), (2, "cy")];
/// On which node they write: the others hear of it over the bus or by the sweep, and not because
/// their own words show them a gap.
const WRITES: usize = 0;

/// What happens to a server that the nodes talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP for [`SILENCE`].
    Pause,
    /// Everything that Redis holds is gone.
    Flush,
    /// SIGKILL to a node, and a new start.
    Node(usize),
}

async fn services(arguments: &[&str]) {
    let script = std::env::var("IMKIT_SERVICES").unwrap();
    let arguments: Vec<_> = arguments.iter().map(|&it| it.to_owned()).collect();
    let done = tokio::task::spawn_blocking(move || Command::new(script).args(arguments).output());
    let done = done.await.unwrap().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Three nodes, and who is connected to them.
struct Cluster {
    place: Place,
    nodes: Vec<Server>,
    /// How many nodes were started.
    started: usize,
}

impl Cluster {
    fn start(place: Place) -> Self {
        let mut cluster = Self {
            place,
            nodes: Vec::new(),
            started: 0,
        };
        for _ in 0..3 {
            let node = cluster.one("127.0.0.1:0");
            cluster.nodes.push(node);
        }
        cluster
    }

    // The name of one that was killed is free only when its lease is over: each has its own.
    fn one(&mut self, listen: &str) -> Server {
        self.started += 1;
        self.place.node(&format!("n{}", self.started), listen)
    }

    async fn strike(&mut self, fault: Fault, name: &str) {
        match fault {
            Fault::Kill => {
                services(&["kill", name]).await;
                services(&["up", name]).await;
            }
            Fault::Pause => {
                services(&["pause", name]).await;
                tokio::time::sleep(SILENCE).await;
                services(&["resume", name]).await;
            }
            Fault::Flush => services(&["ctl", name, "FLUSHALL"]).await,
            Fault::Node(at) => {
                let listen = self.nodes[at].address.to_string();
                self.nodes[at].signal(libc::SIGKILL);
                self.nodes[at].wait();
                self.nodes[at] = self.one(&listen);
            }
        }
    }
}

/// A message: its place and when it was sent, or heard.
type Told = BTreeMap<String, (Seq, Instant)>;

async fn write(client: Client, conv: ConversationId, name: &str, until: Arc<AtomicBool>) -> Told {
    let mut sent = Told::new();
    for n in 0_u32.. {
        if until.load(Ordering::Acquire) {
            break;
        }
        let (at, text) = (Instant::now(), format!("{name} {n}"));
        let to = Target::Conversation(conv.clone());
        let answer = client.send(to, Body::text(&text)).await.unwrap();
        sent.insert(text, (answer.seq, at));
        tokio::time::sleep(PAUSE).await;
    }
    sent
}

/// Everything said in a conversation, until a last word.
async fn read(mut events: Events, conv: ConversationId) -> Told {
    let (mut heard, mut last) = (Told::new(), Seq(0));
    while let Some(event) = events.next().await {
        let Event::Entry(entry) = event else { continue };
        let text = entry.body.as_text().filter(|_| entry.conv == conv);
        let Some(text) = text else { continue };
        if text == LAST {
            return heard;
        }
        assert!(entry.seq > last, "{text} is out of order");
        last = entry.seq;
        let again = heard.insert(text.clone(), (entry.seq, Instant::now()));
        assert!(again.is_none(), "{text} is heard twice");
    }
    panic!("a client has stopped");
}

const LAST: &str = "that was all";

/// The longest that anything sent in that time took to anybody.
fn slowest(when: Range<Instant>, sent: &Told, heard: &[Told]) -> Duration {
    let sent = sent.iter().filter(|(_, (_, at))| when.contains(at));
    let took = sent.flat_map(|(text, (_, at))| heard.iter().map(move |told| told[text].1 - *at));
    took.max().unwrap_or_default()
}

/// How long after its end what was sent was still slow to reach somebody.
fn slow_until(end: Instant, next: Instant, sent: &Told, heard: &[Told]) -> Duration {
    let slow = sent.iter().filter(|(text, (_, at))| {
        let late = |told: &Told| told[*text].1.saturating_duration_since(*at) > QUICK;
        (end..next).contains(at) && heard.iter().any(late)
    });
    let last = slow.map(|(_, (_, at))| *at).max();
    last.map_or(Duration::ZERO, |at| at - end)
}

/// Everybody heard what was sent: each message once, where the answer said.
fn check(sent: &Told, heard: &[Told]) {
    let places = |told: &Told| -> Vec<_> {
        let each = told.iter();
        each.map(|(text, (seq, _))| (text.clone(), *seq)).collect()
    };
    for told in heard {
        assert_eq!(places(told), places(sent));
    }
}

/// Says how long messages took, and demands that they are as quick as ever soon after each fault.
fn report(
    struck: &str,
    faults: &[(Fault, Instant, Instant)],
    over: Instant,
    (sent, heard): (&Told, &[Told]),
) {
    for (at, (fault, began, end)) in faults.iter().enumerate() {
        let next = faults.get(at + 1).map_or(over, |(_, next, _)| *next);
        let during = slowest(*began..*end, sent, heard);
        let slow = slow_until(*end, next, sent, heard);
        println!(
            "{struck}: {fault:?} for {:.1?}: what was sent meanwhile took up to {during:.1?}; \
             crosses nodes at once again {slow:.1?} after its end",
            *end - *began
        );
        assert!(slow < BACK, "{fault:?}: {slow:?}");
    }
}

/// `bus` and `registry` name the variables of where these are, `struck` the service that the faults
/// befall.
async fn nothing_is_lost([bus, registry]: [&str; 2], struck: &str, faults: &[Fault]) {
    let place = Place::on(&format!("faults-{struck}"), bus, registry).unwrap();
    let mut cluster = Cluster::start(place);
    let (mut clients, mut readers, mut writers) = (Vec::new(), Vec::new(), Vec::new());
    let mut events = Vec::new();
    for (at, name) in PEOPLE {
        let (client, of) = cluster.place.client(&cluster.nodes[at], name).await;
        clients.push(client);
        events.push(of);
    }
    let conv = cluster.place.group(&clients[0]).await;
    let until = Arc::new(AtomicBool::new(false));
    for ((client, of), (at, name)) in clients.iter().zip(events).zip(PEOPLE) {
        readers.push(tokio::spawn(read(of, conv.clone())));
        if at != WRITES {
            continue;
        }
        let (client, conv, until) = (client.clone(), conv.clone(), Arc::clone(&until));
        writers.push(tokio::spawn(async move {
            write(client, conv, name, until).await
        }));
    }
    let mut struck_at = Vec::new();
    for fault in faults {
        tokio::time::sleep(CALM).await;
        let began = Instant::now();
        cluster.strike(*fault, struck).await;
        struck_at.push((*fault, began, Instant::now()));
    }
    tokio::time::sleep(CALM).await;
    until.store(true, Ordering::Release);
    let mut sent = Told::new();
    for writer in writers {
        sent.extend(writer.await.unwrap());
    }
    let over = Instant::now();
    let to = Target::Conversation(conv.clone());
    clients[0].send(to, Body::text(LAST)).await.unwrap();
    let mut heard = Vec::new();
    for reader in readers {
        let read = tokio::time::timeout(PATIENCE, reader).await;
        // The last word comes in time.
        heard.push(read.unwrap().unwrap());
    }
    check(&sent, &heard);
    report(struck, &struck_at, over, (&sent, &heard));
    println!(
        "{struck}: {} sent, 0 lost, 0 doubled, in order at all three",
        sent.len()
    );
    assert!(sent.len() > 500);
}

macro_rules! buses {
    ($($bus:ident $variable:literal)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "kills servers: scripts/faults"]
            async fn $bus() {
                let faults = [Fault::Kill, Fault::Pause, Fault::Node(2), Fault::Node(0)];
                let places = [$variable, "IMKIT_TEST_REDIS2_URL"];
                nothing_is_lost(places, stringify!($bus), &faults).await;
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

/// The registry's Redis; the bus is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills servers: scripts/faults"]
async fn registry() {
    let faults = [Fault::Flush, Fault::Kill, Fault::Pause, Fault::Node(2)];
    let places = ["IMKIT_TEST_REDIS_URL", "IMKIT_TEST_REDIS2_URL"];
    nothing_is_lost(places, "redis2", &faults).await;
}
