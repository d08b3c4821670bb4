//! What sealing costs: µs a message, sealed and opened, by its length, beside nothing else.
//!
//! `cargo run --release -p im-store-sealed --example cost`

#![allow(clippy::unwrap_used, reason = "a measure fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use im_core::model::{
    Body, CmId, ConversationId, Draft, Entry, Fact, Member, Mentions, MessageId, NewEntry, Seq,
    Stamps, Target, Timestamp, UserId,
};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, PortErrorKind,
    RecordKey, Rejected, Store, View, Write,
};
use im_store_sealed::{FileKeys, Sealed};

/// Messages of one batch, and of one page.
const BATCH: usize = 200;
/// Batches measured.
const ROUNDS: usize = 500;
/// Authors among whom a batch is divided.
const AUTHORS: usize = 20;

/// A store that keeps the last batch, and nothing else.
#[derive(Debug, Default)]
struct Shelf(parking_lot::Mutex<(Vec<Entry>, Vec<Fact>)>);

fn nothing<T>() -> Result<T, PortError> {
    Err(PortError::new(PortErrorKind::Internal))
}

#[async_trait]
impl Store for Shelf {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let mut shelf = self.0.lock();
        for put in batch.iter().flat_map(im_core::rule::commit::puts) {
            let (value, at) = put.to.clone().unwrap();
            let key = put.key.clone();
            shelf.1.push(Fact { key, value, at });
        }
        let done = || Committed {
            appended: Vec::new(),
            version: Seq(0),
            created: false,
        };
        batch.iter().map(|_| Ok(done())).collect()
    }

    async fn view(&self, _: &ConversationId, _: &[UserId]) -> Result<Option<View>, PortError> {
        nothing()
    }

    async fn members(
        &self,
        _: &ConversationId,
        _: Option<&UserId>,
        _: usize,
    ) -> Result<Vec<Member>, PortError> {
        nothing()
    }

    async fn log(&self, _: &ConversationId, _: LogQuery) -> Result<Vec<Entry>, PortError> {
        Ok(self.0.lock().0.clone())
    }

    async fn memberships(
        &self,
        _: &UserId,
        _: &Stamps,
        _: usize,
        _: bool,
    ) -> Result<MembershipPage, PortError> {
        nothing()
    }

    async fn changed(&self, _: &Stamps, _: usize) -> Result<Changed, PortError> {
        nothing()
    }

    async fn record(&self, _: &RecordKey, _: Timestamp) -> Result<Option<String>, PortError> {
        nothing()
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        let FactQuery::One(key) = query else {
            return Ok(Vec::new());
        };
        let shelf = self.0.lock();
        let found = shelf.1.iter().find(|fact| fact.key == *key);
        Ok(found.cloned().into_iter().collect())
    }
}

fn batch(conv: &ConversationId, bytes: usize) -> Vec<Commit> {
    let commit = |n: usize| {
        let from = UserId::new(format!("u{}", n % AUTHORS)).unwrap();
        let cm_id = CmId::new(format!("m{n}")).unwrap();
        let draft = Draft::text(cm_id, Target::User(from.clone()), "x".repeat(bytes));
        let entry = NewEntry {
            id: MessageId(n as u64),
            from,
            at: Timestamp(0),
            digest: draft.digest(),
            cm_id: Some(draft.cm_id),
            body: Body::text("x".repeat(bytes)),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        Commit {
            conv: conv.clone(),
            expect_version: None,
            actor: None,
            writes: vec![Write::Append(entry)],
        }
    };
    (0..BATCH).map(commit).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (_, keys) = FileKeys::with_new_key("").unwrap();
    let shelf = Arc::new(Shelf::default());
    let keys = Arc::new(FileKeys::parse(&keys).unwrap());
    let store = Sealed::open(Arc::clone(&shelf) as _, keys).await.unwrap();
    let conv = ConversationId::new("c").unwrap();
    let query = LogQuery::After {
        seq: Seq(0),
        limit: BATCH,
        bytes: usize::MAX,
    };
    for bytes in [100, 4_096] {
        let plain = batch(&conv, bytes);
        let per = |since: Instant| since.elapsed().as_secs_f64() * 1e6 / (ROUNDS * BATCH) as f64;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(plain.to_vec());
        }
        let copied = per(begun);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(store.seal(&plain).await.unwrap());
        }
        let sealed = per(begun);
        let batch = store.seal(&plain).await.unwrap();
        let appends = batch.iter().flat_map(im_core::rule::commit::appends);
        let entries: Vec<_> = appends
            .map(|entry| entry.at(conv.clone(), Seq(1)))
            .collect();
        let stored: usize = entries.iter().map(|entry| entry.body.json().len()).sum();
        shelf.0.lock().0 = entries;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(shelf.log(&conv, query.clone()).await.unwrap());
        }
        let read = per(begun);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(store.log(&conv, query.clone()).await.unwrap());
        }
        let opened = per(begun);
        println!(
            "{bytes} bytes: sealed {:.2} µs, opened {:.2} µs, {} bytes stored",
            sealed - copied,
            opened - read,
            stored / BATCH
        );
    }
}
