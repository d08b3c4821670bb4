//! One store over two databases of PostgreSQL, and slots that an operator moves meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use im_client::{Client, ClientBuilder, Event, Events};
use im_core::model::{Body, ConversationId, DeviceId, Slot, Target, Value};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::process::{SECRET, Server, run, token};

/// Groups that are written to.
const GROUPS: usize = 6;
/// How long the last entry may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two databases, gone with the test.
pub(crate) struct Databases {
    server: String,
    names: [String; 2],
}

impl Databases {
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let server = std::env::var("IMKIT_TEST_POSTGRES_URL").ok()?;
        let name = |at| format!("im_{test}_{}_{at}", std::process::id());
        let names = [name(0), name(1)];
        for name in &names {
            sql(&server, format!("CREATE SCHEMA {name}")).await;
        }
        Some(Self { server, names })
    }

    pub(crate) fn urls(&self) -> [String; 2] {
        let server = &self.server;
        let url = |name| format!("{server}?options[search_path]={name}");
        self.names.each_ref().map(url)
    }

    pub(crate) async fn remove(self) {
        for name in &self.names {
            sql(&self.server, format!("DROP SCHEMA {name} CASCADE")).await;
        }
    }
}

async fn sql(server: &str, text: String) {
    let mut conn = PgConnection::connect(server).await.unwrap();
    let text = sqlx::raw_sql(AssertSqlSafe(text));
    conn.execute(text).await.unwrap();
}

pub(crate) fn builder(server: &Server, user: &str) -> ClientBuilder {
    let builder = Client::builder(format!("ws://{}", server.address));
    let builder = builder.token(token(user));
    builder.device(DeviceId::new("phone").unwrap())
}

pub(crate) async fn client(server: &Server, user: &str) -> (Client, Events) {
    builder(server, user).connect().await.unwrap()
}

pub(crate) async fn group(al: &Client) -> ConversationId {
    let params = Value::object([
        ("title", Value::from("Two")),
        ("members", Value::from(vec![Value::from("bo")])),
    ]);
    let made = al.request("groups.create", params).await.unwrap();
    let conv = made.get("conv").and_then(Value::as_text).unwrap();
    ConversationId::new(conv.to_owned()).unwrap()
}

/// What was sent to each group, and the longest wait for an answer.
type Sent = (BTreeMap<ConversationId, Vec<String>>, Duration);

/// Sends to one group after the other until it is over.
async fn write(al: Client, groups: Vec<ConversationId>, is_over: Arc<AtomicBool>) -> Sent {
    let (mut sent, mut slowest) = (BTreeMap::<_, Vec<_>>::new(), Duration::ZERO);
    for n in 0.. {
        if is_over.load(Ordering::Acquire) {
            break;
        }
        let conv = &groups[n % groups.len()];
        let text = n.to_string();
        let began = Instant::now();
        let to = Target::Conversation(conv.clone());
        al.send(to, Body::text(&text)).await.unwrap();
        slowest = slowest.max(began.elapsed());
        sent.entry(conv.clone()).or_default().push(text);
    }
    (sent, slowest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_moves_slots_while_people_talk() {
    slots_move_while_people_talk("moves", &[]).await;
}

/// What has not reached a database waits until its slot is open again, and follows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_moves_slots_under_a_hot_tier() {
    let Ok(hot) = std::env::var("IMKIT_TEST_REDIS_URL") else {
        return;
    };
    for durability in ["committed", "cached"] {
        let test = format!("moves_{durability}");
        let prefix = format!("{test}-{}", std::process::id());
        let tier = [
            ("IMKIT_HOT", hot.as_str()),
            ("IMKIT_DURABILITY", durability),
            ("IMKIT_BUS_PREFIX", &prefix),
        ];
        slots_move_while_people_talk(&test, &tier).await;
    }
}

async fn slots_move_while_people_talk(test: &str, tier: &[(&str, &str)]) {
    let Some(databases) = Databases::new(test).await else {
        return;
    };
    let urls = databases.urls().join(",");
    let variables = [
        ("IMKIT_SHARDS", urls.as_str()),
        ("IMKIT_JWT_SECRET", SECRET),
    ];
    let server = Server::start_with(&[&variables, tier].concat());
    let (al, _of_al) = client(&server, "al").await;
    let (_bo, mut of_bo) = client(&server, "bo").await;
    let mut groups = Vec::new();
    for _ in 0..GROUPS {
        groups.push(group(&al).await);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(al, groups.clone(), Arc::clone(&is_over)));
    let slots: Vec<_> = groups.iter().map(|id| Slot::of(id).to_string()).collect();
    let slots = slots.join(",");
    for to in ["1", "0", "1"] {
        let (urls, slots) = (urls.clone(), slots.clone());
        let moved = tokio::task::spawn_blocking(move || {
            let variables = [("IMKIT_SHARDS", urls.as_str())];
            run(&["shards", "move", &slots, "--to", to], &variables)
        });
        let moved = moved.await.unwrap();
        assert!(moved.ok, "{moved:?}");
    }
    is_over.store(true, Ordering::Release);
    let (sent, slowest) = writing.await.unwrap();
    let count: usize = sent.values().map(Vec::len).sum();
    println!(
        "{test}: {count} sends while {GROUPS} slots moved three times; the slowest {slowest:?}"
    );
    let mut heard: BTreeMap<ConversationId, Vec<String>> = BTreeMap::new();
    let mut left = count;
    while left > 0 {
        let event = tokio::time::timeout(PATIENCE, of_bo.next()).await;
        if let Some(Event::Entry(entry)) = event.unwrap()
            && let Some(text) = entry.body.as_text()
        {
            heard.entry(entry.conv.clone()).or_default().push(text);
            left -= 1;
        }
    }
    assert_eq!(heard, sent, "each once, in order");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let metrics = server.get("/metrics").body;
    for shard in ["0", "1"] {
        let slots = format!(r#"im_shard_slots{{shard="{shard}"}} "#);
        assert!(metrics.contains(&slots), "{metrics}");
        let commits = format!(r#"im_shard_commits_total{{shard="{shard}"}} 0"#);
        assert!(!metrics.contains(&commits), "{metrics}");
    }
    let status = run(&["shards", "status"], &[("IMKIT_SHARDS", &urls)]);
    let lines: Vec<_> = status.out.lines().collect();
    assert_eq!(lines.len(), 2, "{status:?}");
    assert!(lines[1].contains("slots: "), "{status:?}");
    assert!(
        !status.out.contains("imkit:imkit"),
        "no password: {status:?}"
    );
    drop(server);
    databases.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_databases_is_no_store_alone() {
    let Some(databases) = Databases::new("alone").await else {
        return;
    };
    let urls = databases.urls();
    let joined = urls.join(",");
    assert!(run(&["shards", "status"], &[("IMKIT_SHARDS", &joined)]).ok);
    let variables = [
        ("IMKIT_STORE", urls[0].as_str()),
        ("IMKIT_JWT_SECRET", SECRET),
    ];
    let alone = run(&["--listen", "127.0.0.1:0"], &variables);
    assert!(
        !alone.ok && alone.err.contains("one of several"),
        "{alone:?}"
    );
    let swapped = format!("{},{}", urls[1], urls[0]);
    let swapped = run(&["shards", "status"], &[("IMKIT_SHARDS", &swapped)]);
    assert!(
        !swapped.ok && swapped.err.contains("the order must stay"),
        "{swapped:?}"
    );
    databases.remove().await;
}

#[test]
fn what_is_wrong_with_shards_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let sqlite = format!("sqlite://{}", path.display());
    let table = [
        (vec!["shards", "status"], "", "names no database"),
        (vec!["shards", "status"], &sqlite, "one process's own"),
        (
            vec!["shards", "move", "0-1024", "--to", "0"],
            "",
            "from 0 to 1023",
        ),
        (vec!["shards", "move", "0"], "", "--to"),
        (
            vec!["shards", "status"],
            "postgres://a:hunter2@127.0.0.1:1/x",
            "127.0.0.1:1",
        ),
    ];
    for (arguments, shards, what) in table {
        let said = run(&arguments, &[("IMKIT_SHARDS", shards)]);
        assert!(
            !said.ok && said.err.contains(what),
            "{arguments:?}: {said:?}"
        );
        assert!(!said.err.contains("hunter2"));
    }
    assert!(!path.exists(), "nothing was made");
    let both = run(
        &["--shards", "postgres://x/a", "--store", "postgres://x/b"],
        &[],
    );
    assert!(
        !both.ok && both.err.contains("leave --store out"),
        "{both:?}"
    );
    let said = run(&["shards", "status"], &[]);
    assert!(said.err.contains("--shards URL,URL"), "{said:?}");
}
