//! The servers killed and paused under load. They are not for themselves then, so these run alone:
//! `scripts/faults`, which says in `IMKIT_SERVICES` by which script they are killed.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, LogQuery, NewConversation, Rejected, Store, Write};
use im_store_sql::{MySqlDialect, PostgresDialect};
use tokio::task::JoinSet;

use super::{Database, Server};

/// Who writes, each to a conversation of their own and all to one that they share.
const WRITERS: u64 = 6;
/// How long they write before the first fault, between two, and after the last.
const CALM: Duration = Duration::from_secs(3);
/// How long a send may be refused after the server is back.
const BACK: Duration = Duration::from_secs(5);
/// How long a paused server is silent: longer than a call may take.
const PAUSE: Duration = Duration::from_secs(15);

async fn services(command: &str, name: &str) {
    let script = std::env::var("IMKIT_SERVICES").unwrap();
    let (command, name) = (command.to_owned(), name.to_owned());
    let done = tokio::task::spawn_blocking(move || {
        Command::new(script)
            .args([&command, &name])
            .output()
            .unwrap()
    });
    let done = done.await.unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn conv(n: u64) -> ConversationId {
    ConversationId::new(format!("c{n}")).unwrap()
}

fn send(to: u64, from: u64, n: u64) -> Commit {
    let entry = NewEntry {
        id: MessageId(from * 1_000_000 + n),
        from: UserId::new(format!("u{from}")).unwrap(),
        at: Timestamp(0),
        cm_id: Some(CmId::new(format!("m{n}")).unwrap()),
        digest: n,
        body: Body::text(format!("{n}")),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv: conv(to),
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}

/// What a writer was answered: where each of its messages stands.
type Told = Vec<(u64, CmId, Seq)>;

async fn write(store: Arc<dyn Store>, from: u64, until: Arc<AtomicBool>) -> Told {
    let (mut told, mut n) = (Vec::new(), 0);
    while !until.load(Ordering::Acquire) {
        n += 1;
        let to = if n % 2 == 0 { from } else { 0 };
        let commit = send(to, from, n);
        loop {
            match store.commit(std::slice::from_ref(&commit)).await.remove(0) {
                Ok(done) => {
                    let cm_id = CmId::new(format!("m{n}")).unwrap();
                    told.push((to, cm_id, done.appended[0].seq));
                    break;
                }
                Err(Rejected::Store(error)) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("u{from} m{n}: {error}"),
            }
        }
    }
    told
}

/// Everything that was answered is there, once, where the answer said, and the logs have no gap.
async fn check(store: &dyn Store, told: &[(u64, Told)]) {
    let mut logs = Vec::new();
    for n in 0..=WRITERS {
        let (mut log, mut after) = (Vec::new(), Seq(0));
        loop {
            let query = LogQuery::After {
                seq: after,
                limit: 200,
                bytes: usize::MAX,
            };
            let page = store.log(&conv(n), query).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.seq;
            log.extend(page);
        }
        for (at, entry) in (1..).zip(&log) {
            assert_eq!(entry.seq, Seq(at), "c{n} has a gap");
        }
        logs.push(log);
    }
    for (from, told) in told {
        let from = UserId::new(format!("u{from}")).unwrap();
        for (to, cm_id, seq) in told {
            let log = &logs[*to as usize];
            let mut stored = log
                .iter()
                .filter(|it| it.from == from && it.cm_id.as_ref() == Some(cm_id));
            let first = stored.next().map(|it| it.seq);
            assert_eq!(first, Some(*seq), "{from} {cm_id} in c{to}");
            assert!(stored.next().is_none(), "{from} {cm_id} is there twice");
        }
    }
}

/// How long it takes until a send is stored.
async fn until_stored(store: &dyn Store, n: u64) -> Duration {
    let began = Instant::now();
    while store.commit(&[send(0, 99, n)]).await[0].is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not come back"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

async fn what_was_answered_outlives_faults<D: Server>(name: &str) {
    let database = Database::<D>::new().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(database.store().await);
    for n in 0..=WRITERS {
        let new = NewConversation {
            kind: ConversationKind::Group,
            title: None,
            hide_history: false,
            members: vec![(UserId::new("u1").unwrap(), Role::Owner)],
        };
        let made = store
            .commit(&[Commit {
                conv: conv(n),
                expect_version: None,
                actor: None,
                writes: vec![Write::Create(new)],
            }])
            .await;
        assert!(made[0].is_ok());
    }
    let until = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for from in 1..=WRITERS {
        let (store, until) = (Arc::clone(&store), Arc::clone(&until));
        writers.spawn(async move { (from, write(store, from, until).await) });
    }
    for fault in 0..3_u64 {
        tokio::time::sleep(CALM).await;
        if fault < 2 {
            services("kill", name).await;
            services("up", name).await;
        } else {
            services("pause", name).await;
            tokio::time::sleep(PAUSE).await;
            services("resume", name).await;
        }
        let back = until_stored(&*store, fault + 1).await;
        println!("{name}: fault {fault}: sends are stored {back:?} after it is back");
        assert!(back < BACK, "{back:?}");
    }
    tokio::time::sleep(CALM).await;
    until.store(true, Ordering::Release);
    let told = writers.join_all().await;
    check(&*store, &told).await;
    let count: usize = told.iter().map(|(_, told)| told.len()).sum();
    println!("{name}: {count} sends answered, 0 lost, 0 doubled, no gap");
    assert!(count > 100, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the server: scripts/faults"]
async fn postgres() {
    what_was_answered_outlives_faults::<PostgresDialect>("postgres").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the server: scripts/faults"]
async fn mysql() {
    what_was_answered_outlives_faults::<MySqlDialect>("mysql").await;
}
