//! What gets nowhere waits, and goes on when it can.

use std::sync::Arc;
use std::time::Duration;

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, CursorMove, NewConversation, Store, Write};
use im_store_tiered::{Durability, Tiered};
use im_testkit::memory::{MemoryHot, MemoryStore};
use im_testkit::sim::{Gate, SimHot, SimStore, StoreFault, StoreWeather};

/// Two nodes over one tier and one store, in fair weather; time is paused.
struct Place {
    hot: Arc<SimHot>,
    cold: Arc<SimStore>,
    nodes: [Tiered; 2],
}

fn commit(writes: Vec<Write>) -> Commit {
    Commit {
        conv: ConversationId::new("c").unwrap(),
        expect_version: None,
        actor: None,
        writes,
    }
}

fn say(n: u64) -> Write {
    Write::Append(NewEntry {
        id: MessageId(n),
        from: UserId::new("al").unwrap(),
        at: Timestamp(1),
        cm_id: Some(CmId::new(format!("m{n}")).unwrap()),
        digest: 1,
        body: Body::text("x"),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    })
}

async fn give(node: &Tiered, commit: Commit) -> Seq {
    let done = node.commit(&[commit]).await.remove(0).unwrap();
    done.version
}

impl Place {
    async fn new(durability: Durability) -> Self {
        let (calm, gate) = (StoreWeather::default(), Arc::<Gate>::default());
        let hot = Arc::new(SimHot::new(Arc::new(MemoryHot::default()), calm, 1));
        let cold = Arc::new(SimStore::new(Arc::new(MemoryStore::new()), calm, 2));
        let node = || {
            let (hot, cold) = (
                hot.of_node(Arc::clone(&gate)),
                cold.of_node(Arc::clone(&gate)),
            );
            Tiered::start(Arc::new(hot), Arc::new(cold), super::options(durability))
        };
        let nodes = [node(), node()];
        let place = Self { hot, cold, nodes };
        let begin = Write::Create(NewConversation {
            kind: ConversationKind::Group,
            title: None,
            hide_history: false,
            members: vec![(UserId::new("al").unwrap(), Role::Owner)],
        });
        give(&place.nodes[0], commit(vec![begin, say(1)])).await;
        give(&place.nodes[0], commit(vec![say(2)])).await;
        place
    }

    fn nobody_circled(&self) {
        assert!(!self.hot.has_circled() && !self.cold.has_circled());
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_taken_back_while_the_tier_was_away_is_appended_to_again() {
    let place = Place::new(Durability::Committed).await;
    place.hot.set_fault(Some(StoreFault::Away));
    let title = Write::Title(Some("t".to_owned()));
    let version = give(&place.nodes[0], commit(vec![say(3), title])).await;
    place.hot.set_fault(None);
    for (n, node) in (4..).zip(&place.nodes) {
        let decided = Commit {
            expect_version: Some(version),
            actor: Some(UserId::new("al").unwrap()),
            ..commit(vec![say(n)])
        };
        give(node, decided).await;
    }
    place.nobody_circled();
}

#[tokio::test(start_paused = true)]
async fn a_flusher_whose_cursors_the_store_does_not_take_waits() {
    let place = Place::new(Durability::Cached).await;
    place.nodes[0].settled().await.unwrap();
    place.cold.set_fault(Some(StoreFault::Away));
    let read = Write::Cursor(CursorMove {
        user: UserId::new("al").unwrap(),
        delivered: None,
        read: Some(Seq(2)),
    });
    give(&place.nodes[0], commit(vec![read])).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    place.nobody_circled();
    place.cold.set_fault(None);
    place.nodes[0].settled().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flusher_of_which_the_tier_takes_no_word_waits() {
    let place = Place::new(Durability::Committed).await;
    place.cold.set_fault(Some(StoreFault::Away));
    let unanswered = place.nodes[0].commit(&[commit(vec![say(3)])]).await;
    assert!(unanswered[0].is_err());
    // It can be read and not written.
    place.hot.set_fault(Some(StoreFault::Full));
    place.cold.set_fault(None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    place.nobody_circled();
    place.hot.set_fault(None);
    give(&place.nodes[0], commit(vec![say(3)])).await;
}
