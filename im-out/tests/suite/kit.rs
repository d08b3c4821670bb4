//! A store with conversations in it, a clock that can jump, a sink that writes down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use im_core::model::{
    Body, ConversationId, ConversationKind, Entry, Mentions, MessageId, NewEntry, Role, Seq,
    Timestamp, UserId,
};
use im_core::port::{Clock, Commit, Directory, NewConversation, PortError, Standing, Store, Write};
use im_out::{Failed, FollowSettings, Follower, Sink, Taken};
use im_testkit::memory::MemoryStore;
use parking_lot::Mutex;

/// When a test's wall clock begins.
pub(crate) const START_MS: i64 = 1_795_870_800_000;

/// Tokio's time for timers, and a wall clock of the test's own.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START_MS)))
    }

    pub(crate) fn jump(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) fn conv(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// Users of whom some are banned.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<BTreeSet<UserId>>);

impl Users {
    pub(crate) fn ban(&self, id: &str) {
        self.0.lock().insert(user(id));
    }
}

#[async_trait]
impl Directory for Users {
    async fn standing(&self, users: &[UserId]) -> Result<Vec<Standing>, PortError> {
        let banned = self.0.lock();
        let standing = |user| match banned.contains(user) {
            true => Standing::Banned,
            false => Standing::Active,
        };
        Ok(users.iter().map(standing).collect())
    }
}

/// What tests are about.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<TestClock>,
    ids: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            clock: TestClock::new(),
            ids: AtomicU64::new(1),
        }
    }

    pub(crate) async fn make(&self, id: &str, members: &[&str]) {
        self.make_one(id, ConversationKind::Group, members).await;
    }

    pub(crate) async fn make_one(&self, id: &str, kind: ConversationKind, members: &[&str]) {
        let create = Write::Create(NewConversation {
            kind,
            title: Some(id.to_owned()),
            hide_history: false,
            members: members.iter().map(|id| (user(id), Role::Member)).collect(),
        });
        self.commit(id, vec![create]).await;
    }

    pub(crate) async fn say(&self, id: &str, from: &str, text: &str) {
        self.entry(id, from, Body::text(text)).await;
    }

    pub(crate) async fn entry(&self, id: &str, from: &str, body: Body) {
        let entry = NewEntry {
            id: MessageId(self.ids.fetch_add(1, Ordering::Relaxed)),
            from: user(from),
            at: self.clock.timestamp(),
            cm_id: None,
            digest: 0,
            body,
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        self.commit(id, vec![Write::Append(entry)]).await;
    }

    pub(crate) async fn commit(&self, id: &str, writes: Vec<Write>) {
        let commit = Commit {
            conv: conv(id),
            expect_version: None,
            actor: None,
            writes,
        };
        let done = self.store.commit(&[commit]).await.pop().unwrap();
        assert!(done.is_ok(), "{done:?}");
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as _
    }

    pub(crate) fn follower(&self, holder: &str, sink: Arc<dyn Sink>) -> Follower {
        self.on(self.store(), holder, sink)
    }

    pub(crate) fn on(&self, store: Arc<dyn Store>, holder: &str, sink: Arc<dyn Sink>) -> Follower {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Follower::new("t", holder, store, clock, sink)
    }

    /// Lets a follower work for so long.
    pub(crate) async fn follow(&self, follower: Follower, span: Duration) {
        let _ = tokio::time::timeout(span, follower.run()).await;
    }
}

/// Settings by which an entry is given up after a few attempts.
pub(crate) fn few() -> FollowSettings {
    FollowSettings {
        give_up: 3,
        ..FollowSettings::default()
    }
}

/// Writes down what it takes, and refuses what it was told to, so many times.
#[derive(Debug, Default)]
pub(crate) struct Book {
    taken: Mutex<Vec<(String, u64)>>,
    refuse: Mutex<BTreeMap<(String, u64), u32>>,
}

impl Book {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn refuse(&self, id: &str, seq: u64, times: u32) {
        self.refuse.lock().insert((id.to_owned(), seq), times);
    }

    pub(crate) fn taken(&self) -> Vec<(String, u64)> {
        self.taken.lock().clone()
    }

    /// What was taken of a conversation, each at its first time.
    pub(crate) fn first(&self, id: &str) -> Vec<u64> {
        let mut seen = Vec::new();
        for (conv, seq) in self.taken.lock().iter() {
            if conv == id && !seen.contains(seq) {
                seen.push(*seq);
            }
        }
        seen
    }
}

#[async_trait]
impl Sink for Book {
    async fn take(&self, run: &[Entry]) -> Taken {
        for (count, entry) in run.iter().enumerate() {
            // As a request would.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let Seq(seq) = entry.seq;
            let key = (entry.conv.as_str().to_owned(), seq);
            if let Some(times) = self.refuse.lock().get_mut(&key)
                && *times > 0
            {
                *times -= 1;
                let failed = Failed {
                    why: "HTTP 422".to_owned(),
                    after: None,
                    refused: true,
                };
                return Taken {
                    count,
                    failed: Some(failed),
                };
            }
            self.taken.lock().push(key);
        }
        Taken::all(run)
    }
}
