//! An app with a chat in it, and a client of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use im_testkit::memory::TokenTable;
use imkit::core::model::{UserId, Value};
use imkit::node::{Node, Settings};
use imkit::sql::{SqliteOptions, SqliteStore};
use imkit::ws::Transport;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than any answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) store: SqliteStore,
    file: PathBuf,
    address: SocketAddr,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: TempDir,
}

impl Drop for App {
    fn drop(&mut self) {
        self.node.kill();
        self.server.abort();
    }
}

impl App {
    /// With a store and a node of other settings than the defaults.
    pub(crate) async fn start(options: SqliteOptions, sweep: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.db");
        let store = SqliteStore::connect_with(file.to_str().unwrap(), options)
            .await
            .unwrap();
        let users = ["ana", "ben"].map(|id| UserId::new(id).unwrap());
        let auth = Arc::new(TokenTable::of_users(&users));
        let mut settings = Settings {
            sweep,
            ..Settings::default()
        };
        settings.limits.sends_per_s = 10_000;
        let node = Node::builder(Arc::new(store.clone()), auth)
            .settings(settings)
            .start()
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Transport::new(node.clone()).router();
        let never = std::future::pending();
        let server = tokio::spawn(imkit::ws::serve(listener, router, never));
        Self {
            node,
            store,
            file,
            address,
            server,
            _dir: dir,
        }
    }

    /// A connection of the app's own to the store's file.
    pub(crate) async fn host(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.file);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    /// A user's device, welcomed.
    pub(crate) async fn client(&self, user: &str) -> Client {
        let url = format!("ws://{}/v1/ws", self.address);
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Client(socket);
        client
            .say(&format!(r#"{{"t":"hello","token":"{user}","device":"d"}}"#))
            .await;
        client.get("welcome").await;
        client
    }
}

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn say(&mut self, frame: &str) {
        self.0.send(Message::text(frame)).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.0.next()).await.unwrap();
            if let Message::Text(text) = next.unwrap().unwrap() {
                return Value::from_json(&text).unwrap();
            }
        }
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

    /// Sends a text to ben; `sent` or `err`, whichever comes.
    pub(crate) async fn send(&mut self, cm_id: &str, words: &str) -> Value {
        self.say(&format!(
            r#"{{"t":"send","cm_id":"{cm_id}","to":{{"user":"ben"}},
                "body":{{"kind":"text","text":"{words}"}}}}"#
        ))
        .await;
        loop {
            let frame = self.next().await;
            if text(&frame, "cm_id") == cm_id && text(&frame, "t") != "entry" {
                return frame;
            }
        }
    }

    /// The `cm_id`s of a whole log, with their places; page by page.
    pub(crate) async fn pull(&mut self, conv: &str) -> Vec<(i64, String)> {
        let mut found: Vec<(i64, String)> = Vec::new();
        loop {
            let after = found.last().map_or(0, |(seq, _)| *seq);
            self.say(&format!(
                r#"{{"t":"pull","id":1,"conv":"{conv}","after":{after},"limit":200}}"#
            ))
            .await;
            let page = self.get("page").await;
            let Some(Value::Array(entries)) = page.get("entries") else {
                panic!("{page:?}")
            };
            found.extend(entries.iter().map(|it| (int(it, "seq"), text(it, "cm_id"))));
            if page.get("more") != Some(&Value::Bool(true)) {
                return found;
            }
        }
    }
}

/// A text field; empty when missing.
pub(crate) fn text(value: &Value, field: &str) -> String {
    let field = value.get(field).and_then(Value::as_text);
    field.unwrap_or_default().to_owned()
}

/// An integer field; -1 when missing.
pub(crate) fn int(value: &Value, field: &str) -> i64 {
    value.get(field).and_then(Value::as_int).unwrap_or(-1)
}
