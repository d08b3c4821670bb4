//! A node on a sealed store: who is erased is gone from a copy of the database, too, and what is
//! kept for a time only is no longer there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use im_core::model::{
    CmId, Draft, Entry, Fact, FactKey, FactTable, Target, Timestamp, UserId, Value, direct_id,
};
use im_core::port::{FactQuery, Store, Was, Write};
use im_node::{Node, Retention, Settings};
use im_store_sealed::Sealed;
use im_store_sql::SqliteStore;
use im_testkit::memory::{MemoryStore, TokenTable};

use crate::kit::*;

/// Often enough that no test waits long.
const OFTEN: Duration = Duration::from_millis(20);
/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

async fn open(path: &Path) -> (SqliteStore, Arc<Sealed>) {
    let url = format!("sqlite://{}", path.display());
    let inner = SqliteStore::connect(&url).await.unwrap();
    let store = sealed(Arc::new(inner.clone())).await;
    (inner, store)
}

async fn node(store: &Arc<Sealed>, retention: Retention) -> Node {
    let mut settings = Settings {
        due: OFTEN,
        retention,
        ..Settings::default()
    };
    settings.limits.sends_per_s = 1_000_000;
    let tokens = Arc::new(TokenTable::of_users(&[]));
    let store = Arc::clone(store) as Arc<dyn Store>;
    let node = Node::builder(store, tokens).settings(settings);
    node.start().await.unwrap()
}

async fn send(node: &Node, from: &str, to: &str, id: &str, text: &str) {
    let target = Target::User(user(to));
    let draft = Draft::text(CmId::new(id).unwrap(), target, text);
    node.service().send(&user(from), &draft).await.unwrap();
}

async fn until(is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

async fn is_erased(store: &Sealed, user: &UserId) -> bool {
    let key = FactKey::new(FactTable::Erasure, user.as_str(), "");
    let found = store.facts(&FactQuery::One(key)).await.unwrap().pop();
    found.is_some_and(|fact| fact.value.contains("\"done\""))
}

/// The keys of the two, and of the service, as a store has them.
async fn keys(inner: &SqliteStore) -> Vec<Fact> {
    let data = ["al", "bo"].map(|user| FactKey::new(FactTable::DataKey, user, ""));
    let master = FactKey::new(FactTable::MasterKey, "", "1");
    let mut facts = Vec::new();
    for key in data.into_iter().chain([master]) {
        facts.extend(fact(inner, &key).await);
    }
    facts
}

/// What a log says in a store of its own, beside those keys.
async fn restored(id: &str, backup: &[Entry], keys: &[Fact]) -> Vec<String> {
    let inner = Arc::new(MemoryStore::new());
    group(&*inner, id, &["al", "bo"]).await;
    for fact in keys {
        let change = put(&fact.key, Some(&fact.value), Was::Any);
        on(&*inner, change).await.unwrap();
    }
    for entry in backup {
        let write = Write::Append(entry.new.clone());
        on(&*inner, commit(id, vec![write])).await.unwrap();
    }
    texts(&*sealed(inner).await, id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_erased_is_gone_from_a_copy_of_the_messages_too() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, store) = open(&folder.path().join("im.db")).await;
    let running = node(&store, Retention::default()).await;
    send(&running, "al", "bo", "1", "mine").await;
    send(&running, "bo", "al", "2", "yours").await;
    let name = Value::object([("name", Value::from("Al"))]);
    let al = user("al");
    let service = running.service();
    service.call(&al, "profile.set", name, None).await.unwrap();
    let mut export = String::new();
    let mut after: Option<String> = None;
    loop {
        let page = service.export(&al, after.as_deref()).await.unwrap();
        export.push_str(page.get("ndjson").and_then(Value::as_text).unwrap());
        after = page.get("next").and_then(Value::as_text).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    assert!(export.contains("mine"), "{export}");
    assert!(export.contains("Al"), "{export}");
    assert!(!export.contains("yours"), "{export}");
    assert!(!export.contains("data_key"));
    // A copy of the log as it is now, as a backup has it.
    let conv = direct_id(&al, &user("bo"));
    let backup = log(&inner, conv.as_str()).await;
    let then = restored(conv.as_str(), &backup, &keys(&inner).await).await;
    assert_eq!(then, ["mine", "yours"]);
    service.erase(&al).await.unwrap();
    until(async || is_erased(&store, &al).await).await;
    running.shutdown().await;
    let store = sealed(Arc::new(inner.clone())).await;
    assert_eq!(
        texts(&*store, conv.as_str()).await[..2],
        ["erased", "yours"]
    );
    // The backup is read beside the keys of now; with those of then it would still say it.
    let restored = restored(conv.as_str(), &backup, &keys(&inner).await).await;
    assert_eq!(restored, ["erased", "yours"]);
    inner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_a_time_is_erased_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, store) = open(&folder.path().join("im.db")).await;
    let first = node(&store, Retention::default()).await;
    for n in 0..300 {
        send(&first, "al", "bo", &n.to_string(), "old").await;
    }
    first.shutdown().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let retention = Retention {
        direct: Some(Duration::from_millis(1)),
        ..Retention::default()
    };
    let second = node(&store, retention).await;
    let conv = direct_id(&user("al"), &user("bo"));
    until(async || {
        let read = log(&inner, conv.as_str()).await;
        read.len() == 300 && read.iter().all(|it| it.body.json().contains("erased"))
    })
    .await;
    second.shutdown().await;
    let upkeep = FactQuery::Due {
        table: FactTable::Upkeep,
        until: Timestamp(i64::MAX),
        limit: 2,
    };
    let upkeep = store.facts(&upkeep).await.unwrap();
    assert_eq!(upkeep.len(), 1);
    inner.close().await.unwrap();
}
