//! Databases that are put together, and those that don't belong together.

use std::sync::Arc;

use im_core::model::Slot;
use im_core::port::{Place, Rejected, Shard, Store as _};
use im_store_sharded::{Mover, Sharded, ShardsError};

use crate::kit::*;
use crate::memories;

async fn refused(shards: Vec<Arc<dyn Shard>>) -> ShardsError {
    Sharded::open(shards)
        .await
        .expect_err("they don't belong together")
}

async fn counts(store: &Sharded) -> Vec<usize> {
    let held = store.holdings().await.unwrap();
    held.iter().map(|held| held.slots.len()).collect()
}

#[tokio::test]
async fn databases_that_are_new_share_the_slots() {
    let store = Sharded::open(memories(3)).await.unwrap();
    assert_eq!(counts(&store).await, [342, 341, 341]);
}

#[tokio::test]
async fn a_database_that_was_one_alone_begins_with_every_slot() {
    let shards = memories(2);
    let made = commit(&conv("g"), vec![group(&["al"])]);
    assert!(shards[0].commit(&[made]).await[0].is_ok());
    assert!(matches!(
        refused(vec![Arc::clone(&shards[1]), Arc::clone(&shards[0])]).await,
        ShardsError::Occupied(1)
    ));
    // Refused, it has made no shard of the one that has them.
    let store = Sharded::open(shards.clone()).await;
    let store = store.unwrap();
    assert_eq!(counts(&store).await, [1_024, 0]);
    assert_eq!(list(&store, "al", &Default::default()).await.0.len(), 1);
    // Later there is one more.
    let more = [shards, memories(1)].concat();
    assert_eq!(
        counts(&Sharded::open(more).await.unwrap()).await,
        [1_024, 0, 0]
    );
}

#[tokio::test]
async fn what_was_begun_by_one_is_finished_by_another() {
    let shards = memories(3);
    let place = Place { set: 5, at: 1 };
    let share: Vec<_> = Slot::all()
        .filter(|slot| (342..683).contains(&slot.number()))
        .collect();
    shards[1].enroll(place, &share).await.unwrap();
    let store = Sharded::open(shards).await.unwrap();
    assert_eq!(counts(&store).await, [342, 341, 341]);
    let held = store.holdings().await.unwrap();
    assert!(held.iter().all(|held| held.place.unwrap().set == 5));
}

#[tokio::test]
async fn databases_in_another_order_are_refused() {
    let (one, other) = (memories(3), memories(3));
    for shards in [&one, &other] {
        Sharded::open(shards.clone()).await.unwrap();
    }
    let pick = |from: &[usize]| from.iter().map(|at| Arc::clone(&one[*at])).collect();
    assert!(matches!(
        refused(pick(&[0, 2, 1])).await,
        ShardsError::Order { given: 1, found: 2 }
    ));
    assert!(matches!(
        refused(pick(&[0, 1])).await,
        ShardsError::Orphan(_)
    ));
    assert!(matches!(
        refused(vec![Arc::clone(&one[0]), Arc::clone(&other[1])]).await,
        ShardsError::Foreign(1)
    ));
    assert!(matches!(
        refused(memories(17)).await,
        ShardsError::Count(17)
    ));
    assert!(matches!(refused(memories(0)).await, ShardsError::Count(0)));
}

#[tokio::test]
async fn a_request_for_another_conversation_is_found_in_every_database() {
    let store = Sharded::open(memories(4)).await.unwrap();
    let make = |n: usize| {
        let id = conv(&format!("g{n}"));
        commit(&id, vec![group(&["al"]), record("k", id.as_str())])
    };
    // One batch, and later ones: to whichever database.
    let batch: Vec<_> = (0..20).map(make).collect();
    let answers = store.commit(&batch).await;
    let done = answers.iter().filter(|it| it.is_ok()).count();
    assert_eq!(done, 1, "{answers:?}");
    for n in 20..40 {
        let answer = give(&store, make(n)).await;
        assert!(matches!(answer, Err(Rejected::Done(_))), "{answer:?}");
    }
    assert_eq!(list(&store, "al", &Default::default()).await.0.len(), 1);
}

#[tokio::test]
async fn there_is_no_move_to_a_database_that_is_not_there() {
    let store = Sharded::open(memories(2)).await.unwrap();
    assert!(Mover::new(&store, Slot::new(0).unwrap(), 2, 1).is_err());
}
