//! A faulty store fails as told, and only then.

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{
    Body, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq, Stamps,
    Timestamp, UserId,
};
use im_core::port::{
    Commit, LogQuery, NewConversation, PortErrorKind, RecordKey, Rejected, Store, Write,
};
use im_testkit::memory::{Fault, FaultyStore, MemoryStore};
use tokio::time::timeout;

/// How long a call that hangs is watched, in virtual time.
const LONG: Duration = Duration::from_secs(3600);

fn conv() -> ConversationId {
    ConversationId::new("g").unwrap()
}

fn user() -> UserId {
    UserId::new("al").unwrap()
}

fn append() -> Commit {
    let entry = NewEntry {
        id: MessageId(1),
        from: user(),
        at: Timestamp(1),
        cm_id: None,
        digest: 0,
        body: Body::text("hi"),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv: conv(),
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}

/// A store with one group, and what is below it.
async fn store() -> (Arc<FaultyStore>, Arc<MemoryStore>) {
    let inner = Arc::new(MemoryStore::new());
    let group = NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members: vec![(user(), Role::Owner)],
    };
    let create = Commit {
        writes: vec![Write::Create(group)],
        ..append()
    };
    assert!(inner.commit(&[create]).await[0].is_ok());
    let below = Arc::<MemoryStore>::clone(&inner);
    (Arc::new(FaultyStore::new(below)), inner)
}

async fn head(store: &MemoryStore) -> Seq {
    let view = store.view(&conv(), &[]).await.unwrap();
    view.unwrap().conversation.head
}

/// Writes once; how it failed, if it did.
async fn write(store: &FaultyStore) -> Option<PortErrorKind> {
    let mut answers = store.commit(&[append()]).await;
    assert_eq!(answers.len(), 1);
    match answers.remove(0) {
        Ok(_) => None,
        Err(Rejected::Store(error)) => Some(error.kind()),
        Err(other) => panic!("{other:?}"),
    }
}

/// Every read once; how each failed, if it did.
async fn reads(store: &FaultyStore) -> Vec<Option<PortErrorKind>> {
    let key = RecordKey::Answer {
        user: user(),
        key: "k".to_owned(),
    };
    let query = LogQuery::After {
        seq: Seq(0),
        limit: 1,
        bytes: 1,
    };
    let failures = [
        store.view(&conv(), &[]).await.err(),
        store.members(&conv(), None, 1).await.err(),
        store.log(&conv(), query).await.err(),
        store
            .memberships(&user(), &Stamps::START, 1, true)
            .await
            .err(),
        store.changed(&Stamps::START, 1).await.err(),
        store.record(&key, Timestamp(0)).await.err(),
    ];
    failures.map(|it| it.map(|error| error.kind())).into()
}

#[tokio::test]
async fn a_failed_write_may_have_happened_or_not() {
    let (store, inner) = store().await;
    for (fault, stored) in [(Fault::FailBefore, 0), (Fault::FailAfter, 1)] {
        store.set_writes(Some(fault));
        assert_eq!(write(&store).await, Some(PortErrorKind::Unavailable));
        assert_eq!(head(&inner).await, Seq(stored));
        assert_eq!(reads(&store).await, [None; 6]);
    }
    store.set_writes(None);
    assert_eq!(write(&store).await, None);
    assert_eq!(head(&inner).await, Seq(2));
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let (store, inner) = store().await;
    store.set_writes(Some(Fault::Full));
    let answers = store.commit(&[append(), append()]).await;
    for answer in &answers {
        assert!(matches!(answer, Err(Rejected::Store(error))
            if error.kind() == PortErrorKind::Exhausted && error.is_retryable()));
    }
    assert_eq!(answers.len(), 2);
    assert_eq!(reads(&store).await, [None; 6]);
    assert_eq!(head(&inner).await, Seq(0));
    store.set_writes(None);
    assert_eq!(write(&store).await, None);
}

#[tokio::test]
async fn reads_fail_by_themselves() {
    let (store, _) = store().await;
    store.set_reads(Some(Fault::FailBefore));
    assert_eq!(reads(&store).await, [Some(PortErrorKind::Unavailable); 6]);
    assert_eq!(write(&store).await, None);
    store.set_reads(None);
    assert_eq!(reads(&store).await, [None; 6]);
}

#[tokio::test]
async fn only_the_next_write_fails() {
    let (store, inner) = store().await;
    store.fail_next_write(Fault::FailAfter);
    assert_eq!(write(&store).await, Some(PortErrorKind::Unavailable));
    assert_eq!(write(&store).await, None);
    assert_eq!(head(&inner).await, Seq(2));
}

#[tokio::test(start_paused = true)]
async fn what_hangs_goes_on_when_the_fault_ends() {
    for (fault, meanwhile) in [(Fault::Hang, 0), (Fault::HangAfter, 1)] {
        let (store, inner) = store().await;
        store.set_writes(Some(fault));
        let hanging = tokio::spawn({
            let store = Arc::clone(&store);
            async move { write(&store).await }
        });
        tokio::time::sleep(LONG).await;
        assert!(!hanging.is_finished());
        assert_eq!(head(&inner).await, Seq(meanwhile));
        store.set_writes(None);
        assert_eq!(hanging.await.unwrap(), None);
        assert_eq!(head(&inner).await, Seq(1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_hangs_and_is_given_up_has_not_happened() {
    let (store, inner) = store().await;
    store.set_writes(Some(Fault::Hang));
    assert!(timeout(LONG, write(&store)).await.is_err());
    store.set_writes(None);
    assert_eq!(write(&store).await, None);
    assert_eq!(head(&inner).await, Seq(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_delayed_happens_after_the_wait() {
    let (store, inner) = store().await;
    let wait = Duration::from_millis(300);
    store.set_writes(Some(Fault::Delay(wait)));
    store.set_reads(Some(Fault::Delay(wait)));
    let start = tokio::time::Instant::now();
    assert_eq!(write(&store).await, None);
    assert!(start.elapsed() >= wait);
    assert_eq!(head(&inner).await, Seq(1));
    assert_eq!(reads(&store).await, [None; 6]);
    assert!(start.elapsed() >= wait * 7);
}
