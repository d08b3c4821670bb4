//! How many sends a second are answered with a hot tier, beside the same database alone, in turn:
//! `cargo run --release -p im-store-tiered --example sends -- mysql://… redis://…` (a database and
//! a Redis of its own). Alone, an answer means the database's commit, with its own durability;
//! with the tier (`cached`), that Redis has it, as durably as it is set up, and the database
//! follows: how long that took at the end is said, too.
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]
#![allow(clippy::print_stdout, reason = "a measurement says what it found")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, LogQuery, NewConversation, Store, Write};
use im_store_redis::{HotOptions, RedisHot};
use im_store_sql::MySqlStore;
use im_store_tiered::{Durability, Options, Tiered};

const CONVERSATIONS: usize = 200;
const SECONDS: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(redis)) = (arguments.next(), arguments.next()) else {
        println!("the URLs of a MySQL and of a Redis are needed");
        return;
    };
    println!(
        "{:>6} {:>14} {:>14} {:>6} {:>12}",
        "batch", "alone, row/s", "cached, row/s", "times", "drained in"
    );
    let cold: Arc<dyn Store> = Arc::new(MySqlStore::connect(&database).await.unwrap());
    let hot = RedisHot::connect(&redis, HotOptions::default()).await;
    let options = Options {
        durability: Durability::Cached,
        ..Options::default()
    };
    let tiered = Tiered::start(Arc::new(hot.unwrap()), Arc::clone(&cold), options);
    for batch in [1, 10, 100, 1_000] {
        let run = format!("{}-{batch}", std::process::id());
        let alone = Sends::new(format!("alone-{run}")).rate(&*cold, batch).await;
        let mut sends = Sends::new(format!("cached-{run}"));
        let cached = sends.rate(&tiered, batch).await;
        let drained = sends.drained(&*cold).await;
        let times = cached / alone;
        println!("{batch:>6} {alone:>14.0} {cached:>14.0} {times:>6.1} {drained:>12.1?}");
    }
}

/// Conversations of a run, and what was sent to them in turn.
struct Sends {
    name: String,
    sent: usize,
}

impl Sends {
    const fn new(name: String) -> Self {
        Self { name, sent: 0 }
    }

    fn conv(&self, n: usize) -> ConversationId {
        ConversationId::new(format!("{}-{}", self.name, n % CONVERSATIONS)).unwrap()
    }

    /// Sends answered in a second, after each conversation has had two.
    async fn rate(&mut self, store: &dyn Store, batch: usize) -> f64 {
        let made: Vec<Commit> = (0..CONVERSATIONS).map(|n| create(self.conv(n))).collect();
        assert!(store.commit(&made).await.iter().all(Result::is_ok));
        for _ in 0..2 {
            self.send(store, CONVERSATIONS).await;
        }
        let (before, started) = (self.sent, Instant::now());
        while started.elapsed() < SECONDS {
            self.send(store, batch).await;
        }
        (self.sent - before) as f64 / started.elapsed().as_secs_f64()
    }

    async fn send(&mut self, store: &dyn Store, count: usize) {
        let commits: Vec<Commit> = (self.sent..self.sent + count)
            .map(|n| append(self.conv(n), n))
            .collect();
        self.sent += count;
        for answer in store.commit(&commits).await {
            answer.unwrap();
        }
    }

    /// How long it takes until the cold store has the last of each conversation.
    async fn drained(&self, cold: &dyn Store) -> Duration {
        let started = Instant::now();
        for n in self.sent.saturating_sub(CONVERSATIONS)..self.sent {
            let (conv, head) = (self.conv(n), Seq((n / CONVERSATIONS) as u64 + 1));
            let query = || LogQuery::After {
                seq: Seq(head.0 - 1),
                limit: 1,
                bytes: usize::MAX,
            };
            while cold.log(&conv, query()).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        started.elapsed()
    }
}

fn user(conv: &ConversationId) -> UserId {
    UserId::new(format!("user-{conv}")).unwrap()
}

fn create(conv: ConversationId) -> Commit {
    let members = vec![(user(&conv), Role::Owner)];
    Commit {
        conv,
        expect_version: None,
        actor: None,
        writes: vec![Write::Create(NewConversation {
            kind: ConversationKind::Group,
            title: None,
            hide_history: false,
            members,
        })],
    }
}

fn append(conv: ConversationId, n: usize) -> Commit {
    let entry = NewEntry {
        id: MessageId(n as u64),
        from: user(&conv),
        at: Timestamp(n as i64),
        cm_id: Some(CmId::new(format!("m-{n:012}")).unwrap()),
        digest: n as u64,
        body: Body::text("x".repeat(128)),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv,
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}
