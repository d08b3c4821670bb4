//! A node, and short words for its users' calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use im_core::frame::ErrorCode;
use im_core::model::{
    Body, CmId, ConversationId, Draft, Entry, Mentions, Seq, Target, Timestamp, UserId, Value,
};
use im_core::port::{Clock, Identity, LogQuery, Store};
use im_core::rule::Timeline;
use im_node::{Node, NodeBuilder, Settings};
use im_testkit::memory::{MemoryStore, TokenTable};

/// More than any log here holds.
const ALL: usize = 10_000;

/// A node on a store in memory.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) node: Node,
    next: AtomicU64,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(im_node::TokioClock);
        Self::made(clock, set, |builder| builder).await
    }

    /// By another clock.
    pub(crate) async fn by(clock: Arc<dyn Clock>, set: impl FnOnce(&mut Settings)) -> Self {
        Self::made(clock, set, |builder| builder).await
    }

    /// With other settings, and other ports of the node.
    pub(crate) async fn built(
        set: impl FnOnce(&mut Settings),
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Self {
        Self::made(Arc::new(im_node::TokioClock), set, build).await
    }

    async fn made(
        clock: Arc<dyn Clock>,
        set: impl FnOnce(&mut Settings),
        build: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Self {
        let store = Arc::new(MemoryStore::new());
        let mut settings = Settings::default();
        settings.limits.sends_per_s = 1_000_000;
        set(&mut settings);
        let tokens = Arc::new(TokenTable::of_users(&[]));
        let builder = Node::builder(Arc::clone(&store) as Arc<dyn Store>, tokens)
            .search(Arc::clone(&store) as _)
            .settings(settings)
            .clock(clock);
        let node = build(builder).start().await.unwrap();
        let next = AtomicU64::new(1);
        Self { store, node, next }
    }

    /// Another node on the same store.
    pub(crate) async fn beside(&self, due: std::time::Duration) -> Node {
        let settings = Settings {
            node: im_core::model::NodeId::new("node-2").unwrap(),
            due,
            ..Settings::default()
        };
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        let tokens = Arc::new(TokenTable::of_users(&[]));
        let node = Node::builder(store, tokens).settings(settings);
        node.start().await.unwrap()
    }

    /// Calls a method; parameters and value are JSON.
    pub(crate) async fn call(
        &self,
        who: &str,
        method: &str,
        params: &str,
    ) -> Result<Value, ErrorCode> {
        self.call_on(&self.node, who, method, params).await
    }

    /// The same on another node.
    pub(crate) async fn call_on(
        &self,
        node: &Node,
        who: &str,
        method: &str,
        params: &str,
    ) -> Result<Value, ErrorCode> {
        let params = Value::from_json(params).unwrap();
        let (service, who) = (node.service(), identity(who));
        let called = service.call_as(&who, method, params, None).await;
        called.map_err(|failure| failure.code)
    }

    /// Calls a method that must succeed.
    pub(crate) async fn does(&self, who: &str, method: &str, params: &str) -> Value {
        let done = self.call(who, method, params).await;
        done.unwrap_or_else(|code| panic!("{who} {method} {params}: {code:?}"))
    }

    /// Adds a word, and waits until this node knows it.
    pub(crate) async fn word(&self, word: &str, level: &str) {
        let params = format!(r#"{{"word":"{word}","level":"{level}"}}"#);
        self.does("adm", "admin.words.add", &params).await;
        let text = format!(r#"{{"text":"{word}"}}"#);
        let verdict = Value::from(level.to_owned());
        eventually(async || {
            let tried = self.does("adm", "admin.words.try", &text).await;
            tried.get("verdict") == Some(&verdict)
        })
        .await;
    }

    /// The same, with what must come.
    pub(crate) async fn gives(&self, who: &str, method: &str, params: &str, value: &str) {
        let given = self.call(who, method, params).await;
        let given = given.map(|value| value.to_json());
        let value = Value::from_json(value).unwrap().to_json();
        assert_eq!(given, Ok(value), "{who} {method} {params}");
    }

    /// A call on a conversation; `rest` are more fields, each after a comma.
    pub(crate) async fn call_in(
        &self,
        who: &str,
        method: &str,
        conv: &ConversationId,
        rest: &str,
    ) -> Result<Value, ErrorCode> {
        let params = format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str());
        self.call(who, method, &params).await
    }

    /// The same, which must go well.
    pub(crate) async fn does_in(
        &self,
        who: &str,
        method: &str,
        conv: &ConversationId,
        rest: &str,
    ) -> Value {
        let done = self.call_in(who, method, conv, rest).await;
        done.unwrap_or_else(|code| panic!("{who} {method} {rest}: {code:?}"))
    }

    /// The same, which must be refused.
    pub(crate) async fn fails_in(
        &self,
        who: &str,
        method: &str,
        conv: &ConversationId,
        rest: &str,
        code: ErrorCode,
    ) {
        let refused = self.call_in(who, method, conv, rest).await;
        assert_eq!(refused, Err(code), "{who} {method} {rest}");
    }

    /// A channel that anybody may join.
    pub(crate) async fn channel(&self, owner: &str, rest: &str) -> ConversationId {
        let params = format!(r#"{{"title":"News"{rest}}}"#);
        let made = self.call(owner, "channels.create", &params).await.unwrap();
        let conv = made.get("conv").and_then(Value::as_text).unwrap();
        ConversationId::new(conv.to_owned()).unwrap()
    }

    pub(crate) async fn group(&self, owner: &str, members: &[&str]) -> ConversationId {
        let members: Vec<Value> = members.iter().map(|id| Value::from(*id)).collect();
        let params = Value::object([("title", Value::from("G")), ("members", members.into())]);
        let made = self.call(owner, "groups.create", &params.to_json()).await;
        let made = made.unwrap();
        let conv = made.get("conv").and_then(Value::as_text).unwrap();
        ConversationId::new(conv.to_owned()).unwrap()
    }

    pub(crate) fn draft(&self, to: Target, body: &str) -> Draft {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Draft {
            cm_id: CmId::new(format!("m{n}")).unwrap(),
            to,
            body: Body::new(&Value::from_json(body).unwrap()).unwrap(),
            reply_to: None,
            mentions: Mentions::None,
            expires_ms: None,
        }
    }

    pub(crate) async fn send(&self, who: &str, draft: &Draft) -> Result<Seq, ErrorCode> {
        let sent = self.node.service().send(&user(who), draft).await;
        let sent = sent.map_err(|failure| failure.code);
        sent.map(|(_, appended)| appended.seq)
    }

    /// Sends a body to a conversation.
    pub(crate) async fn body(
        &self,
        who: &str,
        conv: &ConversationId,
        body: &str,
    ) -> Result<Seq, ErrorCode> {
        let draft = self.draft(Target::Conversation(conv.clone()), body);
        self.send(who, &draft).await
    }

    pub(crate) async fn say(&self, who: &str, conv: &ConversationId, words: &str) -> Seq {
        let body = Body::text(words).json().to_string();
        self.body(who, conv, &body).await.unwrap()
    }

    /// A whole log.
    pub(crate) async fn log(&self, conv: &ConversationId) -> Vec<Entry> {
        let query = LogQuery::After {
            seq: Seq(0),
            limit: ALL,
            bytes: usize::MAX,
        };
        self.store.log(conv, query).await.unwrap()
    }

    /// A log, replayed.
    pub(crate) async fn timeline(&self, conv: &ConversationId) -> Timeline {
        let mut timeline = Timeline::default();
        for entry in self.log(conv).await {
            timeline.apply(&entry);
        }
        timeline
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// Whose roles the names stand for: staff is who is called so.
pub(crate) fn identity(who: &str) -> Identity {
    let role = match &who[..3.min(who.len())] {
        "adm" => Some("admin"),
        "mod" => Some("moderator"),
        "aud" => Some("auditor"),
        _ => None,
    };
    Identity {
        user: user(who),
        name: None,
        roles: role.into_iter().map(str::to_owned).collect(),
        expires_at: Timestamp(i64::MAX),
    }
}

/// Waits for what takes a moment, and no longer than a busy machine may need.
pub(crate) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

/// A text field; empty when missing.
pub(crate) fn text(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_text);
    text.unwrap_or_default().to_owned()
}

/// The items of a field.
pub(crate) fn items(value: &Value, field: &str) -> Vec<Value> {
    match value.get(field) {
        Some(Value::Array(items)) => items.clone(),
        other => panic!("{field}: {other:?}"),
    }
}

/// The texts of one field of the objects in a field of a value.
pub(crate) fn each(value: &Value, field: &str, of: &str) -> Vec<String> {
    let Some(Value::Array(items)) = value.get(field) else {
        panic!("no {field} in {value:?}")
    };
    let text = |item: &Value| item.get(of).and_then(Value::as_text).map(str::to_owned);
    items.iter().filter_map(text).collect()
}

/// An integer field.
pub(crate) fn int(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_int).unwrap()
}
