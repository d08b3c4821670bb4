//! Your word in every message: a hook that refuses some and rewrites others.
//!
//! `cargo run --example hooks` sends three messages and prints what became of each.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use imkit::core::model::{Body, CmId, ConversationId, Draft, Seq, Target, UserId};
use imkit::core::port::{Hooks, LogQuery, Store as _, Verdict};
use imkit::node::Node;
use imkit::node::auth::JwtAuthenticator;
use imkit::sql::SqliteStore;

/// House rules: no links, and no shouting.
#[derive(Debug)]
struct HouseRules;

#[async_trait]
impl Hooks for HouseRules {
    async fn before_send(&self, _: &UserId, _: &ConversationId, draft: &Draft) -> Verdict {
        // What is no text has no words to judge.
        let Some(text) = draft.body.as_text() else {
            return Verdict::Accept;
        };
        if text.contains("http://") || text.contains("https://") {
            return Verdict::Reject("no links here".to_owned());
        }
        if text.chars().any(char::is_lowercase) {
            return Verdict::Accept;
        }
        Verdict::Rewrite(Body::text(text.to_lowercase()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("hooks.db");
    let store = SqliteStore::connect(&format!("sqlite://{}", file.display())).await?;
    let auth = JwtAuthenticator::hs256("the example's own secret, 32 bytes or so")?;
    let node = Node::builder(Arc::new(store.clone()), Arc::new(auth))
        .hooks(Arc::new(HouseRules))
        .start()
        .await?;
    // The program acts for its users; a connection's messages go by the same hook.
    let (service, ann, bob) = (node.service(), UserId::new("ann")?, UserId::new("bob")?);
    let mut chat = None;
    let texts = ["Hello Bob", "ARE YOU THERE?", "look: https://example.com"];
    for (number, text) in texts.into_iter().enumerate() {
        let cm_id = CmId::new(format!("m{number}"))?;
        let draft = Draft::text(cm_id, Target::User(bob.clone()), text);
        match service.send(&ann, &draft).await {
            Ok((conv, _)) => {
                println!("sent:    {text}");
                chat = Some(conv);
            }
            Err(refused) => println!("refused: {text} ({refused})"),
        }
    }
    let conv = chat.ok_or("nothing was stored")?;
    let (seq, limit, bytes) = (Seq(0), 100, 1 << 20);
    for entry in store
        .log(&conv, LogQuery::After { seq, limit, bytes })
        .await?
    {
        println!("stored:  {}", entry.body.as_text().unwrap_or_default());
    }
    node.shutdown().await;
    Ok(store.close().await?)
}
