//! Search over several databases, also when a slot has moved.

use im_core::model::{ConversationId, Slot};
use im_core::port::{Find, Search as _, Store as _};
use im_core::rule::Words;
use im_store_sharded::{Mover, Sharded};

use crate::kit::{Service, commit, conv, entry, group, user};
use crate::memories;
use crate::servers::{Kind, shards};

/// Steps that are enough for what is written here.
const STEPS: usize = 100;

mod in_memory {
    im_testkit::search_suite!(crate::searched());
}

async fn found(on: &Sharded, words: &str) -> Vec<(ConversationId, u64)> {
    let find = Find {
        user: user("al"),
        words: Words::of(words).unwrap(),
        conv: None,
        from: None,
        kind: None,
        since: None,
        until: None,
        before: None,
        limit: 100,
    };
    let found = on.find(&find).await.unwrap();
    assert!(found.is_whole && found.next.is_none());
    let entries = found.entries.into_iter();
    entries.map(|it| (it.conv.clone(), it.seq.0)).collect()
}

/// Everything goes into the index.
async fn index(on: &Sharded) {
    for _ in 0..STEPS {
        if !on.index().await.unwrap() {
            return;
        }
    }
    panic!("the index has no end");
}

async fn what_moved_is_found_where_it_is(service: Service) {
    let [node, _] = &service.nodes;
    let ids: Vec<_> = (0..8).map(|n| conv(&format!("c{n}"))).collect();
    for id in &ids {
        let batch = [
            commit(id, vec![group(&["al"])]),
            commit(id, vec![entry("al", "m1", "apple one")]),
            commit(id, vec![entry("al", "m2", "apple two")]),
        ];
        assert!(node.commit(&batch).await.iter().all(Result::is_ok));
    }
    index(node).await;
    assert_eq!(found(node, "apple").await.len(), 16);
    let here = ids.iter().find(|id| node.shard_of(id) == 0).unwrap();
    let slot = Slot::of(here);
    for to in [1, 0, 1] {
        let mut mover = Mover::new(&service.operator, slot, to, 1).unwrap();
        mover.run().await.unwrap();
        // Before it is in the index there, and after.
        assert_eq!(found(node, "apple").await.len(), 16);
        index(node).await;
        assert_eq!(found(node, "apple").await.len(), 16);
    }
    let one = found(node, "one").await;
    assert_eq!(one.len(), 8);
    assert!(one.contains(&(here.clone(), 1)));
}

#[tokio::test]
async fn what_moved_is_found_in_memory() {
    what_moved_is_found_where_it_is(Service::on(memories(2)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_is_found_on_servers() {
    for kinds in [
        [Kind::Postgres; 2],
        [Kind::MySql; 2],
        [Kind::Postgres, Kind::MySql],
    ] {
        if let Some((places, shards)) = shards(kinds).await {
            what_moved_is_found_where_it_is(Service::on(shards).await).await;
            drop(places);
        }
    }
}
