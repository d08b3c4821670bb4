//! Push services that never answer, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{Entry, FactKey, FactTable, PushTarget, Seq, Value, place_of};
use im_core::port::{
    Clock, FactQuery, LogQuery, Push, PushError, PushNote, Put, Store as _, Was, Write,
};
use im_node::local::LocalRegistry;
use im_out::{PushSettings, Pusher, Sink as _};
use tokio::time::Instant;

use super::kit::{Users, World, conv};

/// Subscriptions hang, but for those that are `good`.
#[derive(Debug, Default)]
struct Hangs {
    asked: AtomicUsize,
    told: AtomicUsize,
}

#[async_trait]
impl Push for Hangs {
    async fn push(&self, target: &PushTarget, _: &PushNote) -> Result<(), PushError> {
        if target.data.as_text() == Some("good") {
            self.told.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(10)).await;
        Err(PushError::Later)
    }
}

async fn subscribe(world: &World, who: &str, device: &str, data: &str) {
    let target = PushTarget {
        kind: "own".to_owned(),
        data: Value::from(data.to_owned()),
        text: true,
    };
    let put = Put {
        key: FactKey::new(FactTable::PushTarget, who, device),
        to: Some((target.to_json(), None)),
        was: Was::Any,
    };
    let place = place_of(FactTable::PushTarget, who).unwrap();
    world.commit(place.as_str(), vec![Write::Put(put)]).await;
}

async fn subscribed(world: &World, who: &str) -> usize {
    let query = FactQuery::Of {
        table: FactTable::PushTarget,
        owner: who.to_owned(),
        after: None,
        below: None,
        limit: 100,
    };
    world.store.facts(&query).await.unwrap().len()
}

async fn log(world: &World) -> Vec<Entry> {
    let query = LogQuery::After {
        seq: Seq(0),
        limit: 100,
        bytes: 1 << 20,
    };
    world.store.log(&conv("g"), query).await.unwrap()
}

fn pusher(world: &World, hangs: &Arc<Hangs>) -> Pusher {
    let (registry, users) = (Arc::new(LocalRegistry::new()), Arc::<Users>::default());
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let settings = PushSettings::default();
    let pusher = Pusher::new(world.store(), registry, users, clock, settings);
    pusher.way("own", Arc::clone(hangs) as Arc<dyn Push>)
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_holds_up_the_others_for_a_moment_and_then_rests() {
    let (world, hangs) = (World::new(), Arc::<Hangs>::default());
    world.make("g", &["al", "bo", "cy"]).await;
    for n in 0..20 {
        subscribe(&world, "bo", &format!("d{n:02}"), "bad").await;
    }
    subscribe(&world, "cy", "d", "good").await;
    world.say("g", "al", "hi").await;
    let run = log(&world).await;
    let pusher = pusher(&world, &hangs);
    let began = Instant::now();
    assert_eq!(pusher.take(&run).await.count, run.len());
    let first = began.elapsed();
    assert!(first <= Duration::from_secs(2), "{first:?}");
    assert_eq!(hangs.told.load(Ordering::Relaxed), 1);
    // What has not answered is not asked again, and waited for no more.
    for _ in 0..10 {
        pusher.take(&run).await;
    }
    assert_eq!(began.elapsed(), first);
    assert_eq!(hangs.told.load(Ordering::Relaxed), 11);
    assert_eq!(hangs.asked.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn who_never_answers_is_forgotten_in_the_end_and_who_does_is_not() {
    let (world, hangs) = (World::new(), Arc::<Hangs>::default());
    world.make("g", &["al", "bo"]).await;
    subscribe(&world, "bo", "bad", "bad").await;
    subscribe(&world, "bo", "good", "good").await;
    world.say("g", "al", "hi").await;
    let run = log(&world).await;
    let pusher = pusher(&world, &hangs);
    for n in 0..20 {
        assert_eq!(subscribed(&world, "bo").await, 2, "{n}");
        pusher.take(&run).await;
        tokio::time::sleep(Duration::from_secs(3_700)).await;
    }
    assert_eq!(subscribed(&world, "bo").await, 1);
}
