//! One store over PostgreSQL and MariaDB, of which one is away for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, Event};
use im_core::model::{Body, ConversationId, Seq, Slot, Target};

use super::{CALM, PAUSE, QUICK, SILENCE, services};
use crate::process::{SECRET, Server};
use crate::shards::{Databases, builder, client, group};

/// What is sent to the database that is there may take so long.
const ELSEWHERE: Duration = QUICK;
/// How soon after the fault the other database takes messages again.
const BACK: Duration = Duration::from_secs(5);

/// What was sent to a conversation: where it stands, when, and how long its answer took.
type Sent = Vec<(Seq, String, Instant, Duration)>;

async fn write(client: Client, conv: ConversationId, until: Arc<AtomicBool>) -> Sent {
    let mut sent = Sent::new();
    while !until.load(Ordering::Acquire) {
        let (began, text) = (Instant::now(), format!("{:05}", sent.len()));
        let to = Target::Conversation(conv.clone());
        let answer = client.send(to, Body::text(&text)).await.unwrap();
        sent.push((answer.seq, text, began, began.elapsed()));
        tokio::time::sleep(PAUSE).await;
    }
    sent
}

/// The slowest answer to what was sent in that time.
fn slowest(sent: &Sent, from: Instant, to: Instant) -> Duration {
    let meanwhile = sent.iter().filter(|(_, _, at, _)| (from..to).contains(at));
    meanwhile
        .map(|(_, _, _, took)| *took)
        .max()
        .unwrap_or_default()
}

/// A group in each database.
async fn one_in_each(al: &Client) -> [ConversationId; 2] {
    let mut found = [None, None];
    while found.iter().any(Option::is_none) {
        let conv = group(al).await;
        let at = usize::from(Slot::of(&conv).number() >= Slot::COUNT / 2);
        found[at] = Some(conv);
    }
    found.map(Option::unwrap)
}

/// Connects, again and again; when everything was there.
async fn come_in(server: &Server, name: &str) -> Instant {
    loop {
        match builder(server, name).connect().await {
            Ok((_client, mut events)) => {
                while !matches!(events.next().await, Some(Event::Synced)) {}
                return Instant::now();
            }
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Everything that somebody hears: each message once, at its place, in order.
async fn hears(server: &Server, convs: &[ConversationId; 2], sent: [&Sent; 2]) {
    let (_late, mut events) = client(server, "bo").await;
    let mut heard = [Vec::new(), Vec::new()];
    while (0..2).any(|at| heard[at].len() < sent[at].len()) {
        let event = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
        if let Some(Event::Entry(entry)) = event.unwrap()
            && let Some(text) = entry.body.as_text()
        {
            let at = convs.iter().position(|conv| *conv == entry.conv).unwrap();
            heard[at].push((entry.seq, text.to_owned()));
        }
    }
    for (heard, sent) in heard.iter().zip(sent) {
        let sent: Vec<_> = sent.iter().map(|it| (it.0, it.1.clone())).collect();
        assert_eq!(*heard, sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills servers: scripts/faults"]
async fn shards() {
    let databases = Databases::new("away").await.unwrap();
    let name = format!("im_away_{}", std::process::id());
    services(&["ctl", "mysql", "-e", &format!("CREATE DATABASE {name}")]).await;
    let mysql = std::env::var("IMKIT_TEST_MYSQL_URL").unwrap();
    let (place, _) = mysql.rsplit_once('/').unwrap();
    let urls = format!("{},{place}/{name}", databases.urls()[0]);
    let variables = [
        ("IMKIT_SHARDS", urls.as_str()),
        ("IMKIT_JWT_SECRET", SECRET),
    ];
    let server = Server::start_with(&variables);
    let (al, _of_al) = client(&server, "al").await;
    let convs = one_in_each(&al).await;
    let until = Arc::new(AtomicBool::new(false));
    let writers = convs
        .each_ref()
        .map(|conv| tokio::spawn(write(al.clone(), conv.clone(), Arc::clone(&until))));
    tokio::time::sleep(CALM).await;
    let began = Instant::now();
    services(&["pause", "mysql"]).await;
    let newcomer = come_in(&server, "bo");
    let fault = async {
        tokio::time::sleep(SILENCE).await;
        assert_eq!(server.get("/readyz").status, 503);
        services(&["resume", "mysql"]).await;
        Instant::now()
    };
    let (came, end) = tokio::join!(newcomer, fault);
    tokio::time::sleep(CALM).await;
    until.store(true, Ordering::Release);
    let [here, away] = writers;
    let (here, away) = (here.await.unwrap(), away.await.unwrap());
    let again = away.iter().map(|(_, _, at, took)| *at + *took);
    let again = again.filter(|at| *at >= end).min().unwrap() - end;
    println!(
        "shards: {} and {} sent; while one database was silent, the slowest answer of the other \
         took {:.1?}, its own {:.1?}, the first {again:.1?} after its end; who connected meanwhile \
         was in {:.1?} after its end",
        here.len(),
        away.len(),
        slowest(&here, began, end),
        slowest(&away, began, end),
        came.saturating_duration_since(end)
    );
    hears(&server, &convs, [&here, &away]).await;
    assert!(slowest(&here, began, end) < ELSEWHERE);
    assert!(again < BACK && came.saturating_duration_since(end) < BACK);
    let metrics = server.get("/metrics").body;
    let errors = |at| format!(r#"im_shard_errors_total{{shard="{at}"}} 0"#);
    assert!(metrics.contains(&errors(0)) && !metrics.contains(&errors(1)));
    drop(server);
    services(&["ctl", "mysql", "-e", &format!("DROP DATABASE {name}")]).await;
    databases.remove().await;
}
