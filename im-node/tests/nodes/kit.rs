//! A cluster in one process.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{CloseCode, Codec, decode_server};
use im_core::model::{NodeId, Timestamp, UserId, Value};
use im_core::port::{Bus, Identity, Registry, Store};
use im_node::local::{LocalBus, LocalRegistry};
use im_node::{Connection, Node, Output, Settings};
use im_testkit::memory::{FaultyStore, MemoryStore, TokenTable};

/// Longer than any answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for what must not come to come.
const QUIET: Duration = Duration::from_millis(200);

/// What the nodes share.
pub(crate) struct Cluster {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) registry: Arc<dyn Registry>,
    tokens: Arc<TokenTable>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::with_registry(Arc::new(LocalRegistry::new()))
    }

    pub(crate) fn with_registry(registry: Arc<dyn Registry>) -> Self {
        let users = ["ana", "ben", "cara"].map(|id| UserId::new(id).unwrap());
        Self {
            store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))),
            bus: Arc::new(LocalBus::new()),
            registry,
            tokens: Arc::new(TokenTable::of_users(&users)),
        }
    }

    /// One more user, whose token is the name.
    pub(crate) fn add_user(&self, name: &str) {
        let user = UserId::new(name).unwrap();
        self.tokens.insert(
            name,
            Identity {
                user,
                name: None,
                roles: Vec::new(),
                expires_at: Timestamp(i64::MAX),
            },
        );
    }

    /// Settings of a node that hears of others by the bus alone.
    pub(crate) fn settings(name: &str) -> Settings {
        Settings {
            node: NodeId::new(name).unwrap(),
            sweep: Duration::from_secs(3_600),
            drain: Duration::from_secs(2),
            ..Settings::default()
        }
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        self.start(Self::settings(name)).await.unwrap()
    }

    pub(crate) async fn start(&self, settings: Settings) -> Result<Node, im_node::StartError> {
        let store = Arc::clone(&self.store) as Arc<dyn Store>;
        Node::builder(store, Arc::clone(&self.tokens) as _)
            .settings(settings)
            .cluster(Arc::clone(&self.bus), Arc::clone(&self.registry))
            .start()
            .await
    }
}

/// A connection.
pub(crate) struct Client {
    connection: Connection,
    heard: std::collections::VecDeque<Output>,
}

impl Client {
    /// A connection that has said nothing.
    pub(crate) fn silent(node: &Node) -> Self {
        Self {
            connection: node.connect(Codec::Json, None),
            heard: std::collections::VecDeque::new(),
        }
    }

    /// A connection that has said hello and not read the answer.
    pub(crate) fn hello(node: &Node, user: &str, device: &str) -> Self {
        let mut client = Self::silent(node);
        client.say(&format!(
            r#"{{"t":"hello","token":"{user}","device":"{device}"}}"#
        ));
        client
    }

    /// A user's device, welcomed.
    pub(crate) async fn connect(node: &Node, user: &str, device: &str) -> Self {
        let mut client = Self::hello(node, user, device);
        client.get("welcome").await;
        client
    }

    pub(crate) fn say(&mut self, frame: &str) {
        self.connection.handle_frame(frame.as_bytes());
    }

    async fn hear(&mut self) -> Output {
        loop {
            if let Some(output) = self.heard.pop_front() {
                return output;
            }
            self.connection.ready().await;
            let mut outputs = Vec::new();
            self.connection.drain(&mut outputs);
            self.heard.extend(outputs);
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        let next = async {
            loop {
                match self.hear().await {
                    Output::Frame(bytes) => {
                        return decode_server(Codec::Json, &bytes).unwrap().to_value();
                    }
                    Output::Ping => {}
                    Output::Close(code) => panic!("closed with {code:?}"),
                }
            }
        };
        tokio::time::timeout(DEADLINE, next).await.unwrap()
    }

    /// The next frame of that type; others are passed over.
    pub(crate) async fn get(&mut self, t: &str) -> Value {
        loop {
            let frame = self.next().await;
            if text(&frame, "t") == t {
                return frame;
            }
        }
    }

    /// Nothing of that type comes.
    pub(crate) async fn is_quiet(&mut self, t: &str) {
        let hears = async {
            loop {
                if let Output::Frame(bytes) = self.hear().await {
                    let value = decode_server(Codec::Json, &bytes).unwrap().to_value();
                    assert_ne!(text(&value, "t"), t, "{value:?}");
                }
            }
        };
        let ended: Result<(), _> = tokio::time::timeout(QUIET, hears).await;
        assert!(ended.is_err());
    }

    /// The code of the close; frames before it are passed over.
    pub(crate) async fn closed(&mut self) -> CloseCode {
        let closed = async {
            loop {
                if let Output::Close(code) = self.hear().await {
                    return code;
                }
            }
        };
        tokio::time::timeout(DEADLINE, closed).await.unwrap()
    }

    /// Sends a text to a user and waits until it is stored; gives `sent`.
    pub(crate) async fn send(&mut self, cm_id: &str, to: &str, words: &str) -> Value {
        self.say(&format!(
            r#"{{"t":"send","cm_id":"{cm_id}","to":{{"user":"{to}"}},
                "body":{{"kind":"text","text":"{words}"}}}}"#
        ));
        self.get("sent").await
    }
}

/// A text field; empty when missing.
pub(crate) fn text(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_text);
    text.unwrap_or_default().to_owned()
}

/// An integer field; -1 when missing.
pub(crate) fn int(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_int).unwrap_or(-1)
}
