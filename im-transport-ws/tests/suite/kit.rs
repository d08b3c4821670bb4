//! A node with its transport on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use im_core::model::{Body, ConversationId, Mentions, MessageId, NewEntry, Timestamp, UserId};
use im_core::port::{Commit, Identity, MemberChange, MemberOp, Store, Write};
use im_core::rule::{MemberEvent, MemberEventOp};
use im_node::{Node, NodeBuilder, Rates, Settings};
use im_testkit::memory::{FaultyStore, MemoryDirectory, MemoryStore, TokenTable};
use im_transport_ws::{Transport, serve_at_most};
use tokio::net::TcpListener;

use crate::peer::Peer;

pub(crate) struct Kit {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) tokens: Arc<TokenTable>,
    pub(crate) directory: Arc<MemoryDirectory>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.node.kill();
        self.server.abort();
    }
}

impl Kit {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::built(change, |builder| builder).await
    }

    /// With other settings, and other ports of the node.
    pub(crate) async fn built(
        change: impl FnOnce(&mut Settings),
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Self {
        Self::make(change, build, 1_000, |transport| transport).await
    }

    pub(crate) async fn serving(
        change: impl FnOnce(&mut Settings),
        connections_max: usize,
        transport: impl FnOnce(Transport) -> Transport,
    ) -> Self {
        Self::make(change, |builder| builder, connections_max, transport).await
    }

    async fn make(
        change: impl FnOnce(&mut Settings),
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
        connections_max: usize,
        transport: impl FnOnce(Transport) -> Transport,
    ) -> Self {
        let mut settings = Settings {
            drain: Duration::from_millis(400),
            ..Settings::default()
        };
        settings.limits.sends_per_s = 10_000;
        settings.rates = Rates {
            reads_per_s: 10_000,
            writes_per_s: 10_000,
            searches_per_s: 10_000,
            uploads_per_s: 10_000,
            asks_per_minute: 10_000,
        };
        change(&mut settings);
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
        let users = ["ana", "ben", "cara", "dora"].map(user);
        let tokens = Arc::new(TokenTable::of_users(&users));
        let directory = Arc::new(MemoryDirectory::new());
        let builder = Node::builder(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&tokens) as _,
        );
        let builder = builder
            .settings(settings)
            .directory(Arc::clone(&directory) as _);
        let node = build(builder).start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = transport(Transport::new(node.clone())).router();
        let never = std::future::pending();
        let server = tokio::spawn(serve_at_most(listener, router, connections_max, never));
        Self {
            node,
            address,
            store,
            tokens,
            directory,
            server,
        }
    }

    /// A connection that has said nothing.
    pub(crate) async fn silent(&self) -> Peer {
        Peer::connect(self.address, "").await.unwrap()
    }

    /// A user's device, welcomed.
    pub(crate) async fn peer(&self, user: &str, device: &str) -> Peer {
        let mut peer = self.silent().await;
        peer.say(&hello(user, device)).await;
        peer.get("welcome").await;
        peer
    }

    /// The same whose system takes almost nothing for it while it does not read.
    pub(crate) async fn narrow(&self, user: &str, device: &str) -> Peer {
        let mut peer = Peer::connect_narrow(self.address).await;
        peer.say(&hello(user, device)).await;
        peer.get("welcome").await;
        peer
    }

    /// Writes a change of a member to the store beside the node, as another node does.
    pub(crate) async fn change_elsewhere(&self, conv: &str, who: &str, op: MemberOp) {
        let event = MemberEvent {
            op: match op {
                MemberOp::Add { .. } => MemberEventOp::Add,
                MemberOp::Remove => MemberEventOp::Remove,
                MemberOp::Role(role) => MemberEventOp::Role(role),
                MemberOp::Mute(until) => MemberEventOp::Mute(until),
            },
            users: vec![user(who)],
        };
        let change = MemberChange {
            user: user(who),
            op,
        };
        let writes = vec![told(event.to_body()), Write::Member(change)];
        self.commit_elsewhere(conv, writes).await;
    }

    /// Writes a text to the store beside the node.
    pub(crate) async fn say_elsewhere(&self, conv: &str, words: &str) {
        self.commit_elsewhere(conv, vec![told(Body::text(words))])
            .await;
    }

    async fn commit_elsewhere(&self, conv: &str, writes: Vec<Write>) {
        let commit = Commit {
            conv: ConversationId::new(conv).unwrap(),
            expect_version: None,
            actor: None,
            writes,
        };
        self.store.commit(&[commit]).await.remove(0).unwrap();
    }

    /// Makes a token good for so long.
    pub(crate) fn token(&self, token: &str, of: &str, ttl_ms: i64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let identity = Identity {
            user: user(of),
            name: None,
            roles: Vec::new(),
            expires_at: Timestamp(i64::try_from(now).unwrap() + ttl_ms),
        };
        self.tokens.insert(token, identity);
    }
}

fn told(body: Body) -> Write {
    Write::Append(NewEntry {
        id: MessageId(7),
        from: user("ana"),
        at: Timestamp(1),
        cm_id: None,
        digest: 0,
        body,
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    })
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn hello(token: &str, device: &str) -> String {
    format!(r#"{{"t":"hello","token":"{token}","device":"{device}"}}"#)
}
