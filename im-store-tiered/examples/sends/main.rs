//! How many sends a second are answered with a hot tier, beside the same database alone, in turn:
//! `cargo run --release -p im-store-tiered --example sends -- mysql://… redis://… [BATCH…]` (a
//! database and a Redis of its own, on this machine). Alone, an answer means the database's commit,
//! with its own durability; with the tier (`cached`), that Redis has it, as durably as it is set
//! up, and the database follows. How many sends had not reached it half way and at the end, and
//! how long they took then, is said, too: a rate counts for as long as these do not grow. The
//! processes' own CPU time, in µs a send, bends less than rates on a machine that does other work.
#![allow(clippy::unwrap_used, reason = "a measurement may stop where it stands")]
#![allow(clippy::print_stdout, reason = "a measurement says what it found")]

mod cpu;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{
    Commit, Hot, LogQuery, NewConversation, PortErrorKind, Rejected, Store, Write,
};
use im_store_redis::{HotOptions, RedisHot};
use im_store_sql::MySqlStore;
use im_store_tiered::{Durability, Options, Tiered};

use self::cpu::Cpu;

const CONVERSATIONS: usize = 200;
const SECONDS: Duration = Duration::from_secs(4);
/// How long one waits that is told that too much waits.
const BUSY_WAIT: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(database), Some(redis)) = (arguments.next(), arguments.next()) else {
        println!("the URLs of a MySQL and of a Redis are needed");
        return;
    };
    let mut batches: Vec<usize> = arguments.map(|it| it.parse().unwrap()).collect();
    if batches.is_empty() {
        batches = vec![1, 10, 100, 1_000];
    }
    println!("µs of CPU a send are the program's and the database's, and Redis's between them");
    println!(
        "{:>6} {:>9} {:>11} {:>9} {:>6} {:>17} {:>15} {:>10} {:>6}",
        "batch", "alone/s", "µs", "cached/s", "times", "µs", "waiting", "drained in", "busy"
    );
    let cpu = Cpu::of(&database, &redis).await;
    let cold: Arc<dyn Store> = Arc::new(MySqlStore::connect(&database).await.unwrap());
    let hot = RedisHot::connect(&redis, HotOptions::default()).await;
    let hot: Arc<dyn Hot> = Arc::new(hot.unwrap());
    let options = Options {
        durability: Durability::Cached,
        ..Options::default()
    };
    let tiered = Tiered::start(Arc::clone(&hot), Arc::clone(&cold), options);
    for batch in batches {
        let run = format!("{}-{batch}", std::process::id());
        let mut sends = Sends::new(format!("alone-{run}"));
        let alone = sends.rate(&*cold, batch, &cpu, None).await;
        let mut sends = Sends::new(format!("cached-{run}"));
        let cached = sends.rate(&tiered, batch, &cpu, Some(&*hot)).await;
        let drained = sends.drained(&*cold).await;
        println!(
            "{batch:>6} {:>9.0} {:>11} {:>9.0} {:>6.2} {:>17} {:>15} {drained:>10.1?} {:>6}",
            alone.rate,
            format!("{:.1} {:.1}", alone.cpu[0], alone.cpu[2]),
            cached.rate,
            cached.rate / alone.rate,
            format!(
                "{:.1} {:.1} {:.1}",
                cached.cpu[0], cached.cpu[1], cached.cpu[2]
            ),
            format!("{} {}", cached.waiting[0], cached.waiting[1]),
            cached.busy,
        );
    }
}

/// What a run came to.
struct Found {
    /// Sends answered in a second.
    rate: f64,
    /// µs of CPU a send: of the program, Redis, the database.
    cpu: [f64; 3],
    /// Sends that had not reached the database, half way and at the end.
    waiting: [u64; 2],
    /// How often one had to come again, since too many waited.
    busy: u64,
}

/// Conversations of a run, and what was sent to them in turn.
struct Sends {
    name: String,
    sent: usize,
    busy: u64,
}

impl Sends {
    const fn new(name: String) -> Self {
        Self {
            name,
            sent: 0,
            busy: 0,
        }
    }

    fn conv(&self, n: usize) -> ConversationId {
        ConversationId::new(format!("{}-{}", self.name, n % CONVERSATIONS)).unwrap()
    }

    /// Sends for a while, after each conversation has had two.
    async fn rate(
        &mut self,
        store: &dyn Store,
        batch: usize,
        cpu: &Cpu,
        hot: Option<&dyn Hot>,
    ) -> Found {
        let made: Vec<Commit> = (0..CONVERSATIONS).map(|n| create(self.conv(n))).collect();
        assert!(store.commit(&made).await.iter().all(Result::is_ok));
        for _ in 0..2 {
            self.send(store, CONVERSATIONS).await;
        }
        let (before, started, spent) = (self.sent, Instant::now(), cpu.spent());
        let mut half_way = None;
        while started.elapsed() < SECONDS {
            self.send(store, batch).await;
            if half_way.is_none() && started.elapsed() >= SECONDS / 2 {
                half_way = Some(waiting(hot).await);
            }
        }
        let (took, spent_then) = (started.elapsed(), cpu.spent());
        let count = (self.sent - before) as f64;
        Found {
            rate: count / took.as_secs_f64(),
            cpu: [0, 1, 2].map(|at| (spent_then[at] - spent[at]) / count),
            waiting: [half_way.unwrap_or_default(), waiting(hot).await],
            busy: self.busy,
        }
    }

    async fn send(&mut self, store: &dyn Store, count: usize) {
        let mut commits: Vec<Commit> = (self.sent..self.sent + count)
            .map(|n| append(self.conv(n), n))
            .collect();
        self.sent += count;
        while !commits.is_empty() {
            let answers = store.commit(&commits).await;
            let mut answers = answers.into_iter();
            commits.retain(|_| is_busy(answers.next().unwrap()));
            if !commits.is_empty() {
                self.busy += 1;
                tokio::time::sleep(BUSY_WAIT).await;
            }
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

/// Whether it was refused as there is too much; nothing else may go wrong.
fn is_busy<T>(answer: Result<T, Rejected>) -> bool {
    match answer {
        Ok(_) => false,
        Err(Rejected::Store(error)) if error.kind() == PortErrorKind::Busy => true,
        Err(error) => panic!("{error}"),
    }
}

async fn waiting(hot: Option<&dyn Hot>) -> u64 {
    let Some(hot) = hot else { return 0 };
    hot.lag()
        .await
        .unwrap()
        .iter()
        .map(|lane| lane.entries)
        .sum()
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
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let entry = NewEntry {
        id: MessageId(n as u64),
        from: user(&conv),
        at: Timestamp(now.as_millis() as i64),
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
