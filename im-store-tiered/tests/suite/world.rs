//! Two nodes over one tier and one cold store, in virtual time: everything takes a while, fails,
//! and dies in the middle, from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Epoch, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Commit, Committed, LogQuery, NewConversation, Rejected, Store, Write};
use im_store_tiered::{Durability, Options, Tiered};
use im_testkit::memory::{MemoryHot, MemoryStore};
use im_testkit::sim::{Gate, Planted, SimHot, SimStore, StoreWeather};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Conversations of a run.
const CONVS: usize = 3;
/// Writers, half of them on each node.
const WRITERS: usize = 4;
/// Messages of each writer.
const MESSAGES: usize = 30;
/// How often a message is tried; each time waits a little.
const TRIES_MAX: usize = 2_000;
/// Of the tier and of the store.
const WEATHER: StoreWeather = StoreWeather {
    slow_ms: 12,
    fail_before: 15,
    fail_after: 15,
    fail_some: 0,
    hang: 60,
    fail_read: 15,
};

/// What goes wrong in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) durability: Durability,
    /// The tier forgets something so often.
    pub(crate) floods: usize,
    /// And then what it was told last, not everything.
    pub(crate) is_little: bool,
    /// A bug that is put in on purpose.
    pub(crate) planted: Option<Planted>,
}

/// A node, and how often it died.
#[derive(Debug)]
struct Place {
    node: Mutex<Arc<Tiered>>,
    died: watch::Sender<u64>,
}

/// See the [module](self).
#[derive(Debug)]
struct World {
    hot: Arc<SimHot>,
    cold: Arc<SimStore>,
    /// The cold store as it is, in any weather.
    truth: Arc<MemoryStore>,
    rng: Mutex<fastrand::Rng>,
    plan: Plan,
    places: Vec<Place>,
    /// What was answered: which `cm_id` stands where.
    answered: Mutex<BTreeMap<(ConversationId, Seq), (CmId, u64)>>,
    /// How often the tier forgot everything.
    floods: std::sync::atomic::AtomicU64,
    /// What was answered before everything was in the cold store once.
    safe: Mutex<BTreeSet<(ConversationId, Seq)>>,
    wrong: Mutex<Vec<String>>,
}

fn conv(n: usize) -> ConversationId {
    ConversationId::new(format!("c{n}")).unwrap()
}

fn user(n: usize) -> UserId {
    UserId::new(format!("u{n}")).unwrap()
}

impl World {
    fn node(&self) -> Arc<Tiered> {
        let gate = Arc::<Gate>::default();
        let hot = self.hot.of_node(Arc::clone(&gate));
        let cold = self.cold.of_node(gate);
        let options = Options {
            durability: self.plan.durability,
            warm_within: Duration::from_secs(10),
            flush_every: Duration::from_millis(20),
            seed: Some(self.rng.lock().u64(..)),
            ..Options::default()
        };
        Arc::new(Tiered::start(Arc::new(hot), Arc::new(cold), options))
    }

    /// A commit on a node that may die in the middle of it.
    async fn commit(&self, place: usize, commit: &Commit) -> Option<Result<Committed, Rejected>> {
        let place = &self.places[place];
        let mut died = place.died.subscribe();
        let node = Arc::clone(&place.node.lock());
        tokio::select! {
            biased;
            mut answers = node.commit(std::slice::from_ref(commit)) => answers.pop(),
            _ = died.changed() => None,
        }
    }

    async fn write(self: Arc<Self>, writer: usize) {
        for n in 0..MESSAGES {
            let to = self.rng.lock().usize(0..CONVS);
            let cm_id = CmId::new(format!("m{writer}-{n:03}")).unwrap();
            let commit = say(to, writer, n, &cm_id);
            let mut tries = 0;
            loop {
                tries += 1;
                let floods = self.floods.load(std::sync::atomic::Ordering::Relaxed);
                match self.commit(writer % 2, &commit).await {
                    Some(Ok(done)) => {
                        let key = (conv(to), done.appended[0].seq);
                        let answer = (cm_id.clone(), floods);
                        let other = self.answered.lock().insert(key.clone(), answer);
                        if other.is_some_and(|other| other.0 != cm_id) && self.plan.floods == 0 {
                            let wrong = format!("{key:?} was given twice");
                            self.wrong.lock().push(wrong);
                        }
                        break;
                    }
                    Some(Err(Rejected::Store(error))) if error.is_retryable() => {}
                    None => {}
                    Some(Err(other)) => {
                        return self.wrong.lock().push(format!("{cm_id}: {other:?}"));
                    }
                }
                if tries == TRIES_MAX {
                    return self.wrong.lock().push(format!("{cm_id}: no way through"));
                }
                let ms = self.rng.lock().u64(1..40);
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
        }
    }

    /// Titles and cursors: what is the cold store's, and what goes along.
    async fn meddle(self: Arc<Self>) {
        for n in 0..20 {
            let ms = self.rng.lock().u64(1..150);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let to = self.rng.lock().usize(0..CONVS);
            let mut title = say(to, 9, n, &CmId::new("x").unwrap());
            if let Some(Write::Append(entry)) = title.writes.first_mut() {
                entry.cm_id = None;
            }
            title.writes.push(Write::Title(Some(format!("t{n}"))));
            let _ = self.commit(n % 2, &title).await;
        }
    }

    async fn harm(self: Arc<Self>) {
        let mut floods = self.plan.floods;
        for n in 0..6 {
            let ms = self.rng.lock().u64(50..500);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if floods > 0 {
                floods -= 1;
                let node = Arc::clone(&self.places[0].node.lock());
                let now = self.floods.load(std::sync::atomic::Ordering::Relaxed);
                let answered = self.answered.lock().clone().into_iter();
                // Sent and answered since the last time.
                let answered = answered.filter(|(_, (_, floods))| *floods == now);
                let answered: Vec<_> = answered.map(|(key, _)| key).collect();
                if node.settled().await.is_ok() {
                    self.safe.lock().extend(answered);
                }
                let kept = self.plan.is_little.then(|| self.hot.keep());
                let ms = self.rng.lock().u64(0..100);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                match kept {
                    Some(kept) => self.hot.begin_with(kept),
                    None => self.hot.forget(),
                }
                self.floods
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            let place = &self.places[n % 2];
            *place.node.lock() = self.node();
            place.died.send_modify(|died| *died += 1);
        }
    }

    /// What is wrong at the end, when everything works again.
    async fn judge(&self) -> Vec<String> {
        let mut wrong = std::mem::take(&mut *self.wrong.lock());
        let node = Arc::clone(&self.places[0].node.lock());
        if let Err(error) = node.settled().await {
            wrong.push(format!("it does not settle: {error}"));
        }
        let answered = self.answered.lock().clone();
        for n in 0..CONVS {
            let id = conv(n);
            // Whoever looks finds out that something was lost.
            let view = node.view(&id, &[]).await.unwrap().unwrap();
            let query = LogQuery::After {
                seq: Seq(0),
                limit: usize::MAX,
                bytes: usize::MAX,
            };
            let log = self.truth.log(&id, query.clone()).await.unwrap();
            if node.log(&id, query).await.ok().as_ref() != Some(&log) {
                wrong.push(format!("{id}: the tiers show another log"));
            }
            let ids: BTreeSet<_> = log.iter().map(|it| it.id).collect();
            if ids.len() != log.len() {
                wrong.push(format!("{id}: something stands twice"));
            }
            let epoch = view.conversation.epoch;
            if epoch > Epoch(1) && !self.may_lose() {
                wrong.push(format!("{id}: nothing was lost, and it is epoch {epoch}"));
            }
            for ((_, seq), (cm_id, _)) in answered.iter().filter(|((of, _), _)| *of == id) {
                let there = log.get(seq.0 as usize - 1).and_then(|it| it.cm_id.as_ref());
                let is_safe = self.safe.lock().contains(&(id.clone(), *seq));
                if there != Some(cm_id) && (epoch == Epoch(1) || is_safe) {
                    wrong.push(format!(
                        "{id} {seq}: {cm_id} was answered, {there:?} is there"
                    ));
                }
            }
        }
        wrong
    }

    fn may_lose(&self) -> bool {
        self.plan.floods > 0 && self.plan.durability == Durability::Cached
    }
}

fn say(to: usize, writer: usize, n: usize, cm_id: &CmId) -> Commit {
    let entry = NewEntry {
        id: MessageId((writer * 1000 + n + 1) as u64),
        from: user(writer),
        at: Timestamp(n as i64),
        cm_id: Some(cm_id.clone()),
        digest: 1,
        body: Body::text("x"),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    };
    Commit {
        conv: conv(to),
        expect_version: None,
        actor: None,
        writes: vec![Write::Append(entry)],
    }
}

/// Runs a seed; what is wrong at its end.
pub(crate) fn run(seed: u64, plan: Plan) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let truth = Arc::new(MemoryStore::new());
        let begin = |n| Commit {
            writes: vec![Write::Create(NewConversation {
                kind: ConversationKind::Group,
                title: None,
                hide_history: false,
                members: (0..WRITERS).map(|it| (user(it), Role::Member)).collect(),
            })],
            ..say(n, 0, 0, &CmId::new("x").unwrap())
        };
        let groups: Vec<_> = (0..CONVS).map(begin).collect();
        assert!(truth.commit(&groups).await.iter().all(Result::is_ok));
        // Few entries are kept, so that ids are asked for.
        let hot = SimHot::new(Arc::new(MemoryHot::new(6, 100_000)), WEATHER, !seed);
        let cold = SimStore::new(Arc::clone(&truth), WEATHER, seed ^ 1);
        let mut world = World {
            hot: Arc::new(hot.plant(plan.planted)),
            cold: Arc::new(cold.plant(plan.planted)),
            truth,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            plan,
            places: Vec::new(),
            answered: Mutex::default(),
            floods: 0.into(),
            safe: Mutex::default(),
            wrong: Mutex::default(),
        };
        for _ in 0..2 {
            let node = Mutex::new(world.node());
            let died = watch::Sender::new(0);
            world.places.push(Place { node, died });
        }
        let world = Arc::new(world);
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            tasks.spawn(Arc::clone(&world).write(writer));
        }
        tasks.spawn(Arc::clone(&world).meddle());
        tasks.spawn(Arc::clone(&world).harm());
        tasks.join_all().await;
        world.hot.calm();
        world.cold.calm();
        world.judge().await
    })
}
