//! Master keys: missing, wrong, and taken turns.

use std::sync::Arc;

use im_core::port::Store;
use im_store_sealed::{MasterId, SealError, Sealed};
use im_testkit::memory::MemoryStore;

use crate::kit::*;

/// Users whose data keys are wrapped anew.
const USERS: usize = 450;

async fn opened(
    inner: &Arc<MemoryStore>,
    active: u32,
    keys: &[&str],
) -> Result<Arc<Sealed>, SealError> {
    let inner: Arc<dyn Store> = Arc::clone(inner) as _;
    let sealed = Sealed::open(inner, ring(active, keys)).await;
    sealed.map(Arc::new)
}

#[tokio::test]
async fn a_missing_key_and_a_wrong_one_are_said_at_the_start() {
    let inner = Arc::new(MemoryStore::new());
    let store = opened(&inner, 1, &[ONE]).await.unwrap();
    group(&*store, "g", &["al"]).await;
    say(&*store, "g", "al", "hi").await;
    let missing = opened(&inner, 2, &[TWO]).await.unwrap_err();
    assert!(
        matches!(missing, SealError::MissingMaster(MasterId(1))),
        "{missing}"
    );
    // The number of the first key, and another key.
    let wrong = TWO.replacen('2', "1", 1);
    let wrong = opened(&inner, 1, &[&wrong]).await.unwrap_err();
    assert!(
        matches!(wrong, SealError::WrongMaster(MasterId(1))),
        "{wrong}"
    );
    let store = opened(&inner, 1, &[ONE, TWO]).await.unwrap();
    assert_eq!(texts(&*store, "g").await, ["hi"]);
}

/// A wrong key that nobody saw at the start gives an error, never words.
#[tokio::test]
async fn a_wrong_key_never_gives_words() {
    let (inner, other) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let store = opened(&inner, 1, &[ONE]).await.unwrap();
    group(&*store, "g", &["al"]).await;
    say(&*store, "g", "al", "hi").await;
    // Another service's store, with all that is in this one put into it.
    let wrong = TWO.replacen('2', "1", 1);
    let foreign = opened(&other, 1, &[&wrong]).await.unwrap();
    group(&*other, "g", &["al"]).await;
    for entry in log(&*inner, "g").await {
        let write = im_core::port::Write::Append(entry.new);
        on(&*other, commit("g", vec![write])).await.unwrap();
    }
    let key = im_core::model::FactKey::new(im_core::model::FactTable::DataKey, "al", "");
    let theirs = fact(&*inner, &key).await.unwrap().value;
    on(&*other, put(&key, Some(&theirs), im_core::port::Was::Any))
        .await
        .unwrap();
    let query = im_core::port::LogQuery::After {
        seq: im_core::model::Seq(0),
        limit: 9,
        bytes: usize::MAX,
    };
    let error = foreign.log(&conv("g"), query).await.unwrap_err();
    assert_eq!(error.kind(), im_core::port::PortErrorKind::Corrupt);
}

/// A new key is made active while the service runs; bit by bit it wraps every data key, in which a
/// break does no harm; then the old one is needed no more.
#[tokio::test]
async fn a_new_key_takes_over_while_the_service_runs() {
    let inner = Arc::new(MemoryStore::new());
    let before = opened(&inner, 1, &[ONE, TWO]).await.unwrap();
    group(&*before, "g", &["al"]).await;
    for n in 0..USERS {
        say(&*before, "g", &format!("u{n}"), &n.to_string()).await;
    }
    let after = opened(&inner, 2, &[ONE, TWO]).await.unwrap();
    assert_eq!(after.status().await.unwrap().older, USERS);
    let mut steps = vec![after.rewrap().await.unwrap()];
    // It is stopped; a node that has not heard of the new key writes on.
    assert!(matches!(
        opened(&inner, 2, &[TWO]).await,
        Err(SealError::MissingMaster(MasterId(1)))
    ));
    say(&*before, "g", "late", "late").await;
    let again = opened(&inner, 2, &[ONE, TWO]).await.unwrap();
    loop {
        let step = again.rewrap().await.unwrap();
        steps.push(step);
        if step == 0 {
            break;
        }
    }
    assert_eq!(steps, [200, 200, 51, 0]);
    let status = again.status().await.unwrap();
    assert_eq!((status.active, status.older), (MasterId(2), 0));
    assert_eq!(status.needed, [MasterId(2)]);
    let alone = opened(&inner, 2, &[TWO]).await.unwrap();
    let read = texts(&*alone, "g").await;
    assert_eq!((read.len(), read[7].as_str()), (USERS + 1, "7"));
    assert_eq!(read, texts(&*before, "g").await);
    // One more that was wrapped with the old key is not passed over in silence.
    say(&*before, "g", "later", "later").await;
    assert!(opened(&inner, 2, &[TWO]).await.is_err());
    again.rewrap().await.unwrap();
    assert!(opened(&inner, 2, &[TWO]).await.is_ok());
}

/// Two nodes that make a user's first key at once agree on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_make_a_users_key_agree() {
    let inner = Arc::new(MemoryStore::new());
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(opened(&inner, 1, &[ONE]).await.unwrap());
    }
    group(&*nodes[0], "g", &["al"]).await;
    let tasks = nodes.iter().cloned().map(|node| {
        tokio::spawn(async move {
            for n in 0..50 {
                say(&*node, "g", &format!("u{n}"), "x").await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    for node in &nodes {
        let read = texts(&**node, "g").await;
        assert_eq!(read.len(), 200);
        assert!(read.iter().all(|text| text == "x"));
    }
}
