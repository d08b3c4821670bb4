//! A row of your own and a chat message in one transaction: they commit together or not at all.
//!
//! `cargo run --example one_transaction` orders a book for Ann, which tells her so in her chat with
//! the shop; then it orders another one and changes its mind. It prints what both tables hold
//! after each.

use std::error::Error;

use imkit::core::model::{
    Body, CmId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq, UserId, direct_id,
};
use imkit::core::port::{Clock as _, Commit, LogQuery, NewConversation, Store as _, Write};
use imkit::node::TokioClock;
use imkit::sql::SqliteStore;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db");
    let store = SqliteStore::connect(&format!("sqlite://{}", file.display())).await?;
    // The shop's own connection to the same file, and its own table.
    let mut shop =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, book TEXT NOT NULL)")
        .execute(&mut shop)
        .await?;

    println!("an order that is kept:");
    order(&store, &mut shop, 1, "Emma", true).await?;
    show(&store, &mut shop).await?;
    println!("an order that is rolled back, after its row and its message were written:");
    order(&store, &mut shop, 2, "Persuasion", false).await?;
    show(&store, &mut shop).await?;
    Ok(store.close().await?)
}

/// Writes the order and the message; keeps both or neither.
async fn order(
    store: &SqliteStore,
    shop: &mut SqliteConnection,
    id: u32,
    book: &str,
    keep: bool,
) -> Result<()> {
    // IMMEDIATE takes the write lock now, so that nothing can come between.
    let mut tx = shop.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO orders (id, book) VALUES (?, ?)")
        .bind(id)
        .bind(book)
        .execute(&mut *tx)
        .await?;
    let commit = message(id, &format!("You ordered {book}."))?;
    store.commit_in(&mut tx, &commit).await?;
    if keep {
        tx.commit().await?;
        // The store shows it now. Where a node runs, `node.notice()` instead: whoever is connected
        // gets it at once, and without that with the next sweep.
        store.notice().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(())
}

/// A message of the shop to Ann, as a commit. The conversation is made with the first.
fn message(id: u32, text: &str) -> Result<Commit> {
    let (shop, ann) = (UserId::new("shop")?, UserId::new("ann")?);
    let create = NewConversation {
        kind: ConversationKind::Direct,
        title: None,
        hide_history: false,
        members: vec![(shop.clone(), Role::Member), (ann.clone(), Role::Member)],
    };
    let entry = NewEntry {
        // Any number that no other message has; a node gives such numbers by itself.
        id: MessageId(u64::from(id)),
        from: shop.clone(),
        at: TokioClock.timestamp(),
        // The same order tried again is the same message.
        cm_id: Some(CmId::new(format!("order-{id}"))?),
        digest: u64::from(id),
        body: Body::text(text),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Ok(Commit {
        conv: direct_id(&shop, &ann),
        expect_version: None,
        actor: None,
        writes: vec![Write::Create(create), Write::Append(entry)],
    })
}

/// Prints both tables.
async fn show(store: &SqliteStore, shop: &mut SqliteConnection) -> Result<()> {
    let rows = sqlx::query("SELECT id, book FROM orders ORDER BY id")
        .fetch_all(shop)
        .await?;
    for row in rows {
        println!(
            "  order {}: {}",
            row.try_get::<i64, _>(0)?,
            row.try_get::<String, _>(1)?
        );
    }
    let conv = direct_id(&UserId::new("shop")?, &UserId::new("ann")?);
    let all = LogQuery::After {
        seq: Seq(0),
        limit: 100,
        bytes: 1 << 20,
    };
    for entry in store.log(&conv, all).await? {
        println!(
            "  message {}: {}",
            entry.seq,
            entry.body.as_text().unwrap_or_default()
        );
    }
    Ok(())
}
