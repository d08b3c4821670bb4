//! A log of which the tier keeps the end only: answers and reads are as if it kept all.

use std::sync::Arc;

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, Committed, Hot, NewConversation, Rejected, Store as _, Write};
use im_store_tiered::{Durability, Tiered};
use im_testkit::memory::{MemoryHot, MemoryStore};

use crate::{options, servers};

/// Some time in 2026: younger than what [`servers::hot_options`] drops for its age.
const AT: Timestamp = Timestamp(1_790_000_000_000);

fn commit(writes: Vec<Write>) -> Commit {
    Commit {
        conv: ConversationId::new("g").unwrap(),
        expect_version: None,
        actor: None,
        writes,
    }
}

fn user() -> UserId {
    UserId::new("al").unwrap()
}

/// One message for each of these numbers, each under its own id.
fn messages(numbers: &[u64]) -> Commit {
    let messages = numbers.iter().map(|n| {
        Write::Append(NewEntry {
            id: MessageId(*n),
            from: user(),
            at: AT,
            cm_id: Some(CmId::new(format!("m{n}")).unwrap()),
            digest: *n,
            body: Body::text("x"),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        })
    });
    commit(messages.collect())
}

async fn done(store: &Tiered, commit: Commit) -> Result<Committed, Rejected> {
    store.commit(&[commit]).await.remove(0)
}

/// A retry of a commit of which the tier keeps the last entry only is found whole.
async fn a_retry_over_the_seam_is_found(hot: Arc<dyn Hot>) {
    let options = options(Durability::Cached);
    let store = Tiered::start(hot, Arc::new(MemoryStore::new()), options);
    let group = NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members: vec![(user(), Role::Owner)],
    };
    done(&store, commit(vec![Write::Create(group)]))
        .await
        .unwrap();
    done(&store, messages(&[1, 2, 3])).await.unwrap();
    store.settled().await.unwrap();
    let again = done(&store, messages(&[1, 2, 3])).await.unwrap().appended;
    let places: Vec<_> = again.iter().map(|it| (it.seq, it.id, it.dup)).collect();
    let place = |n| (Seq(n), MessageId(n), true);
    assert_eq!(places, [place(1), place(2), place(3)]);
    for mixed in [[4, 3], [1, 4], [2, 4]] {
        let refused = done(&store, messages(&mixed)).await;
        assert!(matches!(refused, Err(Rejected::CmIdReused)), "{refused:?}");
    }
    let new = done(&store, messages(&[4])).await.unwrap().appended[0];
    assert_eq!((new.seq, new.dup), (Seq(4), false));
}

#[test]
fn a_retry_over_the_seam_is_found_in_memory() {
    let hot = Arc::new(MemoryHot::new(1, 100_000));
    im_testkit::suite::run_case(a_retry_over_the_seam_is_found(hot));
}

#[test]
fn a_retry_over_the_seam_is_found_on_redis() {
    im_testkit::suite::run_case(async {
        if let Some((_keys, hot)) = servers::redis(1).await {
            a_retry_over_the_seam_is_found(hot).await;
        }
    });
}
