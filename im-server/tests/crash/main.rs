//! The server killed under load, many times, on one file; its clients killed, too; and that file
//! damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod journal;
mod member;
mod process;
mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_client::{Client, ClientBuilder};
use im_core::frame::PullRange;
use im_core::machine::Backoff;
use im_core::model::{CmId, ConversationId, DeviceId, Entry, Seq, Value};
use tempfile::TempDir;

use crate::journal::{Line, Stream};
use crate::member::Member;
use crate::process::{Server, free_address, token};

/// How often the server is killed.
const KILLS: u32 = 50;
/// A member is killed once for so many kills of the server.
const KILLS_PER_MEMBER: u32 = 2;
/// Members of each group, each a process with `im-client`; whether one sends a message only when
/// the last one in its group is answered, so that nothing can change their order.
const MEMBERS: [(&str, bool); 4] = [("ann", true), ("bob", true), ("cid", false), ("dee", false)];
/// Groups that everybody is in and writes to.
const GROUPS: usize = 2;
/// The longest time from a start to the next kill, in milliseconds.
const LIFE_MS: u64 = 300;
/// How long the members may take to settle at the end.
const SETTLE: Duration = Duration::from_secs(60);
/// How often they are looked at until then.
const LOOK: Duration = Duration::from_millis(50);

/// Logs by conversation.
type Logs = BTreeMap<ConversationId, Vec<Arc<Entry>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_there_once_in_order_at_every_member_after_fifty_kills() {
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let url = format!("ws://{address}");
    let mut server = start(folder.path(), address).await;
    let convs = make_groups(&url).await;
    let mut members =
        MEMBERS.map(|(name, in_order)| Member::start(name, folder.path(), &url, &convs, in_order));
    let mut rng = fastrand::Rng::with_seed(12);
    let mut copies = Vec::new();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.u64(0..LIFE_MS))).await;
        // Sometimes both are away at once.
        if kill % KILLS_PER_MEMBER == 0 {
            members[rng.usize(0..MEMBERS.len())].kill_and_start();
        }
        // SIGKILL, and the process is gone when this returns.
        drop(server);
        if kill % 10 == 9 {
            copies.push(torn::copy(folder.path()));
        }
        server = start(folder.path(), address).await;
    }
    member::stop(folder.path());
    let logs = settle(&members, &url, &convs).await;
    check(&members, &logs);
    drop(members);
    drop(server);
    copies.push(torn::copy(folder.path()));
    for copy in &copies {
        torn::check(copy, &logs).await;
    }
}

async fn start(folder: &Path, address: std::net::SocketAddr) -> Server {
    let folder = folder.to_owned();
    let start = tokio::task::spawn_blocking(move || Server::start(&folder, address));
    start.await.unwrap()
}

/// A client of the first member, beside that member's own.
fn reader(url: &str) -> ClientBuilder {
    Client::builder(url)
        .token(token(MEMBERS[0].0))
        .device(DeviceId::new("reader").unwrap())
        .reconnect(Backoff::new(LOOK, LOOK))
}

async fn make_groups(url: &str) -> Vec<ConversationId> {
    let (client, _events) = reader(url).connect().await.unwrap();
    let others: Vec<Value> = MEMBERS[1..]
        .iter()
        .map(|(name, _)| Value::from(*name))
        .collect();
    let params = Value::object([("title", Value::from("crash")), ("members", others.into())]);
    let mut convs = Vec::new();
    for _ in 0..GROUPS {
        let made = client
            .request("groups.create", params.clone())
            .await
            .unwrap();
        let conv = made.get("conv").and_then(Value::as_text).unwrap();
        convs.push(conv.parse().unwrap());
    }
    client.close().await;
    convs
}

/// Waits until every send is answered and everybody has everything; gives the logs.
async fn settle(members: &[Member], url: &str, convs: &[ConversationId]) -> Logs {
    let until = Instant::now() + SETTLE;
    let all = |what: &dyn Fn(&Member) -> bool| members.iter().all(what);
    while !all(&|member| member.lines().contains(&Line::Idle)) {
        assert!(Instant::now() < until, "a send is not answered");
        tokio::time::sleep(LOOK).await;
    }
    let meant = members.iter().map(|member| meant(&member.lines())).sum();
    let (client, _events) = reader(url).connect().await.unwrap();
    let logs = loop {
        let mut logs = Logs::new();
        for conv in convs {
            logs.insert(conv.clone(), read(&client, conv).await);
        }
        if messages(&logs).count() >= meant {
            break logs;
        }
        // Of a kill's sends nobody here hears the end.
        assert!(
            Instant::now() < until,
            "what a client had taken is not there"
        );
        tokio::time::sleep(LOOK).await;
    };
    client.close().await;
    let has_all = |member: &Member| {
        let stream = Stream::of(member.name, &member.lines());
        let has = |conv: &ConversationId| stream.logs.get(conv).map_or(0, Vec::len);
        logs.iter().all(|(conv, log)| has(conv) >= log.len())
    };
    while !all(&has_all) {
        assert!(Instant::now() < until, "a member has not got everything");
        tokio::time::sleep(LOOK).await;
    }
    logs
}

/// How many messages a member meant to send.
fn meant(lines: &[Line]) -> usize {
    let means = |line: &&Line| matches!(line, Line::Means(_));
    lines.iter().filter(means).count()
}

/// What was said, without what tells of the groups' making.
fn messages(logs: &Logs) -> impl Iterator<Item = (&CmId, &Arc<Entry>)> {
    let all = logs.values().flatten();
    all.filter_map(|entry| Some((entry.cm_id.as_ref()?, entry)))
}

/// A whole log.
async fn read(client: &Client, conv: &ConversationId) -> Vec<Arc<Entry>> {
    let mut log: Vec<Arc<Entry>> = Vec::new();
    loop {
        let after = PullRange::After(Seq(log.len() as u64));
        let page = client.pull(conv.clone(), after, 200).await.unwrap();
        for entry in page.entries {
            assert_eq!(entry.seq.0, log.len() as u64 + 1, "a gap");
            log.push(entry);
        }
        if !page.more {
            return log;
        }
    }
}

/// Where each message is stored.
type Stored = BTreeMap<String, (ConversationId, u64)>;

/// Checks what the members were handed and answered against the logs.
fn check(members: &[Member], logs: &Logs) {
    let mut stored = Stored::new();
    for (cm_id, entry) in messages(logs) {
        let place = (entry.conv.clone(), entry.seq.0);
        let before = stored.insert(cm_id.as_str().to_owned(), place);
        assert_eq!(before, None, "doubled: {entry:?}");
        assert_eq!(entry.body.as_text().as_deref(), Some(cm_id.as_str()));
    }
    let (mut all, mut dups, mut again, mut lives, mut connects) = (0, 0, 0, 0, 0);
    for (member, (name, in_order)) in members.iter().zip(MEMBERS) {
        let lines = member.lines();
        let stream = Stream::of(name, &lines);
        check_stream(name, &stream, logs);
        assert!(!in_order || is_in_order(logs, name), "{name}'s order");
        dups += check_answers(&lines, &stored);
        all += meant(&lines);
        again += stream.again;
        lives += stream.lives;
        connects += stream.connects;
    }
    assert_eq!(stored.len(), all, "what was meant to be sent is there once");
    assert!(all as u32 > KILLS, "no load: {all}");
    let deaths = lives - MEMBERS.len() as u32;
    assert!(deaths >= KILLS / KILLS_PER_MEMBER);
    println!(
        "{KILLS} kills of the server, {deaths} of members: {all} sent, {dups} of them answered by \
         a retry as stored before (killed between commit and answer), {connects} connections, \
         {again} entries handed out again after a kill"
    );
}

/// Every entry of every log was handed out, in order.
fn check_stream(name: &str, stream: &Stream, logs: &Logs) {
    for (conv, log) in logs {
        let expected = log.iter().map(|entry| {
            let cm_id = entry.cm_id.as_ref();
            let cm_id = cm_id.map(|cm_id| cm_id.as_str().to_owned());
            (entry.from.as_str().to_owned(), cm_id)
        });
        let expected: Vec<_> = expected.collect();
        assert_eq!(stream.logs[conv], expected, "{name} got another log");
    }
}

/// What was answered is where the answer says. Gives how many a retry found stored.
fn check_answers(lines: &[Line], stored: &Stored) -> usize {
    let (mut answered, mut dups) = (BTreeSet::new(), 0);
    for line in lines {
        let Line::Sent {
            cm_id,
            conv,
            seq,
            dup,
        } = line
        else {
            continue;
        };
        let place = (conv.clone(), *seq);
        assert_eq!(stored.get(cm_id), Some(&place), "{cm_id} is not there");
        dups += usize::from(answered.insert(cm_id) && *dup);
    }
    dups
}

/// Whether a member's messages are in the order in which they were written, in each log.
fn is_in_order(logs: &Logs, name: &str) -> bool {
    let number = |cm_id: &CmId| -> Option<u64> { cm_id.as_str().rsplit('-').next()?.parse().ok() };
    logs.values().all(|log| {
        let own = log.iter().filter(|entry| entry.from.as_str() == name);
        let numbers = own.filter_map(|entry| entry.cm_id.as_ref().and_then(number));
        numbers.is_sorted()
    })
}
