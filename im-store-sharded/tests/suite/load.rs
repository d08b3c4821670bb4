//! Slots that move there and back under writers and readers: nothing is lost, doubled or out of
//! order, lists and sweeps are whole, and movers die at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use im_core::model::{ConversationId, Seq, Slot, Stamps};
use im_core::port::{CargoQuery, Rejected, Shard, Store as _};
use im_store_sharded::{MoveError, Mover, Sharded};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::kit::*;
use crate::memories;

/// Conversations that are written to.
const GROUPS: usize = 24;
/// With fewer sends there was no load.
const SENDS_MIN: u64 = 50;
/// How much longer than it is meant to a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who write.
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_three_in_memory_move_under_load() {
    under_load(memories(3), Duration::from_secs(3), 1).await;
}

/// What was answered, and what may be told of it.
struct World {
    service: Service,
    groups: Vec<ConversationId>,
    /// Entries by their place, and the text that was answered `sent`.
    sent: Mutex<BTreeMap<(ConversationId, Seq), String>>,
    is_over: AtomicBool,
    sends: AtomicU64,
    moves: AtomicU64,
}

impl World {
    /// Whether there was anything that could have gone wrong.
    fn has_enough(&self) -> bool {
        let (sends, moves) = (&self.sends, &self.moves);
        sends.load(Ordering::Relaxed) > SENDS_MIN && moves.load(Ordering::Relaxed) > 1
    }
}

/// Runs writers, readers and movers for so long, then looks at everything.
pub(crate) async fn under_load(shards: Vec<Arc<dyn Shard>>, time: Duration, seed: u64) {
    let groups: Vec<_> = (0..GROUPS).map(|n| conv(&format!("g{n}"))).collect();
    let service = Service::on(shards).await;
    for id in &groups {
        give(&service.nodes[0], commit(id, vec![group(&["al", "bo"])]))
            .await
            .unwrap();
    }
    let world = Arc::new(World {
        service,
        groups,
        sent: Mutex::default(),
        is_over: AtomicBool::new(false),
        sends: AtomicU64::new(0),
        moves: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(write(Arc::clone(&world), writer));
    }
    for node in 0..2 {
        tasks.spawn(look_at_lists(Arc::clone(&world), node));
        tasks.spawn(follow(Arc::clone(&world), node));
    }
    tasks.spawn(move_slots(
        Arc::clone(&world),
        fastrand::Rng::with_seed(seed),
    ));
    let began = Instant::now();
    while began.elapsed() < time || !world.has_enough() && began.elapsed() < time + PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.is_over.store(true, Ordering::Release);
    tasks.join_all().await;
    everything_is_there(&world).await;
    nothing_is_left_behind(&world).await;
}

/// Sends, each again until it is answered, and now and then once more after that.
async fn write(world: Arc<World>, writer: usize) {
    let from = format!("w{writer}");
    let mut n = 0_usize;
    while !world.is_over.load(Ordering::Acquire) {
        n += 1;
        let id = &world.groups[(n * 7 + writer * 5) % GROUPS];
        let node = &world.service.nodes[(n + writer) % 2];
        let text = format!("{from} {n:08}");
        let send = || {
            commit(
                id,
                vec![entry(&from, &text, &text), read_up_to("bo", n as u64)],
            )
        };
        let done = persist(node, send).await;
        world.sends.fetch_add(1, Ordering::Relaxed);
        let place = (id.clone(), done);
        assert_eq!(
            world.sent.lock().insert(place, text.clone()),
            None,
            "a place twice"
        );
        // Read it where it was not written.
        let other = &world.service.nodes[(n + writer + 1) % 2];
        let found = log(other, id, done.0 - 1).await;
        assert_eq!(
            found[0].body.as_text().as_ref(),
            Some(&text),
            "a later read sees it"
        );
        if n.is_multiple_of(9) {
            assert_eq!(
                persist(other, send).await,
                done,
                "a retry has the first answer"
            );
        }
        tokio::task::yield_now().await;
    }
}

async fn persist(node: &Sharded, send: impl Fn() -> im_core::port::Commit) -> Seq {
    for _ in 0..100 {
        match give(node, send()).await {
            Ok(done) => return done.appended[0].seq,
            Err(Rejected::Store(error)) if error.is_retryable() => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("no answer in a hundred tries");
}

impl World {
    /// How far each conversation is, at least.
    fn heads(&self) -> BTreeMap<ConversationId, Seq> {
        let sent = self.sent.lock();
        sent.keys().map(|(id, seq)| (id.clone(), *seq)).collect()
    }

    fn whole(&self) -> BTreeSet<ConversationId> {
        self.groups.iter().cloned().collect()
    }
}

/// Every list is whole, and as new as what was answered before it was asked for.
async fn look_at_lists(world: Arc<World>, node: usize) {
    while !world.is_over.load(Ordering::Acquire) {
        let heads = world.heads();
        let (lines, _) = list(&world.service.nodes[node], "al", &Stamps::START).await;
        let found: BTreeMap<_, _> = lines
            .into_iter()
            .map(|line| (line.conversation.id, line.conversation.head))
            .collect();
        let ids: BTreeSet<_> = found.keys().cloned().collect();
        assert_eq!(ids, world.whole(), "a list is whole");
        for (id, head) in heads {
            assert!(
                found[&id] >= head,
                "{id}: {} is older than {head}",
                found[&id]
            );
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Who goes on from their stamps misses nothing, in lists and in sweeps.
async fn follow(world: Arc<World>, node: usize) {
    let store = &world.service.nodes[node];
    let (mut since, mut listed) = (Stamps::START, BTreeMap::new());
    let (mut swept_to, mut swept) = (Stamps::START, BTreeMap::new());
    loop {
        let is_last = world.is_over.load(Ordering::Acquire);
        let (lines, to) = list(store, "al", &since).await;
        since = to;
        listed.extend(
            lines
                .into_iter()
                .map(|it| (it.conversation.id, it.conversation.head)),
        );
        loop {
            let page = store.changed(&swept_to, 16).await.unwrap();
            for changed in page.convs {
                let known = swept.entry(changed.conv).or_insert(changed.head);
                *known = changed.head.max(*known);
            }
            swept_to = page.stamps;
            if !page.more {
                break;
            }
        }
        if is_last {
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    // Writers may have had one more in hand; one that is answered after this is not meant.
    let heads = world.heads();
    let (lines, _) = list(store, "al", &since).await;
    listed.extend(
        lines
            .into_iter()
            .map(|it| (it.conversation.id, it.conversation.head)),
    );
    for (id, head) in heads {
        let listed = listed.get(&id);
        assert!(
            listed >= Some(&head),
            "{id}: {listed:?} listed, {head} answered"
        );
    }
    assert_eq!(
        swept.keys().cloned().collect::<BTreeSet<_>>(),
        world.whole()
    );
}

/// Moves slots of the conversations at random; movers die between any two steps, and at any
/// moment within one.
async fn move_slots(world: Arc<World>, mut rng: fastrand::Rng) {
    let operator = &world.service.operator;
    let slots: Vec<_> = world.groups.iter().map(Slot::of).collect();
    let (mut moves, mut deaths) = (0, 0);
    let mut id = 1;
    while !world.is_over.load(Ordering::Acquire) {
        let slot = slots[rng.usize(..slots.len())];
        let to = rng.usize(..operator.count());
        id += 2;
        let mut mover = Mover::new(operator, slot, to, id).unwrap();
        match rng.u8(..4) {
            0 => {
                for _ in 0..rng.u8(..9) {
                    if mover.step().await.is_err() {
                        break;
                    }
                }
                deaths += 1;
            }
            1 => {
                let moment = Duration::from_micros(rng.u64(..3_000));
                let _ = tokio::time::timeout(moment, mover.run()).await;
                deaths += 1;
            }
            _ => {}
        }
        world.service.clock.jump();
        finish(operator, slot, to, id + 1).await;
        moves += 1;
        world.moves.store(moves, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.u64(..5))).await;
    }
    assert!(moves > 1, "{moves} moves, {deaths} deaths");
    println!(
        "{moves} moves, {deaths} movers died, {} sends",
        world.sends.load(Ordering::Relaxed)
    );
}

async fn finish(operator: &Sharded, slot: Slot, to: usize, id: u64) {
    /// A statement of a mover that died may still run on the server, and come in between.
    const TRIES_MAX: usize = 20;
    let mut to = to;
    for _ in 1..TRIES_MAX {
        let moved = Mover::new(operator, slot, to, id).unwrap().run().await;
        match moved {
            // There first; where it was to go is left to another move.
            Err(MoveError::OnItsWay { to: first, .. }) => to = first.into(),
            Err(MoveError::Lost(_)) => {}
            moved => return moved.unwrap(),
        }
    }
    panic!("{slot:?} does not get to {to}");
}

async fn everything_is_there(world: &World) {
    let sent = world.sent.lock().clone();
    assert!(
        sent.len() as u64 > SENDS_MIN,
        "{} sends are no load",
        sent.len()
    );
    let node = &world.service.nodes[0];
    for id in &world.groups {
        let entries = log(node, id, 0).await;
        let mut last = BTreeMap::new();
        for (entry, place) in entries.iter().zip(1..) {
            assert_eq!(entry.seq, Seq(place), "no gap");
            let text = entry.body.as_text().unwrap();
            assert_eq!(
                sent.get(&(id.clone(), entry.seq)),
                Some(&text),
                "at its place, once"
            );
            let before = last.insert(entry.from.clone(), text.clone());
            assert!(before < Some(text), "each sender's in order");
        }
        let count = sent.keys().filter(|(of, _)| of == id).count();
        assert_eq!(entries.len(), count, "all are there");
        let view = node.view(id, &[user("bo")]).await.unwrap().unwrap();
        assert_eq!(view.members[0].read, view.members[0].delivered);
    }
}

async fn nothing_is_left_behind(world: &World) {
    let held = world.service.operator.holdings().await.unwrap();
    for slot in Slot::all() {
        let has = |at: &usize| held[*at].of(slot).is_some();
        let owners: Vec<_> = (0..held.len()).filter(has).collect();
        assert_eq!(owners.len(), 1, "slot {slot}");
        for (at, shard) in world.service.shards.iter().enumerate() {
            let cargo = shard.cargo(slot, &CargoQuery::Conversations(None), 9).await;
            assert!(at == owners[0] || cargo.unwrap().conversations.is_empty());
        }
    }
}
