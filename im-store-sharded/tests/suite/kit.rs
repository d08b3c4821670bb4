//! Short words.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use im_core::model::{
    Body, CmId, ConversationId, ConversationKind, Entry, Mentions, MessageId, NewEntry, Role, Seq,
    Stamps, Timestamp, UserId,
};
use im_core::port::{
    Appended, Clock, Commit, Committed, CursorMove, LogQuery, MembershipLine, NewConversation,
    PortError, PortErrorKind, Record, RecordKey, Rejected, Shard, Store, Write,
};
use im_store_sharded::Sharded;

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn conv(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

pub(crate) fn answer(key: &str) -> RecordKey {
    RecordKey::Answer {
        user: user("al"),
        key: key.to_owned(),
    }
}

pub(crate) fn commit(id: &ConversationId, writes: Vec<Write>) -> Commit {
    Commit {
        conv: id.clone(),
        expect_version: None,
        actor: None,
        writes,
    }
}

pub(crate) fn group(members: &[&str]) -> Write {
    let members = members.iter().map(|id| (user(id), Role::Member));
    Write::Create(NewConversation {
        kind: ConversationKind::Group,
        title: None,
        hide_history: false,
        members: members.collect(),
    })
}

pub(crate) fn record(key: &str, value: &str) -> Write {
    Write::Record(Record {
        key: answer(key),
        value: value.to_owned(),
        expires_at: Timestamp(4_000_000_000_000),
    })
}

/// The same entry each time, but for its id, as a client's retry is.
pub(crate) fn entry(from: &str, cm_id: &str, text: &str) -> Write {
    Write::Append(NewEntry {
        id: MessageId(NEXT.fetch_add(1, Ordering::Relaxed)),
        from: user(from),
        at: Timestamp(1),
        cm_id: Some(CmId::new(cm_id).unwrap()),
        digest: 7,
        body: Body::text(text),
        reply_to: None,
        mentions: Mentions::None,
        expires_at: None,
    })
}

pub(crate) fn read_up_to(who: &str, seq: u64) -> Write {
    Write::Cursor(CursorMove {
        user: user(who),
        delivered: Some(Seq(seq)),
        read: Some(Seq(seq)),
    })
}

pub(crate) async fn give(store: &Sharded, commit: Commit) -> Result<Committed, Rejected> {
    store.commit(&[commit]).await.remove(0)
}

pub(crate) async fn say(store: &Sharded, id: &ConversationId, cm_id: &str) -> Appended {
    let done = give(store, commit(id, vec![entry("al", cm_id, cm_id)])).await;
    done.expect("nothing is wrong with it").appended[0]
}

pub(crate) async fn log(store: &Sharded, id: &ConversationId, after: u64) -> Vec<Entry> {
    let query = LogQuery::After {
        seq: Seq(after),
        limit: 1_000_000,
        bytes: 1 << 30,
    };
    patiently(|| store.log(id, query.clone())).await
}

/// A read that may meet the last part of a move again and again, where moves follow upon each other
/// on a busy machine: as whoever is answered so would, it is tried again, for a time.
async fn patiently<T, F>(read: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, PortError>>,
{
    /// Each of them has waited for two seconds.
    const TRIES_MAX: usize = 15;
    for _ in 1..TRIES_MAX {
        match read().await {
            Err(error) if error.kind() == PortErrorKind::Unavailable => {}
            answer => return answer.unwrap(),
        }
    }
    read().await.unwrap()
}

pub(crate) async fn texts(store: &Sharded, id: &ConversationId) -> Vec<String> {
    let entries = log(store, id, 0).await;
    let text = |entry: &Entry| entry.body.as_text().unwrap();
    entries.iter().map(text).collect()
}

/// A user's list from some stamps on, page by page, and where it ends.
pub(crate) async fn list(
    store: &Sharded,
    who: &str,
    since: &Stamps,
) -> (Vec<MembershipLine>, Stamps) {
    let (mut since, mut lines) = (since.clone(), Vec::new());
    for _ in 0..1_000 {
        let user = user(who);
        let page = patiently(|| store.memberships(&user, &since, 16, true)).await;
        assert!(!since.is_ahead_of(&page.stamps), "stamps don't go back");
        lines.extend(page.lines);
        since = page.stamps;
        if !page.more {
            return (lines, since);
        }
    }
    panic!("a list without an end");
}

/// A clock for movers, that jumps: so nobody waits until a dead one's time is over.
#[derive(Debug, Default)]
pub(crate) struct Jumps(AtomicI64);

impl Jumps {
    pub(crate) fn jump(&self) {
        self.0.fetch_add(60_000, Ordering::Relaxed);
    }
}

impl Clock for Jumps {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Two nodes on the same databases, and an operator with a clock of their own.
pub(crate) struct Service {
    pub(crate) shards: Vec<Arc<dyn Shard>>,
    pub(crate) nodes: [Arc<Sharded>; 2],
    pub(crate) operator: Arc<Sharded>,
    pub(crate) clock: Arc<Jumps>,
}

impl Service {
    pub(crate) async fn on(shards: Vec<Arc<dyn Shard>>) -> Self {
        let open = async || Sharded::open(shards.clone()).await.unwrap();
        let clock = Arc::new(Jumps::default());
        Self {
            nodes: [Arc::new(open().await), Arc::new(open().await)],
            operator: Arc::new(open().await.with_clock(Arc::<Jumps>::clone(&clock))),
            shards,
            clock,
        }
    }
}
