//! An axum app with users of its own gets chat, and prints how Ann would look into hers.
use std::sync::Arc;

use axum::{Router, routing::get};
use imkit::core::model::{Timestamp, UserId};
use imkit::core::port::{AuthError, Authenticator, Identity};

/// The app's own users: who is it, by the key that signing in gave them.
#[derive(Debug)]
struct Users(&'static [(&'static str, &'static str)]);

#[async_trait::async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let found = self.0.iter().find(|(key, _)| *key == token);
        let user = found.and_then(|(_, name)| UserId::new(*name).ok());
        Ok(Identity {
            user: user.ok_or_else(|| AuthError::Invalid("not signed in".to_owned()))?,
            name: None,
            roles: Vec::new(),
            expires_at: now.plus_ms(3_600_000),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = imkit::sql::SqliteStore::connect("sqlite://embed.db").await?;
    let users = Users(&[("ann-key", "ann"), ("bob-key", "bob")]);
    let node = imkit::node::Node::builder(Arc::new(store), Arc::new(users))
        .start()
        .await?;
    let app = Router::new().route("/", get("my app"));
    let app = app.nest("/chat", imkit::ws::Transport::new(node.clone()).router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("Ann's: curl -H 'authorization: Bearer ann-key' localhost:8080/chat/v1/sync");
    let stop = async move { drop((tokio::signal::ctrl_c().await, node.shutdown().await)) };
    Ok(imkit::ws::serve(listener, app, stop).await?)
}
