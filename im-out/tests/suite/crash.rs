//! A crash before and after every single step: nothing is skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, RecordKey,
    Rejected, Store, View,
};
use im_out::{Sink, Taken, dead_letters};

use super::kit::{Book, World, few};

/// Long enough for whatever is tried again.
const LONG: Duration = Duration::from_secs(300);

/// Counts the steps of a process that dies before or after one of them.
#[derive(Debug)]
struct Life {
    steps: AtomicUsize,
    last: usize,
    /// It dies when that step has been done, but nobody knows.
    after: bool,
}

impl Life {
    async fn step<T>(&self, call: impl Future<Output = T>) -> T {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        if step > self.last || (step == self.last && !self.after) {
            return std::future::pending().await;
        }
        let done = call.await;
        if step == self.last {
            return std::future::pending().await;
        }
        done
    }

    fn is_over(&self) -> bool {
        self.steps.load(Ordering::Relaxed) > self.last
    }
}

#[derive(Debug)]
struct Mortal<T: ?Sized> {
    life: Arc<Life>,
    inner: Arc<T>,
}

#[async_trait]
impl Sink for Mortal<dyn Sink> {
    async fn take(&self, run: &[Entry]) -> Taken {
        self.life.step(self.inner.take(run)).await
    }
}

#[async_trait]
impl Store for Mortal<dyn Store> {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        self.life.step(self.inner.commit(batch)).await
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.life.step(self.inner.view(conv, users)).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.inner.members(conv, after, limit).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.life.step(self.inner.log(conv, query)).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        self.inner.memberships(user, since, limit, detail).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.life.step(self.inner.changed(since, limit)).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.inner.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.life.step(self.inner.facts(query)).await
    }
}

/// Three conversations, of which one has an entry that is refused for good, and one an entry that
/// is refused twice. A follower dies at a step; another one goes on. False when the first one did
/// not die any more.
async fn dies_at(last: usize, after: bool) -> bool {
    let world = World::new();
    let book = Book::new();
    book.refuse("b", 2, 2);
    book.refuse("c", 2, u32::MAX);
    let sink = || Arc::clone(&book) as Arc<dyn Sink>;
    let short = Duration::from_secs(1);
    world.follow(world.follower("begins", sink()), short).await;
    for id in ["a", "b", "c"] {
        world.make(id, &["al", "bo"]).await;
        for n in 0..3 {
            world.say(id, "al", &n.to_string()).await;
        }
    }
    let life = Arc::new(Life {
        steps: AtomicUsize::new(0),
        last,
        after,
    });
    let mortal_sink = Mortal {
        life: Arc::clone(&life),
        inner: sink(),
    };
    let mortal_store = Mortal {
        life: Arc::clone(&life),
        inner: world.store(),
    };
    let follower = world.on(Arc::new(mortal_store), "dies", Arc::new(mortal_sink));
    world.follow(follower.settings(few()), LONG).await;
    world.say("a", "al", "while nobody follows").await;
    let follower = world.follower("goes on", sink()).settings(few());
    world.follow(follower, LONG).await;
    let case = format!("step {last}, after {after}");
    assert_eq!(book.first("a"), [1, 2, 3, 4], "{case}");
    assert_eq!(book.first("b"), [1, 2, 3], "{case}");
    assert_eq!(book.first("c"), [1, 3], "{case}");
    let dead = dead_letters(&world.store(), "t").await.unwrap();
    let dead: Vec<_> = dead
        .iter()
        .map(|dead| (dead.conv.as_str(), dead.seq.0))
        .collect();
    assert_eq!(dead, [("c", 2)], "{case}");
    life.is_over()
}

#[tokio::test(start_paused = true)]
async fn whatever_step_it_dies_at_nothing_is_skipped() {
    for after in [false, true] {
        // In five minutes there are more steps than matter: those of the first one are what is
        // tried here, and some of its later turns.
        for last in 0..150 {
            assert!(dies_at(last, after).await, "it did not die at {last}");
        }
    }
}
