//! A bot: a user like any other, on the Rust client. It answers in a group whoever writes its
//! name.
//!
//! `cargo run --example bot` shows it against a server of its own: Ann makes a group with the bot,
//! asks it, and gets an answer. With `IMKIT_URL` (`ws://127.0.0.1:8080`) and `IMKIT_TOKEN` (from
//! `im-server token bot`) it joins a running server instead, and answers until it is stopped.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use im_client::{Client, Event, Events};
use imkit::core::model::{Body, ConversationId, Entry, Target, UserId, Value};
use imkit::core::port::Clock as _;
use imkit::node::auth::JwtAuthenticator;
use imkit::node::{Node, TokioClock};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    if let (Ok(url), Ok(token)) = (std::env::var("IMKIT_URL"), std::env::var("IMKIT_TOKEN")) {
        let (bot, events) = Client::builder(url).token(token).connect().await?;
        println!("connected; add the bot to a group and write its name");
        return answer(bot, events).await;
    }
    let auth = Arc::new(JwtAuthenticator::hs256(
        "the example's own secret, 32 bytes or so",
    )?);
    let folder = tempfile::tempdir()?;
    let file = format!("sqlite://{}", folder.path().join("bot.db").display());
    let store = imkit::sql::SqliteStore::connect(&file).await?;
    let node = Node::builder(Arc::new(store), Arc::clone(&auth) as _)
        .start()
        .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let router = imkit::ws::Transport::new(node).router();
    tokio::spawn(imkit::ws::serve(listener, router, std::future::pending()));

    let hour = Duration::from_secs(3_600);
    let token = |user: &str| -> Result<String> {
        Ok(auth.mint(&UserId::new(user)?, TokioClock.timestamp(), hour, None, &[])?)
    };
    let (bot, events) = Client::builder(&url).token(token("bot")?).connect().await?;
    tokio::spawn(answer(bot, events));
    let (ann, events) = Client::builder(&url).token(token("ann")?).connect().await?;
    ask(&ann, events).await
}

/// Answers every text of others that has the bot's name in it, once: the client hands each entry
/// out once, and a send is stored once whatever happens on the way.
async fn answer(bot: Client, mut events: Events) -> Result<()> {
    let mut me = None;
    while let Some(event) = events.next().await {
        match event {
            Event::Connected(welcome) => me = Some(welcome.user),
            Event::Entry(entry) if me.as_ref() != Some(&entry.from) => {
                if let Some(words) = words(&entry) {
                    let to = Target::Conversation(entry.conv.clone());
                    bot.send(to, Body::text(words)).await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn words(entry: &Entry) -> Option<String> {
    let text = entry.body.as_text()?.to_lowercase();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    text.contains("bot")
        .then(|| format!("{}, that were {letters} letters", entry.from))
}

/// Ann asks in a group and prints what is said there, up to the bot's answer.
async fn ask(ann: &Client, mut events: Events) -> Result<()> {
    let members: Value = vec![Value::from("bot")].into();
    let group = Value::object([("title", Value::from("Tea")), ("members", members)]);
    let made = ann.request("groups.create", group).await?;
    let conv = made
        .get("conv")
        .and_then(Value::as_text)
        .ok_or("no group")?;
    let to = Target::Conversation(ConversationId::new(conv)?);
    ann.send(to, Body::text("Bot, are you here?")).await?;
    while let Some(event) = events.next().await {
        let Event::Entry(entry) = event else { continue };
        let Some(text) = entry.body.as_text() else {
            continue;
        };
        println!("{}: {text}", entry.from);
        if entry.from.as_str() == "bot" {
            break;
        }
    }
    ann.close().await;
    Ok(())
}
