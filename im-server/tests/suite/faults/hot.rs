//! Three nodes with a hot tier over MariaDB, under load, while the tier, the database and the node
//! that flushes are killed, paused, flushed, and set back in time. The bus and the registry are
//! another Redis, which nobody touches.

mod harm;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, Event, Events};
use im_core::model::{Body, ConversationId, Seq, Target};

use self::harm::{Cluster, Fault, Fsync};
use super::{CALM, LAST, PAUSE, QUICK};
use crate::cluster::Place;
use crate::process::Server;

/// How soon after a fault everything is as quick as ever.
const BACK: Duration = Duration::from_secs(5);
/// How long the last message may take to everybody: a client that was refused for long waits long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who writes, each on the node of the same place.
const PEOPLE: [&str; 3] = ["ann", "bo", "cy"];

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    began: Instant,
    answered: Instant,
    seq: Seq,
}

type AllSent = BTreeMap<(ConversationId, String), Sent>;

async fn write(
    client: Client,
    to: [Target; 2],
    name: &'static str,
    until: Arc<AtomicBool>,
) -> AllSent {
    let mut sent = AllSent::new();
    for n in 0_usize.. {
        if until.load(Ordering::Acquire) {
            break;
        }
        let (began, text) = (Instant::now(), format!("{name} {n:05}"));
        let answer = client.send(to[n % 2].clone(), Body::text(&text)).await;
        let answer = answer.unwrap();
        let one = Sent {
            began,
            answered: Instant::now(),
            seq: answer.seq,
        };
        sent.insert((answer.conv, text), one);
        tokio::time::sleep(PAUSE).await;
    }
    sent
}

/// A person's copy of their conversations, and when they heard of each message first.
#[derive(Debug, Default)]
struct Copy {
    logs: BTreeMap<ConversationId, BTreeMap<Seq, String>>,
    heard: BTreeMap<String, Instant>,
    resets: BTreeMap<ConversationId, usize>,
}

impl Copy {
    fn take(&mut self, event: Event) {
        match event {
            Event::Entry(entry) => {
                let log = self.logs.entry(entry.conv.clone()).or_default();
                let last = log.last_key_value().map(|(seq, _)| *seq);
                assert!(last.is_none_or(|last| last.next() == entry.seq), "a gap");
                let text = entry.body.as_text().unwrap_or_default().to_owned();
                self.heard.entry(text.clone()).or_insert_with(Instant::now);
                log.insert(entry.seq, text);
            }
            Event::Reset { conv, .. } => {
                *self.resets.entry(conv.clone()).or_default() += 1;
                self.logs.remove(&conv);
            }
            Event::Stopped(why) => panic!("a client has stopped: {why:?}"),
            _ => {}
        }
    }

    fn has_last_words(&self, convs: usize) -> bool {
        let is_over = |log: &&BTreeMap<Seq, String>| {
            log.last_key_value().is_some_and(|(_, text)| text == LAST)
        };
        self.logs.values().filter(is_over).count() == convs
    }
}

/// Hears everything until the last words stand in so many conversations.
async fn read(mut events: Events, convs: usize) -> Copy {
    let mut copy = Copy::default();
    while !copy.has_last_words(convs) {
        copy.take(events.next().await.unwrap());
    }
    copy
}

/// What a device sees that comes when all is over: the store's own log.
async fn late(place: &Place, node: &Server, name: &str, convs: usize) -> Copy {
    let (_client, events) = place.device(node, name, "late").await;
    tokio::time::timeout(PATIENCE, read(events, convs))
        .await
        .unwrap()
}

/// Where a copy is not the log: no client may go on with entries that nobody else has.
fn differences(copy: &Copy, log: &Copy) -> Vec<String> {
    let of = |(conv, log): (&ConversationId, &BTreeMap<Seq, String>)| {
        let own = copy.logs.get(conv)?;
        let (seq, text) = log.iter().find(|(seq, text)| own.get(seq) != Some(text))?;
        let (lens, resets) = ((own.len(), log.len()), copy.resets.get(conv));
        Some(format!(
            "{conv}: {text} stands at {seq}, and here {:?}; lengths {lens:?}, resets {resets:?}",
            own.get(seq)
        ))
    };
    log.logs.iter().filter_map(of).collect()
}

/// What was lost, by conversation and text; everything else is where it was answered, once, in each
/// sender's order.
fn lost(sent: &AllSent, copy: &Copy) -> Vec<(ConversationId, String)> {
    let mut lost = Vec::new();
    for (conv, log) in &copy.logs {
        let texts: BTreeSet<_> = log.values().collect();
        let doubled = log.len() - texts.len();
        assert_eq!(doubled, 0, "{conv}: something is there twice");
        for name in PEOPLE {
            let own = log.values().filter(|text| text.starts_with(name));
            assert!(own.is_sorted(), "{conv}: {name}'s are out of order");
        }
        let is_reset = copy.resets.contains_key(conv);
        for ((_, text), one) in sent.iter().filter(|((of, _), _)| of == conv) {
            let there = log.get(&one.seq) == Some(text);
            if !there && !texts.contains(text) {
                lost.push((conv.clone(), text.clone()));
            }
            assert!(there || is_reset, "{conv} {} {text}: no new epoch", one.seq);
        }
    }
    lost
}

/// What was sent, what every client has in the end, and what nobody has.
struct Outcome {
    sent: AllSent,
    heard: Vec<Copy>,
    lost: BTreeSet<(ConversationId, String)>,
}

/// A fault, when it began, and when it ended.
type Struck = (Fault, Instant, Instant);

/// Says how long messages took and how many were lost, and demands that all is as quick as ever
/// soon after each fault.
fn report(words: &str, faults: &[Struck], over: Instant, outcome: &Outcome) {
    let Outcome { sent, heard, lost } = outcome;
    for (at, (fault, began, end)) in faults.iter().enumerate() {
        let next = faults.get(at + 1).map_or(over, |(_, next, _)| *next);
        let in_time = |from: Instant, to: Instant| {
            sent.iter()
                .filter(move |(_, one)| (from..to).contains(&one.began))
        };
        let answer = |one: &Sent| one.answered - one.began;
        let slowest = in_time(*began, *end).map(|(_, one)| answer(one)).max();
        let answered = sent.values().filter(|one| one.answered >= *end);
        let again = answered.map(|one| one.answered - *end).min();
        let slow = in_time(*end, next).filter(|((conv, text), one)| {
            let here = heard.iter().filter(|copy| copy.logs.contains_key(conv));
            let mut heard = here.filter_map(|copy| copy.heard.get(text));
            answer(one) > QUICK || heard.any(|at| at.saturating_duration_since(one.began) > QUICK)
        });
        let back = slow.map(|(_, one)| one.began - *end).max();
        let back = back.unwrap_or_default();
        let is_lost = |(key, _): &(&(ConversationId, String), &Sent)| lost.contains(*key);
        println!(
            "{words}: {fault:?} for {:.1?}: {} sent meanwhile, the slowest answer {:.1?}; after \
             its end the first answer came in {:.1?}, all was quick again in {back:.1?}; lost {}",
            *end - *began,
            in_time(*began, *end).count(),
            slowest.unwrap_or_default(),
            again.unwrap_or_default(),
            in_time(*began - QUICK, next - QUICK)
                .filter(is_lost)
                .count()
        );
        assert!(back < BACK, "{fault:?}: {back:?}");
    }
}

/// Three nodes, three people who write, and everything that is done to what the nodes talk to.
struct Scene {
    cluster: Cluster,
    clients: Vec<Client>,
    readers: Vec<tokio::task::JoinHandle<Copy>>,
    writers: Vec<tokio::task::JoinHandle<AllSent>>,
    until: Arc<AtomicBool>,
}

impl Scene {
    async fn start(place: Place, fsync: Fsync) -> Self {
        let cluster = Cluster::start(place, fsync).await;
        let (mut clients, mut readers, mut writers) = (Vec::new(), Vec::new(), Vec::new());
        for (node, name) in cluster.nodes.iter().zip(PEOPLE) {
            let (client, events) = cluster.place.client(node, name).await;
            clients.push(client);
            // Each has the group, and a direct conversation with each of the others.
            readers.push(tokio::spawn(read(events, 3)));
        }
        let conv = cluster.place.group(&clients[0]).await;
        let until = Arc::new(AtomicBool::new(false));
        for (at, client) in clients.iter().enumerate() {
            let next = cluster.place.user(PEOPLE[(at + 1) % 3]);
            let group = Target::Conversation(conv.clone());
            let to = [group, Target::User(next.parse().unwrap())];
            let writer = write(client.clone(), to, PEOPLE[at], Arc::clone(&until));
            writers.push(tokio::spawn(writer));
        }
        Self {
            cluster,
            clients,
            readers,
            writers,
            until,
        }
    }

    /// Nobody writes any more; everybody has heard the last words, and has what the store has.
    async fn end(self) -> (Outcome, Cluster) {
        self.until.store(true, Ordering::Release);
        let mut sent = AllSent::new();
        for writer in self.writers {
            sent.extend(writer.await.unwrap());
        }
        let convs: BTreeSet<_> = sent.keys().map(|(conv, _)| conv.clone()).collect();
        for conv in &convs {
            for client in &self.clients {
                let to = Target::Conversation(conv.clone());
                // Of a direct conversation only two are members.
                if client.send(to, Body::text(LAST)).await.is_ok() {
                    break;
                }
            }
        }
        let (mut heard, mut all_lost) = (Vec::new(), BTreeSet::new());
        for (at, reader) in self.readers.into_iter().enumerate() {
            let copy = tokio::time::timeout(PATIENCE, reader).await;
            let copy = copy.unwrap().unwrap();
            let node = &self.cluster.nodes[at];
            let late = late(&self.cluster.place, node, PEOPLE[at], 3).await;
            let differ = differences(&copy, &late);
            assert!(differ.is_empty(), "{}: {differ:#?}", PEOPLE[at]);
            all_lost.extend(lost(&sent, &copy));
            heard.push(copy);
        }
        let outcome = Outcome {
            sent,
            heard,
            lost: all_lost,
        };
        (outcome, self.cluster)
    }
}

async fn holds(words: &str, durability: &str, fsync: Fsync, faults: &[Fault]) {
    let database = std::env::var("IMKIT_TEST_MYSQL_URL").unwrap();
    let other = "IMKIT_TEST_REDIS2_URL";
    let place = Place::stored_in(&database, words, other, other).unwrap();
    let place = place.with_tier("IMKIT_TEST_REDIS_URL", durability);
    let mut scene = Scene::start(place.unwrap(), fsync).await;
    let mut struck = Vec::new();
    for fault in faults {
        tokio::time::sleep(CALM).await;
        let began = Instant::now();
        let end = scene.cluster.strike(*fault).await;
        struck.push((*fault, began, end));
    }
    tokio::time::sleep(CALM).await;
    let over = Instant::now();
    let (outcome, cluster) = scene.end().await;
    report(words, &struck, over, &outcome);
    let Outcome { sent, heard, lost } = outcome;
    let busy: u64 = cluster.metric("im_hot_busy_total").iter().sum();
    let resets: usize = heard.iter().flat_map(|copy| copy.resets.values()).sum();
    println!(
        "{words}: {} sent, {} lost, 0 doubled, in order at all three; {resets} times a client \
         began a conversation anew; {busy} refused as busy",
        sent.len(),
        lost.len()
    );
    let may_lose = durability == "cached" && fsync == Fsync::EverySecond;
    assert!(may_lose || lost.is_empty(), "{lost:#?}");
    if durability == "committed" {
        assert_eq!(resets, 0, "what was answered is in the database");
    } else if faults.contains(&Fault::ColdAway) {
        assert!(busy > 0, "it took everything");
    }
    assert!(sent.len() > 500);
}

/// Redis may forget, go back in time, be away: nothing that was answered is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills servers: scripts/faults"]
async fn committed() {
    let faults = [
        Fault::Kill,
        Fault::Rewind,
        Fault::RewindUnflushed,
        Fault::Pause,
        Fault::Flush,
        Fault::Flusher,
        Fault::ColdAway,
    ];
    holds("hot-committed", "committed", Fsync::EverySecond, &faults).await;
}

/// A tier that writes before it answers: nothing that was answered is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills servers: scripts/faults"]
async fn cached() {
    let faults = [Fault::Kill, Fault::Pause, Fault::Flusher, Fault::ColdAway];
    holds("hot-cached", "cached", Fsync::Always, &faults).await;
}

/// A tier that loses something: only what had not reached the database may go, and everybody hears
/// of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills servers: scripts/faults"]
async fn lossy() {
    let faults = [
        Fault::Kill,
        Fault::Flush,
        Fault::Rewind,
        Fault::RewindUnflushed,
    ];
    holds("hot-lossy", "cached", Fsync::EverySecond, &faults).await;
}
