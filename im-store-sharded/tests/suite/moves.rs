//! One slot on its way, step by step.

use im_core::model::{FactKey, FactTable, Kind, Seq, Slot, Stamps, Timestamp};
use im_core::port::{
    CargoQuery, FactQuery, Phase, Put, RecordKey, Rejected, Store as _, Was, Write,
};
use im_store_sharded::{MoveError, Mover, Sharded, Step};

use crate::kit::*;
use crate::memories;

/// Steps of a move of little.
const STEPS: [Step; 8] = [
    Step::Begun,
    Step::Copied,
    Step::Closed,
    Step::CopiedRest,
    Step::Opened,
    Step::Left,
    Step::Forgotten,
    Step::Done,
];

/// A conversation with a bit of everything, in the first of two databases.
async fn begin() -> (Service, Slot) {
    let service = Service::on(memories(2)).await;
    let g = conv("g");
    let slot = Slot::of(&g);
    let node = &service.nodes[0];
    if node.shard_of(&g) == 1 {
        Mover::new(node, slot, 0, 9).unwrap().run().await.unwrap();
    }
    let made = vec![group(&["al", "bo", "cy"]), record("k", "1")];
    give(node, commit(&g, made)).await.unwrap();
    for n in 0..3 {
        say(node, &g, &n.to_string()).await;
    }
    let gone = im_core::port::MemberChange {
        user: user("cy"),
        op: im_core::port::MemberOp::Remove,
    };
    let left = vec![
        entry("al", "bye", "bye"),
        Write::Member(gone),
        read_up_to("bo", 2),
    ];
    give(node, commit(&g, left)).await.unwrap();
    (service, slot)
}

/// All that can be read of it.
async fn all(node: &Sharded) -> String {
    let g = conv("g");
    let view = node.view(&g, &["al", "bo", "cy"].map(user)).await.unwrap();
    let lists = async |who| list(node, who, &Stamps::START).await.0;
    let key = node.record(&answer("k"), Timestamp(0)).await.unwrap();
    let (al, cy) = (lists("al").await, lists("cy").await);
    format!(
        "{view:?} {:?} {al:?} {cy:?} {key:?}",
        log(node, &g, 0).await
    )
}

#[tokio::test(start_paused = true)]
async fn a_slot_moves_with_all_that_is_in_it() {
    let (service, slot) = begin().await;
    let [near, far] = &service.nodes;
    let (before, since) = (all(near).await, list(near, "al", &Stamps::START).await.1);
    let mut mover = Mover::new(&service.operator, slot, 1, 4).unwrap();
    for expected in STEPS {
        assert_eq!(mover.step().await.unwrap(), expected);
        for node in &service.nodes {
            assert_eq!(all(node).await, before, "after {expected:?}");
        }
    }
    let g = conv("g");
    assert_eq!(far.shard_of(&g), 1);
    // A retry is still one, a request that was done is still done, and a list goes on.
    assert!(say(near, &g, "1").await.dup);
    let again = give(
        far,
        commit(&conv("h"), vec![group(&["al"]), record("k", "2")]),
    )
    .await;
    assert!(matches!(again, Err(Rejected::Done(value)) if value == "1"));
    let again = give(far, commit(&g, vec![record("k", "2")])).await;
    assert!(matches!(again, Err(Rejected::Done(value)) if value == "1"));
    let changed = list(near, "al", &since).await.0;
    assert_eq!(changed.len(), 1, "what moved is a change");
    for query in [CargoQuery::Conversations(None), CargoQuery::Members(None)] {
        let left = service.shards[0].cargo(slot, &query, 9).await.unwrap();
        assert_eq!(left, Default::default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_mover_that_dies_after_any_step_is_followed_by_another() {
    for died_after in 0..STEPS.len() {
        let (service, slot) = begin().await;
        let [near, far] = &service.nodes;
        let g = conv("g");
        let mut mover = Mover::new(&service.operator, slot, 1, 4).unwrap();
        for _ in 0..died_after {
            mover.step().await.unwrap();
        }
        let before = all(near).await;
        // While it is closed, one waits in vain; it is read all the same.
        let waits = give(far, commit(&g, vec![entry("al", "new", "new")])).await;
        let is_closed = (3..=4).contains(&died_after);
        assert_eq!(waits.is_err(), is_closed, "{died_after}: {waits:?}");
        if is_closed {
            assert_eq!(all(near).await, before);
            let started = tokio::time::Instant::now();
            let again = give(far, commit(&g, vec![entry("al", "new", "new")])).await;
            assert!(
                again.is_err() && started.elapsed().is_zero(),
                "nobody waits twice"
            );
        }
        let mut next = Mover::new(&service.operator, slot, 1, 5).unwrap();
        if (1..=4).contains(&died_after) {
            assert!(matches!(next.step().await, Err(MoveError::Busy { .. })));
            service.clock.jump();
        }
        next.run().await.unwrap();
        assert_eq!(say(far, &g, "new").await.dup, !is_closed);
        assert_eq!(texts(near, &g).await, ["0", "1", "2", "bye", "new"]);
        // There and back.
        let mut back = Mover::new(&service.operator, slot, 0, 6).unwrap();
        back.run().await.unwrap();
        assert_eq!(texts(near, &g).await, ["0", "1", "2", "bye", "new"]);
        assert_eq!(near.shard_of(&g), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mover_that_others_overtook_there_and_back_begins_anew() {
    for stopped_after in 0..STEPS.len() {
        let (service, slot) = begin().await;
        let node = &service.nodes[0];
        let g = conv("g");
        let mut stopped = Mover::new(&service.operator, slot, 1, 4).unwrap();
        for _ in 0..stopped_after {
            stopped.step().await.unwrap();
        }
        service.clock.jump();
        for (to, id) in [(1, 5), (0, 6)] {
            let mut other = Mover::new(&service.operator, slot, to, id).unwrap();
            other.run().await.unwrap();
        }
        say(node, &g, "new").await;
        stopped.run().await.unwrap();
        let there = texts(node, &g).await;
        assert_eq!(
            there,
            ["0", "1", "2", "bye", "new"],
            "stopped after {stopped_after}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_closed_is_not_read_there_once_it_is_open_elsewhere() {
    let (service, slot) = begin().await;
    let [near, far] = &service.nodes;
    let g = conv("g");
    let mut mover = Mover::new(&service.operator, slot, 1, 4).unwrap();
    while mover.step().await.unwrap() != Step::CopiedRest {}
    // This is the last that it hears: it is closed, and read where it was.
    assert_eq!(texts(far, &g).await.len(), 4);
    assert!(
        give(far, commit(&g, vec![entry("al", "x", "x")]))
            .await
            .is_err()
    );
    assert_eq!(mover.step().await.unwrap(), Step::Opened);
    say(near, &g, "new").await;
    assert_eq!(texts(far, &g).await.len(), 5);
    let (lines, _) = list(far, "al", &Stamps::START).await;
    assert_eq!(lines[0].conversation.head.0, 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_mover_sends_late_is_refused() {
    let (service, slot) = begin().await;
    let mut dead = Mover::new(&service.operator, slot, 1, 4).unwrap();
    for _ in 0..3 {
        dead.step().await.unwrap();
    }
    service.clock.jump();
    let mut next = Mover::new(&service.operator, slot, 1, 5).unwrap();
    assert_eq!(next.step().await.unwrap(), Step::Begun, "it takes over");
    let late = im_core::port::Cargo {
        records_anew: true,
        ..Default::default()
    };
    let refused = service.shards[1]
        .receive(slot, 4, Timestamp(0), &late)
        .await;
    assert_eq!(
        refused.unwrap_err().kind(),
        im_core::port::PortErrorKind::Fenced
    );
    assert!(matches!(dead.step().await, Err(MoveError::Busy { .. })));
    next.run().await.unwrap();
    assert_eq!(
        texts(&service.nodes[0], &conv("g")).await,
        ["0", "1", "2", "bye"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_closed_goes_where_it_was_sent() {
    let service = Service::on(memories(3)).await;
    let slot = Slot::new(0).unwrap();
    let mut first = Mover::new(&service.operator, slot, 1, 4).unwrap();
    first.step().await.unwrap();
    let mut other = Mover::new(&service.operator, slot, 2, 5).unwrap();
    assert!(matches!(other.step().await, Err(MoveError::Busy { .. })));
    for _ in 0..2 {
        first.step().await.unwrap();
    }
    service.clock.jump();
    for to in [0, 2] {
        let mut other = Mover::new(&service.operator, slot, to, 6).unwrap();
        let refused = other.step().await;
        assert!(
            matches!(refused, Err(MoveError::OnItsWay { to: 1, .. })),
            "{refused:?}"
        );
    }
    Mover::new(&service.operator, slot, 1, 7)
        .unwrap()
        .run()
        .await
        .unwrap();
    other.run().await.unwrap();
    let held = service.operator.holdings().await.unwrap();
    let found = held.iter().map(|held| held.of(slot).map(|held| held.phase));
    assert_eq!(found.collect::<Vec<_>>(), [None, None, Some(Phase::Open)]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_given_up_is_no_harm() {
    let (service, slot) = begin().await;
    let service = {
        // A third database, added later.
        let more = [service.shards, memories(1)].concat();
        Service::on(more).await
    };
    let node = &service.nodes[0];
    let mut given_up = Mover::new(&service.operator, slot, 2, 4).unwrap();
    for _ in 0..2 {
        given_up.step().await.unwrap();
    }
    service.clock.jump();
    let g = conv("g");
    for (to, text) in [(1, "a"), (2, "b"), (0, "c")] {
        say(node, &g, text).await;
        Mover::new(&service.operator, slot, to, 5)
            .unwrap()
            .run()
            .await
            .unwrap();
        assert_eq!(
            node.view(&g, &[])
                .await
                .unwrap()
                .unwrap()
                .conversation
                .member_count,
            2
        );
    }
    assert_eq!(texts(node, &g).await, ["0", "1", "2", "bye", "a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_block_moves_with_the_direct_conversation_of_the_two() {
    let service = Service::on(memories(2)).await;
    let [near, far] = &service.nodes;
    let (al, bo) = (user("al"), user("bo"));
    let id = im_core::model::direct_id(&al, &bo);
    let key = RecordKey::Block {
        user: al.clone(),
        other: bo.clone(),
    };
    let set = |on| {
        let (user, other) = (al.clone(), bo.clone());
        commit(&id, vec![Write::Block { user, other, on }])
    };
    for (round, to) in [1 - near.shard_of(&id), near.shard_of(&id)]
        .into_iter()
        .enumerate()
    {
        let on = round == 0;
        give(near, set(on)).await.unwrap();
        let mut mover = Mover::new(&service.operator, Slot::of(&id), to, 4).unwrap();
        for _ in 0..STEPS.len() + 1 {
            let found = far.record(&key, Timestamp(0)).await.unwrap();
            assert_eq!(found.is_some(), on);
            let _ = mover.step().await.unwrap();
        }
    }
}

/// Facts of a conversation and of two users are whole in every list while their slots move, there
/// and back, and what was removed does not come again.
#[tokio::test(start_paused = true)]
async fn facts_move_with_what_they_are_placed_with() {
    let service = Service::on(memories(2)).await;
    let [near, far] = &service.nodes;
    let put = |key: FactKey, to: Option<&str>| {
        let place = key.place().unwrap();
        let to = to.map(|to| (to.to_owned(), Some(Timestamp(1))));
        let was = Was::Any;
        commit(&place, vec![Write::Put(Put { key, to, was })])
    };
    let friend = |n: u32| FactKey::new(FactTable::Friend, "al", format!("u{n:02}"));
    for n in 0..20 {
        give(near, put(friend(n), Some("1"))).await.unwrap();
    }
    let list = FactQuery::Of {
        table: FactTable::Friend,
        owner: "al".to_owned(),
        after: None,
        below: None,
        limit: 7,
    };
    let due = FactQuery::Due {
        table: FactTable::Friend,
        until: Timestamp(1),
        limit: 100,
    };
    let id = friend(3).place().unwrap();
    for (round, to) in [1 - near.shard_of(&id), near.shard_of(&id)]
        .into_iter()
        .enumerate()
    {
        let mut mover = Mover::new(&service.operator, Slot::of(&id), to, 4).unwrap();
        for _ in 0..STEPS.len() + 1 {
            let expected: Vec<_> = (0..20).filter(|n| round == 0 || *n != 3).collect();
            let found = far.facts(&list).await.unwrap();
            let found: Vec<_> = found.into_iter().map(|fact| fact.key).collect();
            let first: Vec<_> = expected.iter().take(7).map(|n| friend(*n)).collect();
            assert_eq!(found, first);
            assert_eq!(far.facts(&due).await.unwrap().len(), expected.len());
            let _ = mover.step().await.unwrap();
        }
        give(near, put(friend(3), None)).await.unwrap();
    }
}

/// What is erased between the two copies of a move is not there after it.
#[tokio::test(start_paused = true)]
async fn what_is_erased_during_a_move_stays_erased() {
    for at in 0..STEPS.len() {
        let service = Service::on(memories(2)).await;
        let [near, far] = &service.nodes;
        let g = conv("g");
        give(near, commit(&g, vec![group(&["al"])])).await.unwrap();
        for n in 0..3 {
            say(near, &g, &n.to_string()).await;
        }
        let to = 1 - near.shard_of(&g);
        let mut mover = Mover::new(&service.operator, Slot::of(&g), to, 4).unwrap();
        let mut erased = false;
        for step in 0..=STEPS.len() {
            if step >= at && !erased {
                // Refused while the slot is closed: then after it.
                let erase = commit(&g, vec![Write::Erase(vec![Seq(2)])]);
                erased = give(near, erase).await.is_ok();
            }
            let _ = mover.step().await.unwrap();
        }
        assert!(erased);
        let kinds: Vec<_> = log(far, &g, 0).await;
        let kinds: Vec<_> = kinds.iter().map(|entry| entry.body.kind()).collect();
        let expected = [Kind::Text, Kind::Erased, Kind::Text];
        assert_eq!(kinds, expected, "erased at step {at}");
    }
}
