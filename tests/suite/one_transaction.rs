//! What the app writes in its own transaction reaches those who are connected.

use std::time::Duration;

use imkit::core::model::{
    Body, CmId, ConversationKind, Mentions, MessageId, NewEntry, Role, Timestamp, UserId, direct_id,
};
use imkit::core::port::{Commit, NewConversation, Write};
use imkit::sql::SqliteOptions;
use sqlx::Connection as _;

use crate::app::{App, int, text};

/// Longer than a test takes: nothing comes by the sweep's own time.
const NEVER: Duration = Duration::from_secs(3_600);

/// A message of ana's to ben; the conversation is made with the first.
fn message(n: u64) -> Commit {
    let (ana, ben) = (UserId::new("ana").unwrap(), UserId::new("ben").unwrap());
    let members = [&ana, &ben]
        .map(|user| (user.clone(), Role::Member))
        .to_vec();
    let create = NewConversation {
        kind: ConversationKind::Direct,
        title: None,
        hide_history: false,
        members,
    };
    let entry = NewEntry {
        id: MessageId(n),
        from: ana.clone(),
        at: Timestamp(1_790_000_000_000),
        cm_id: Some(CmId::new(format!("order-{n}")).unwrap()),
        digest: n,
        body: Body::text("ordered"),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv: direct_id(&ana, &ben),
        expect_version: None,
        actor: None,
        writes: vec![Write::Create(create), Write::Append(entry)],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_committed_is_pushed_and_what_it_rolled_back_is_not() {
    let app = App::start(SqliteOptions::default(), NEVER).await;
    let (mut ana, mut ben) = (app.client("ana").await, app.client("ben").await);
    ana.send("c0", "hello").await;
    assert_eq!(int(&ben.get("entry").await, "seq"), 1);
    let mut host = app.host().await;
    for (n, keep) in [(1, false), (2, true), (3, false), (4, true)] {
        let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
        app.store.commit_in(&mut tx, &message(n)).await.unwrap();
        match keep {
            true => tx.commit().await.unwrap(),
            false => tx.rollback().await.unwrap(),
        }
        app.node.notice();
    }
    for client in [&mut ana, &mut ben] {
        for (seq, cm_id) in [(2, "order-2"), (3, "order-4")] {
            let entry = client.get("entry").await;
            assert_eq!(
                (int(&entry, "seq"), text(&entry, "cm_id")),
                (seq, cm_id.into())
            );
        }
    }
    // The usual way goes on behind it, and its retry is known here too.
    assert_eq!(int(&ana.send("c1", "usual").await, "seq"), 4);
    assert_eq!(int(&ben.get("entry").await, "seq"), 4);
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let again = app.store.commit_in(&mut tx, &message(2)).await.unwrap();
    assert!(again.appended[0].dup);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_told_the_node_of_comes_with_the_sweep() {
    let app = App::start(SqliteOptions::default(), Duration::from_millis(100)).await;
    let mut ben = app.client("ben").await;
    let mut host = app.host().await;
    let mut tx = host.begin_with("BEGIN IMMEDIATE").await.unwrap();
    app.store.commit_in(&mut tx, &message(1)).await.unwrap();
    tx.commit().await.unwrap();
    let line = ben.next().await;
    assert_eq!(text(&line, "kind"), "conv", "{line:?}");
    // It is the line of a conversation that is new to ben: what it holds is pulled.
    let conv = text(line.get("line").unwrap(), "conv");
    assert_eq!(ben.pull(&conv).await, [(1, "order-1".to_owned())]);
}
