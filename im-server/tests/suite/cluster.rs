//! Three nodes on one PostgreSQL and one Redis, as an operator starts them:
//! `IMKIT_TEST_POSTGRES_URL` and `IMKIT_TEST_REDIS_URL` say where these are, and without them
//! nothing here runs (`scripts/test` starts them, and says so when it does not). The other buses
//! have variables of their own.

use std::time::{Duration, Instant};

use im_client::{Client, Event, Events};
use im_core::machine::Backoff;
use im_core::model::{Body, ConversationId, DeviceId, Seq, Target, Value};

use crate::life::{connect, hear, say};
use crate::process::{SECRET, Server, run, token};

/// How long an entry may take to the members on other nodes: far less than the five seconds after
/// which the sweep would find it.
const SOON: Duration = Duration::from_secs(2);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of each member while nodes are restarted.
const EACH: usize = 150;

/// What the nodes share.
pub(crate) struct Place {
    store: String,
    bus: String,
    registry: String,
    /// What else a node is told, as variables.
    more: Vec<(&'static str, String)>,
    /// Of this test alone: of its channels, keys and users.
    name: String,
}

impl Place {
    fn new(test: &str) -> Option<Self> {
        Self::on(test, "IMKIT_TEST_REDIS_URL", "IMKIT_TEST_REDIS_URL")
    }

    /// On the bus and the registry that variables name.
    pub(crate) fn on(test: &str, bus: &str, registry: &str) -> Option<Self> {
        let store = std::env::var("IMKIT_TEST_POSTGRES_URL").ok()?;
        Self::stored_in(&store, test, bus, registry)
    }

    /// The same, with another database.
    pub(crate) fn stored_in(store: &str, test: &str, bus: &str, registry: &str) -> Option<Self> {
        Some(Self {
            store: store.to_owned(),
            bus: std::env::var(bus).ok()?,
            registry: std::env::var(registry).ok()?,
            more: Vec::new(),
            name: format!("im-{test}-{}", std::process::id()),
        })
    }

    /// With a hot tier, on the Redis that a variable names.
    pub(crate) fn with_tier(mut self, hot: &str, durability: &str) -> Option<Self> {
        self.more.push(("IMKIT_HOT", std::env::var(hot).ok()?));
        self.more.push(("IMKIT_DURABILITY", durability.to_owned()));
        Some(self)
    }

    pub(crate) fn node(&self, name: &str, listen: &str) -> Server {
        let node = format!("{}-{name}", self.name);
        let mut variables = vec![
            ("IMKIT_STORE", self.store.as_str()),
            ("IMKIT_BUS", &self.bus),
            ("IMKIT_REGISTRY", &self.registry),
        ];
        variables.extend(self.more.iter().map(|(name, it)| (*name, it.as_str())));
        Server::start_node(listen, &variables, &self.name, &node)
    }

    pub(crate) fn user(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    pub(crate) async fn client(&self, node: &Server, user: &str) -> (Client, Events) {
        self.device(node, user, "phone").await
    }

    pub(crate) async fn device(&self, node: &Server, user: &str, name: &str) -> (Client, Events) {
        let builder = Client::builder(format!("ws://{}", node.address))
            .token(token(&self.user(user)))
            .device(DeviceId::new(name).unwrap())
            .reconnect(Backoff::new(
                Duration::from_millis(50),
                Duration::from_millis(500),
            ));
        builder.connect().await.unwrap()
    }

    /// A group of all three, made by the first.
    pub(crate) async fn group(&self, ann: &Client) -> ConversationId {
        let members = ["bo", "cy"].map(|user| Value::from(self.user(user)));
        let params = Value::object([
            ("title", Value::from("Three")),
            ("members", Value::from(members.to_vec())),
        ]);
        let made = ann.request("groups.create", params).await.unwrap();
        let conv = made.get("conv").and_then(Value::as_text).unwrap();
        ConversationId::new(conv.to_owned()).unwrap()
    }
}

/// The next so many texts of a conversation, with their places.
pub(crate) async fn texts(
    events: &mut Events,
    conv: &ConversationId,
    count: usize,
) -> Vec<(Seq, String)> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        let event = event.unwrap().unwrap();
        if let Event::Entry(entry) = event
            && entry.conv == *conv
            && let Some(text) = entry.body.as_text()
        {
            texts.push((entry.seq, text.to_owned()));
        }
    }
    texts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_cross_nodes_at_once() {
    for (bus, variable) in [
        ("redis", "IMKIT_TEST_REDIS_URL"),
        ("nats", "IMKIT_TEST_NATS_URL"),
        ("rabbitmq", "IMKIT_TEST_AMQP_URL"),
        ("kafka", "IMKIT_TEST_KAFKA_URL"),
        ("rocketmq", "IMKIT_TEST_ROCKETMQ_URL"),
    ] {
        if let Some(place) = Place::on(&format!("cross-{bus}"), variable, "IMKIT_TEST_REDIS_URL") {
            let slowest = messages_cross_nodes(&place).await;
            println!("{bus}: at all within {slowest:?}");
            assert!(slowest < SOON, "{bus}: {slowest:?}");
        }
    }
}

/// How long the slowest took.
async fn messages_cross_nodes(place: &Place) -> Duration {
    let nodes = ["n1", "n2", "n3"].map(|name| place.node(name, "127.0.0.1:0"));
    let (ann, mut of_ann) = place.client(&nodes[0], "ann").await;
    let (bo, mut of_bo) = place.client(&nodes[1], "bo").await;
    let (cy, mut of_cy) = place.client(&nodes[2], "cy").await;
    let conv = place.group(&ann).await;
    let mut slowest = Duration::ZERO;
    for (client, text) in [(&ann, "1"), (&bo, "2"), (&cy, "3"), (&ann, "4")] {
        let began = Instant::now();
        let sent = client
            .send(Target::Conversation(conv.clone()), Body::text(text))
            .await
            .unwrap();
        for events in [&mut of_ann, &mut of_bo, &mut of_cy] {
            let told = texts(events, &conv, 1).await;
            assert_eq!(told, [(sent.seq, text.to_owned())]);
        }
        slowest = slowest.max(began.elapsed());
    }
    // A direct message, to somebody who is on another node only.
    let to = Target::User(place.user("cy").parse().unwrap());
    let sent = bo.send(to, Body::text("psst")).await.unwrap();
    let told = texts(&mut of_cy, &sent.conv, 1).await;
    assert_eq!(told, [(sent.seq, "psst".to_owned())]);
    slowest
}

#[test]
fn a_bus_that_does_not_answer_is_said_without_its_password() {
    let Some(place) = Place::new("away") else {
        return;
    };
    for scheme in ["redis", "nats", "amqp", "kafka", "rocketmq"] {
        let bus = format!("{scheme}://somebody:hunter2@127.0.0.1:1");
        let said = run(
            &["--listen", "127.0.0.1:0"],
            &[
                ("IMKIT_STORE", &place.store),
                ("IMKIT_BUS", &bus),
                ("IMKIT_REGISTRY", &place.registry),
                ("IMKIT_JWT_SECRET", SECRET),
            ],
        );
        assert!(!said.ok, "{scheme}: {}", said.out);
        assert!(
            !(said.err.clone() + &said.out).contains("hunter2"),
            "{}",
            said.err
        );
        for words in ["--bus", "127.0.0.1:1", "can't be reached"] {
            assert!(said.err.contains(words), "{scheme}: {}", said.err);
        }
    }
}

#[test]
fn a_name_is_one_nodes() {
    let Some(place) = Place::new("name") else {
        return;
    };
    let _first = place.node("n1", "127.0.0.1:0");
    let node = format!("{}-n1", place.name);
    let arguments = ["--listen", "127.0.0.1:0", "--node", &node];
    let second = run(
        &[&arguments[..], &["--bus-prefix", &place.name]].concat(),
        &[
            ("IMKIT_STORE", &place.store),
            ("IMKIT_BUS", &place.bus),
            ("IMKIT_JWT_SECRET", SECRET),
        ],
    );
    assert!(
        !second.ok && second.err.contains("a name of its own"),
        "{}",
        second.err
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_in_one_place_and_its_signs_cross_nodes() {
    let Some(place) = Place::new("device") else {
        return;
    };
    let nodes = ["n1", "n2"].map(|name| place.node(name, "127.0.0.1:0"));
    let ann = token(&place.user("ann"));
    let mut first = connect(&nodes[0], &ann, "phone").await;
    let mut second = connect(&nodes[1], &ann, "phone").await;
    let mut last = String::new();
    while !last.starts_with("close") {
        last = hear(&mut first).await;
    }
    assert_eq!(last, "close 4409", "the older is replaced");
    let mut bo = connect(&nodes[0], &token(&place.user("bo")), "phone").await;
    // Who talks to each other may see each other.
    let hi = format!(
        r#"{{"t":"send","cm_id":"c","to":{{"user":"{}"}},"body":{{"kind":"text","text":"hi"}}}}"#,
        place.user("bo")
    );
    say(&mut second, &hi).await;
    while !hear(&mut bo).await.contains(r#""text":"hi""#) {}
    let watch = format!(
        r#"{{"t":"req","id":1,"method":"presence.watch","params":{{"users":["{}"]}}}}"#,
        place.user("ann")
    );
    say(&mut bo, &watch).await;
    let mut seen = String::new();
    while !(seen.contains(r#""presence""#) && seen.contains(r#""online""#)) {
        seen.push_str(&hear(&mut bo).await);
    }
    second.close(None).await.unwrap();
    while !seen.contains(r#""offline""#) {
        seen.push_str(&hear(&mut bo).await);
    }
}

/// One after the other, the nodes are drained and come back, and one is killed, while all write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_restarted_under_load_and_nothing_is_lost() {
    let Some(place) = Place::new("rolling") else {
        return;
    };
    let mut nodes = ["n1", "n2", "n3"].map(|name| place.node(name, "127.0.0.1:0"));
    let (ann, of_ann) = place.client(&nodes[0], "ann").await;
    let (bo, of_bo) = place.client(&nodes[1], "bo").await;
    let (cy, of_cy) = place.client(&nodes[2], "cy").await;
    let conv = place.group(&ann).await;
    let writers = [(&ann, "ann"), (&bo, "bo"), (&cy, "cy")].map(|(client, name)| {
        let (client, conv) = (client.clone(), conv.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let to = Target::Conversation(conv.clone());
                let body = Body::text(format!("{name} {n}"));
                client.send(to, body).await.unwrap();
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        })
    });
    let readers = [of_ann, of_bo, of_cy].map(|mut events| {
        let conv = conv.clone();
        tokio::spawn(async move { texts(&mut events, &conv, 3 * EACH).await })
    });
    for (at, name) in [(0, "n1"), (1, "n2"), (2, "n3"), (0, "n1")] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listen = nodes[at].address.to_string();
        let signal = if name == "n3" {
            libc::SIGKILL
        } else {
            libc::SIGTERM
        };
        nodes[at].signal(signal);
        nodes[at].wait();
        // The name of one that was killed is free when its lease is over.
        let name = if name == "n3" { "n3-again" } else { name };
        nodes[at] = place.node(name, &listen);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let mut told = Vec::new();
    for reader in readers {
        told.push(reader.await.unwrap());
    }
    assert_eq!(
        told[0], told[1],
        "everybody is told the same, in the same order"
    );
    assert_eq!(told[0], told[2]);
    for name in ["ann", "bo", "cy"] {
        let own = told[0].iter().map(|(_, text)| text.as_str());
        let own: Vec<_> = own.filter(|text| text.starts_with(name)).collect();
        let sent: Vec<_> = (0..EACH).map(|n| format!("{name} {n}")).collect();
        assert_eq!(own, sent, "each once, in the order of sending");
    }
}
