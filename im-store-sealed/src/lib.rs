//! imkit's encryption at rest: a [`Store`] around another one that seals what people write before
//! it is stored, and opens it when it is read. No database, hot tier or backup below it sees words.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use im_core::port::Store;
//! use im_store_sealed::{FileKeys, Sealed};
//!
//! # async fn start(database: Arc<dyn Store>) -> Result<(), im_store_sealed::SealError> {
//! let keys = FileKeys::open("/etc/imkit/seal.keys".as_ref())?;
//! let store = Sealed::open(database, Arc::new(keys)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - Each user has a data key; it seals what they wrote, and is itself kept beside the logs, sealed
//!   ("wrapped") by a master key of a [`Keyring`]. When a user's data key is deleted, what they
//!   wrote is gone wherever it was copied to; their entries read as [erased](im_core::model::Kind).
//! - Sealed are the bodies of what people say, edit and announce, with the digests of what they
//!   sent; and the facts that hold words: drafts, profiles, notes, scheduled messages, edits.
//! - Not sealed: who, when, in which conversation, of what kind, to whom; members, titles,
//!   reactions, and the entries that the server writes.
//! - What was stored before sealing was turned on stays as it is, and is read as before.
//!
//! The cipher is AES-256-GCM-SIV: a repeated nonce tells no more than that two texts at one place
//! are equal, so what the store must compare can be sealed too. Why: `docs/decisions/0021`.

mod cipher;
mod entry;
mod error;
mod fact;
mod file;
mod keyring;
mod keys;
mod rotate;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, FactTable, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, PortErrorKind,
    RecordKey, Rejected, Store, View, Write,
};

pub use self::error::SealError;
pub use self::file::FileKeys;
pub use self::keyring::{DATA_KEY_BYTES, Keyring, MasterId, Wrapped};
pub use self::rotate::SealStatus;

use self::keys::{Held, Keys};

/// A store that holds no words.
#[derive(Debug)]
pub struct Sealed {
    inner: Arc<dyn Store>,
    keys: Keys,
}

/// The data keys that a call needs, by whose they are.
type Ring = BTreeMap<UserId, Held>;

impl Sealed {
    /// A store around this one, when every key that it was sealed with is there and the right one.
    ///
    /// # Errors
    /// [`SealError::MissingMaster`] and [`SealError::WrongMaster`]; or the store does not answer.
    pub async fn open(inner: Arc<dyn Store>, ring: Arc<dyn Keyring>) -> Result<Self, SealError> {
        let sealed = Self {
            keys: Keys::new(Arc::clone(&inner), ring),
            inner,
        };
        sealed.check().await?;
        Ok(sealed)
    }

    /// Commits as they are stored: for a host program that commits them in its own transaction,
    /// beside this store. Call it before the transaction begins: it may write new data keys.
    ///
    /// # Errors
    /// The first commit's that can't be sealed: as the store's; `Fenced` when its author's data
    /// key was deleted.
    pub async fn seal(&self, batch: &[Commit]) -> Result<Vec<Commit>, PortError> {
        self.seal_all(batch).await.into_iter().collect()
    }

    async fn seal_all(&self, batch: &[Commit]) -> Vec<Result<Commit, PortError>> {
        let mut wanted = BTreeMap::new();
        for write in batch.iter().flat_map(|commit| &commit.writes) {
            want(write, &mut wanted);
        }
        let ring = self.keys.hold(wanted).await;
        let sealed = batch.iter().map(|commit| seal_commit(commit, &ring));
        sealed.collect()
    }

    async fn open_entries(&self, entries: &mut [Entry]) -> Result<(), PortError> {
        let authors = entries.iter().filter(|entry| entry::is_keyed(entry));
        let wanted = authors.map(|entry| (entry.from.clone(), false)).collect();
        let ring = self.keys.hold(wanted).await;
        for entry in entries.iter_mut().filter(|entry| entry::is_keyed(entry)) {
            if let Some(held) = ring.get(&entry.from) {
                entry::open(entry, held)?;
            }
        }
        Ok(())
    }
}

/// Whose keys a write needs; true: it must be there, and is made when it is not.
fn want(write: &Write, wanted: &mut BTreeMap<UserId, bool>) {
    let mut need = |user: UserId, make: bool| {
        let known = wanted.entry(user).or_default();
        *known |= make;
    };
    match write {
        Write::Append(entry) if entry::is_sealable(entry.body.kind()) => {
            need(entry.from.clone(), true);
        }
        Write::Place(run) => {
            let entries = run.entries.iter();
            for entry in entries.filter(|entry| entry::is_sealable(entry.body.kind())) {
                need(entry.from.clone(), true);
            }
        }
        Write::Put(put) => {
            let (to, was) = fact::subjects(put);
            to.into_iter().for_each(|user| need(user, true));
            was.into_iter().for_each(|user| need(user, false));
        }
        _ => {}
    }
}

fn seal_commit(commit: &Commit, ring: &Ring) -> Result<Commit, PortError> {
    let mut sealed = commit.clone();
    for write in &mut sealed.writes {
        match write {
            Write::Append(entry) => entry::seal(&commit.conv, entry, ring)?,
            Write::Place(run) => {
                for entry in &mut run.entries {
                    entry::seal(&commit.conv, entry, ring)?;
                }
            }
            Write::Put(put) => fact::seal(put, ring)?,
            _ => {}
        }
    }
    Ok(sealed)
}

#[async_trait]
impl Store for Sealed {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        let mut refused = Vec::new();
        let mut good = Vec::with_capacity(batch.len());
        for sealed in self.seal_all(batch).await {
            match sealed {
                Ok(commit) => {
                    refused.push(None);
                    good.push(commit);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let answers = self.inner.commit(&good).await;
        for key in batch.iter().flat_map(im_core::rule::commit::puts) {
            if key.key.table == FactTable::DataKey {
                self.keys.forget(&key.key.owner);
            }
        }
        let mut answers = answers.into_iter();
        let lost = || Err(PortError::new(PortErrorKind::Internal).into());
        let answer = |refused: Option<PortError>| match refused {
            Some(error) => Err(error.into()),
            None => answers.next().unwrap_or_else(lost),
        };
        refused.into_iter().map(answer).collect()
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.inner.view(conv, users).await
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
        let mut found = self.inner.log(conv, entry::widened(&query)).await?;
        self.open_entries(&mut found).await?;
        Ok(entry::bounded(found, &query))
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let page = self.inner.memberships(user, since, limit, detail);
        let mut page = page.await?;
        let (at, mut last): (Vec<_>, Vec<_>) = page
            .lines
            .iter_mut()
            .enumerate()
            .filter_map(|(at, line)| Some((at, line.last.take()?)))
            .unzip();
        self.open_entries(&mut last).await?;
        for (at, last) in at.into_iter().zip(last) {
            page.lines[at].last = Some(last);
        }
        Ok(page)
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.inner.changed(since, limit).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.inner.record(key, now).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        let mut found = self.inner.facts(query).await?;
        let sealed = found.iter().filter_map(fact::sealed_of);
        let wanted = sealed.map(|user| (user, false)).collect();
        let ring = self.keys.hold(wanted).await;
        for fact in &mut found {
            fact::open(fact, &ring)?;
        }
        Ok(found)
    }
}
