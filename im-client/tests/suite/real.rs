//! Clients against the real node and transport, with a store in memory and a proxy between.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_client::{Client, ClientBuilder, Event, Events};
use im_core::frame::{Codec, Limits};
use im_core::machine::Backoff;
use im_core::model::{Body, DeviceId, Target, UserId, Value};
use im_node::{Node, Settings};
use im_testkit::memory::{MemoryStore, TokenTable};
use im_testkit::proxy::{Faults, Proxy, Silence};
use im_transport_ws::Transport;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::mock::user;

/// A server that can be killed and started again on what it had stored.
struct Server {
    store: Arc<MemoryStore>,
    addr: SocketAddr,
    node: Node,
    serving: JoinHandle<()>,
    limits: Limits,
}

impl Server {
    async fn new(limits: Limits) -> Self {
        let store = Arc::new(MemoryStore::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (node, serving) = Self::start(&store, listener, limits).await;
        Self {
            store,
            addr,
            node,
            serving,
            limits,
        }
    }

    async fn start(
        store: &Arc<MemoryStore>,
        listener: TcpListener,
        limits: Limits,
    ) -> (Node, JoinHandle<()>) {
        let users = ["ann", "bo", "cy"].map(user);
        let auth = Arc::new(TokenTable::of_users(&users));
        let settings = Settings {
            limits,
            drain: Duration::from_millis(200),
            reconnect_ms: (10, 100),
            ..Settings::default()
        };
        let store = Arc::clone(store) as Arc<dyn im_core::port::Store>;
        let node = Node::builder(store, auth)
            .settings(settings)
            .start()
            .await
            .unwrap();
        let router = Transport::new(node.clone()).router();
        let serving = tokio::spawn(async move {
            im_transport_ws::serve(listener, router, std::future::pending())
                .await
                .unwrap();
        });
        (node, serving)
    }

    /// As after a crash: nothing is finished, and the next one begins with the store.
    async fn crash(&mut self) {
        self.node.kill();
        self.serving.abort();
        let listener = loop {
            match TcpListener::bind(self.addr).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        (self.node, self.serving) = Self::start(&self.store, listener, self.limits).await;
    }
}

fn limits() -> Limits {
    Limits {
        sends_per_s: 100_000,
        window: 32,
        ..Limits::default()
    }
}

fn client(addr: SocketAddr, user: &str, device: &str) -> ClientBuilder {
    Client::builder(format!("ws://{addr}"))
        .token(user)
        .device(DeviceId::new(device).unwrap())
        .reconnect(Backoff::new(
            Duration::from_millis(20),
            Duration::from_millis(200),
        ))
}

fn to(id: &str) -> Target {
    Target::User(UserId::new(id).unwrap())
}

/// Takes entries until there are as many as wanted, and checks that they come in order and once.
async fn texts(events: &mut Events, wanted: usize) -> Vec<String> {
    let mut texts = Vec::new();
    let mut last = None;
    while texts.len() < wanted {
        let event = events.next();
        let event = match tokio::time::timeout(Duration::from_secs(60), event).await {
            Ok(event) => event.unwrap(),
            Err(_) => panic!("{} of {wanted} entries came", texts.len()),
        };
        match event {
            Event::Entry(entry) => {
                if let Some(last) = last.replace(entry.seq) {
                    assert_eq!(last.next(), entry.seq, "in order, without a hole, once");
                }
                texts.push(entry.body.as_text().unwrap_or_default());
            }
            Event::Reset { .. } | Event::Trimmed { .. } | Event::Stopped(_) => {
                panic!("{event:?}");
            }
            _ => {}
        }
    }
    texts
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn send_all(client: &Client, range: std::ops::Range<usize>) {
    let mut sendings = Vec::new();
    for n in range {
        let cm_id = im_core::model::CmId::new(format!("m{n}")).unwrap();
        let draft = im_core::model::Draft::text(cm_id, to("bo"), n.to_string());
        sendings.push(client.queue(draft).await.unwrap());
    }
    for sending in sendings {
        let sent = tokio::time::timeout(Duration::from_secs(60), sending).await;
        sent.expect("an answer").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_reaches_every_device_of_both_in_the_order_of_sending() {
    for codec in Codec::ALL {
        let server = Server::new(limits()).await;
        let connect = |user, device| client(server.addr, user, device).codec(codec).connect();
        let (ann, mut phone) = connect("ann", "phone").await.unwrap();
        let (_laptop, mut laptop) = connect("ann", "laptop").await.unwrap();
        let (_bo, mut bo) = connect("bo", "phone").await.unwrap();
        let all = numbers(0..500);
        let (_, a, b, c) = tokio::join!(
            send_all(&ann, 0..500),
            texts(&mut phone, 500),
            texts(&mut laptop, 500),
            texts(&mut bo, 500),
        );
        assert!(a == all && b == all && c == all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_over_resets_silence_and_crashes_of_the_server() {
    const ALL: usize = 3_000;
    let mut server = Server::new(limits()).await;
    let proxy = Proxy::start(server.addr).await.unwrap();
    let (ann, mut phone) = client(proxy.addr(), "ann", "phone")
        .connect()
        .await
        .unwrap();
    let (_bo, mut bo) = client(proxy.addr(), "bo", "phone").connect().await.unwrap();
    let sending = tokio::spawn(async move {
        for part in 0..30 {
            send_all(&ann, part * ALL / 30..(part + 1) * ALL / 30).await;
        }
        ann
    });
    let phone = tokio::spawn(async move { texts(&mut phone, ALL).await });
    let bo = tokio::spawn(async move { texts(&mut bo, ALL).await });
    let mut round = 0;
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match round % 4 {
            0 => proxy.reset_all(),
            1 => server.crash().await,
            2 => {
                let silence = Silence::ToClient;
                proxy.set(Faults {
                    silence,
                    ..Faults::default()
                });
                tokio::time::sleep(Duration::from_millis(30)).await;
                proxy.set(Faults::default());
                proxy.close_all();
            }
            _ => server.node.shutdown().await,
        }
        if round % 4 == 3 {
            server.crash().await;
        }
        round += 1;
    }
    sending.await.unwrap();
    for got in [phone.await.unwrap(), bo.await.unwrap()] {
        let different: BTreeSet<_> = got.iter().collect();
        assert_eq!(different.len(), ALL, "nothing doubled, so nothing lost");
        assert_eq!(
            got,
            numbers(0..ALL),
            "one crash after another, and still in order"
        );
    }
    assert!(round > 3, "{round} rounds of faults");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_catches_up_and_a_state_file_goes_on_where_it_was() {
    let server = Server::new(limits()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bo.state");
    let (ann, _events) = client(server.addr, "ann", "phone").connect().await.unwrap();
    send_all(&ann, 0..1_000).await;
    for (from, till) in [(0, 1_000), (1_000, 1_400), (1_400, 1_500)] {
        if from > 0 {
            send_all(&ann, from..till).await;
        }
        let builder = client(server.addr, "bo", "phone").state_file(&path);
        let (bo, mut events) = builder.connect().await.unwrap();
        assert_eq!(texts(&mut events, till - from).await, numbers(from..till));
        events.confirm();
        bo.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_and_holds_up_nobody() {
    let server = Server::new(limits()).await;
    let (ann, mut phone) = client(server.addr, "ann", "phone").connect().await.unwrap();
    let (_bo, mut bo) = client(server.addr, "bo", "phone").connect().await.unwrap();
    let (_, got) = tokio::join!(send_all(&ann, 0..2_000), texts(&mut phone, 2_000));
    assert_eq!(got.len(), 2_000);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(texts(&mut bo, 2_000).await, numbers(0..2_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_gets_the_removal_and_nothing_after_it() {
    let server = Server::new(limits()).await;
    let (ann, _events) = client(server.addr, "ann", "phone").connect().await.unwrap();
    let (_bo, mut bo) = client(server.addr, "bo", "phone").connect().await.unwrap();
    let params = Value::object([
        ("title", Value::from("Cats")),
        ("members", Value::from(vec![Value::from("bo")])),
    ]);
    let made = ann
        .request_once("groups.create", params, "k1")
        .await
        .unwrap();
    let conv = made.get("conv").and_then(Value::as_text).unwrap();
    let conv = im_core::model::ConversationId::new(conv.to_owned()).unwrap();
    let group = Target::Conversation(conv.clone());
    ann.send(group.clone(), Body::text("hi")).await.unwrap();
    let remove = Value::object([
        ("conv", Value::from(conv.as_str())),
        ("users", Value::from(vec![Value::from("bo")])),
    ]);
    ann.request("groups.remove", remove).await.unwrap();
    ann.send(group, Body::text("bo is gone")).await.unwrap();
    let (mut said, mut told) = (Vec::new(), false);
    let wait = Duration::from_millis(500);
    while let Ok(Some(event)) = tokio::time::timeout(wait, bo.next()).await {
        match event {
            Event::Entry(entry) => said.push(entry.body.kind().as_str()),
            Event::Left { conv: left } => told = left == conv,
            _ => {}
        }
    }
    assert_eq!(said, ["group", "text", "member"], "up to the removal");
    assert!(told, "and then that it was one");
}
