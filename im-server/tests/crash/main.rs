//! The server killed under load, many times, on one file; and that file damaged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod member;
mod process;
mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use im_core::model::{CmId, ConversationId, Entry, UserId};
use tempfile::TempDir;

use crate::process::{Server, token};
use member::{Member, Shared};

/// How often the server is killed.
const KILLS: u32 = 50;
/// Members of each group, each with a connection.
const MEMBERS: [&str; 4] = ["ann", "bob", "cid", "dee"];
/// Groups that everybody is in and writes to.
const GROUPS: usize = 2;
/// The longest time from a start to the next kill, in milliseconds.
const LIFE_MS: u64 = 300;
/// How long the members may take to settle at the end.
const SETTLE: Duration = Duration::from_secs(60);

/// Logs by conversation.
type Logs = BTreeMap<ConversationId, Vec<Arc<Entry>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_there_once_in_order_at_every_member_after_fifty_kills() {
    let folder = TempDir::new().unwrap();
    let (shared, mut server) = begin(folder.path()).await;
    let members = MEMBERS.map(|name| {
        let token = token(name);
        tokio::spawn(Member::new(name, token, Arc::clone(&shared)).run())
    });
    let mut rng = fastrand::Rng::with_seed(12);
    let mut copies = Vec::new();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.u64(0..LIFE_MS))).await;
        // SIGKILL, and the process is gone when this returns.
        drop(server);
        if kill % 10 == 9 {
            copies.push(torn::copy(folder.path()));
        }
        server = start(folder.path()).await;
        *shared.address.lock().unwrap() = server.address;
    }
    shared
        .stop
        .store(true, std::sync::atomic::Ordering::Release);
    let mut ended = Vec::new();
    for member in members {
        ended.push(tokio::time::timeout(SETTLE, member).await.unwrap().unwrap());
    }
    // Who was done early may have missed what a slower one wrote last.
    let again = ended
        .into_iter()
        .map(|member| tokio::time::timeout(SETTLE, member.run()));
    let ended: Result<Vec<_>, _> = futures_util::future::join_all(again)
        .await
        .into_iter()
        .collect();
    let ended = ended.unwrap();
    let logs = check_members(&ended, &shared.convs);
    drop(server);
    copies.push(torn::copy(folder.path()));
    for copy in &copies {
        torn::check(copy, &logs).await;
    }
}

/// A server on the store in `folder`, and the groups.
async fn begin(folder: &Path) -> (Arc<Shared>, Server) {
    let server = start(folder).await;
    let address = Mutex::new(server.address);
    let mut convs = Vec::new();
    for _ in 0..GROUPS {
        convs.push(member::make_group(server.address, &token(MEMBERS[0]), &MEMBERS[1..]).await);
    }
    let stop = false.into();
    let shared = Shared {
        address,
        convs,
        stop,
    };
    (Arc::new(shared), server)
}

async fn start(folder: &Path) -> Server {
    let folder = folder.to_owned();
    let start = tokio::task::spawn_blocking(move || Server::start(&folder));
    start.await.unwrap()
}

/// Checks what the members saw against what they were answered; gives the logs.
fn check_members(ended: &[Member], convs: &[ConversationId]) -> Logs {
    let start = Instant::now();
    let mut logs = Logs::new();
    for conv in convs {
        let log = &ended[0].logs[conv];
        for member in ended {
            assert_eq!(&member.logs[conv], log, "{} sees another log", member.user);
        }
        let mut once = BTreeSet::new();
        for (seq, entry) in (1..).zip(log) {
            assert_eq!(entry.seq.0, seq, "a gap");
            let id = entry.cm_id.as_ref().map(|cm_id| (&entry.from, cm_id));
            assert!(id.is_none_or(|id| once.insert(id)), "doubled: {entry:?}");
        }
        logs.insert(conv.clone(), log.clone());
    }
    let (mut sent, mut dups, mut connects, mut refused) = (0, 0, 0, 0);
    for member in ended {
        for (cm_id, (conv, seq)) in &member.sent {
            let entry = &logs[conv][seq.0 as usize - 1];
            assert_eq!(entry.cm_id.as_ref(), Some(cm_id), "another entry at {seq}");
            assert_eq!(entry.from, member.user);
            assert_eq!(entry.body.as_text().as_deref(), Some(cm_id.as_str()));
        }
        assert!(
            member.refused > 0 || in_order(&logs, &member.user),
            "{}'s are not in order",
            member.user
        );
        refused += member.refused;
        sent += member.sent.len();
        dups += member.dups;
        connects += member.connects;
    }
    let stored: usize = logs
        .values()
        .flatten()
        .filter(|e| e.cm_id.is_some())
        .count();
    assert_eq!(stored, sent, "entries that nobody was answered for");
    assert!(sent as u32 > KILLS, "no load: {sent}");
    println!(
        "{KILLS} kills: {sent} sent, {dups} of them answered by a retry as stored before \
         (killed between commit and answer), {connects} connections, {refused} told to try \
         again; checked in {:?}",
        start.elapsed()
    );
    logs
}

/// Whether a member's messages are in the order in which they were written, in each log.
fn in_order(logs: &Logs, user: &UserId) -> bool {
    let number = |cm_id: &CmId| -> Option<u64> { cm_id.as_str().rsplit('-').next()?.parse().ok() };
    logs.values().all(|log| {
        let own = log.iter().filter(|entry| entry.from == *user);
        let numbers = own.filter_map(|entry| entry.cm_id.as_ref().and_then(number));
        numbers.is_sorted()
    })
}
