//! Data keys: found, made, and held for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::{
    Commit, FactQuery, PortError, PortErrorKind, Put, Rejected, Store, Was, Write,
};
use parking_lot::Mutex;

use crate::Ring;
use crate::cipher::{Bound, Cipher, from_base64, random, to_base64};
use crate::error::SealError;
use crate::keyring::{DATA_KEY_BYTES, Keyring, MasterId, Wrapped};

/// Data keys in memory, in each of two generations: about 1 KB each.
const GENERATION_MAX: usize = 8_192;
/// How long a data key is held: so long another node may read and write after it was deleted.
const HOLD: Duration = Duration::from_secs(60);
/// Data keys that one call looks for at once.
const LOADS_MAX: usize = 16;

/// What there is of a user's data key.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// It is here.
    Key(Arc<Cipher>),
    /// It was deleted: nobody opens what it sealed.
    Gone,
    /// There was none yet.
    None,
    /// It can't be had now.
    Failed(PortError),
}

/// A data key as it is kept beside the logs.
#[derive(Debug)]
pub(crate) enum Kept {
    Wrapped(Wrapped),
    Gone,
}

/// The fact of a user's data key.
pub(crate) fn fact_key(user: &str) -> FactKey {
    FactKey::new(FactTable::DataKey, user, "")
}

/// What a data key is bound to: another user's is none.
pub(crate) fn bound(user: &str) -> Bound {
    Bound::to("imkit data key 1").and(user.as_bytes())
}

/// What is kept of a wrapped key, and when it stands among those to be wrapped anew: the number of
/// its master key stands in the place of a time.
pub(crate) fn value(wrapped: &Wrapped) -> (String, Option<Timestamp>) {
    let value = Value::object([
        ("key", Value::from(to_base64(&wrapped.bytes))),
        ("master", u64::from(wrapped.master.0).into()),
    ]);
    let at = Timestamp(i64::from(wrapped.master.0));
    (value.to_json(), Some(at))
}

pub(crate) fn read(fact: &Fact) -> Result<Kept, SealError> {
    let value = Value::from_json(&fact.value).map_err(|_| SealError::NoDataKey)?;
    if value.get("gone").is_some() {
        return Ok(Kept::Gone);
    }
    let wrapped = || {
        let master = value.get("master")?.as_int()?;
        Some(Wrapped {
            master: MasterId(u32::try_from(master).ok()?),
            bytes: from_base64(value.get("key")?.as_text()?)?,
        })
    };
    wrapped().map(Kept::Wrapped).ok_or(SealError::NoDataKey)
}

/// Writes one fact; false when it is not what was expected.
pub(crate) async fn put(store: &dyn Store, put: Put) -> Result<bool, PortError> {
    let internal = || PortError::new(PortErrorKind::Internal);
    let commit = Commit {
        conv: put.key.place().ok_or_else(internal)?,
        expect_version: None,
        actor: None,
        writes: vec![Write::Put(put)],
    };
    match store.commit(&[commit]).await.pop() {
        Some(Ok(_)) => Ok(true),
        Some(Err(Rejected::Conflict)) => Ok(false),
        Some(Err(Rejected::Store(error))) => Err(error),
        _ => Err(internal()),
    }
}

/// The data keys of a store.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: Arc<dyn Keyring>,
    cache: Mutex<Cache>,
}

impl Keys {
    pub(crate) fn new(store: Arc<dyn Store>, ring: Arc<dyn Keyring>) -> Self {
        Self {
            store,
            ring,
            cache: Mutex::default(),
        }
    }

    /// The data keys of these users; true: one is made where there is none.
    pub(crate) async fn hold(&self, wanted: std::collections::BTreeMap<UserId, bool>) -> Ring {
        let mut held = Ring::new();
        let mut missing = Vec::new();
        let now = Instant::now();
        {
            let mut cache = self.cache.lock();
            for (user, make) in wanted {
                match cache.get(&user, now) {
                    Some(found) => drop(held.insert(user, found)),
                    None => missing.push((user, make)),
                }
            }
        }
        if missing.is_empty() {
            return held;
        }
        let loads = stream::iter(missing).map(async |(user, make)| {
            let found = self.load(&user, make).await;
            (
                user,
                found.unwrap_or_else(|error| Held::Failed(error.into())),
            )
        });
        let mut loads = std::pin::pin!(loads.buffer_unordered(LOADS_MAX));
        while let Some((user, found)) = loads.next().await {
            if matches!(found, Held::Key(_) | Held::Gone) {
                self.cache.lock().keep(user.clone(), found.clone(), now);
            }
            held.insert(user, found);
        }
        held
    }

    /// The data key of a user is another one, or none, from now on.
    pub(crate) fn forget(&self, user: &str) {
        let mut cache = self.cache.lock();
        cache.young.retain(|known, _| known.as_str() != user);
        cache.old.retain(|known, _| known.as_str() != user);
    }

    async fn load(&self, user: &UserId, make: bool) -> Result<Held, SealError> {
        let query = FactQuery::One(fact_key(user.as_str()));
        if let Some(fact) = self.store.facts(&query).await?.pop() {
            return self.unwrap(user, &fact).await;
        }
        if !make {
            return Ok(Held::None);
        }
        let key = random::<DATA_KEY_BYTES>()?;
        let wrapped = self.ring.wrap(&key, bound(user.as_str()).bytes()).await?;
        let made = Put {
            key: fact_key(user.as_str()),
            to: Some(value(&wrapped)),
            was: Was::Absent,
        };
        if put(&*self.store, made).await? {
            return Ok(Held::Key(Arc::new(Cipher::new(&key))));
        }
        // Another node made one at the same moment, and that one counts.
        match self.store.facts(&query).await?.pop() {
            Some(fact) => self.unwrap(user, &fact).await,
            None => Err(PortError::new(PortErrorKind::Busy).into()),
        }
    }

    async fn unwrap(&self, user: &UserId, fact: &Fact) -> Result<Held, SealError> {
        match read(fact)? {
            Kept::Gone => Ok(Held::Gone),
            Kept::Wrapped(wrapped) => {
                let bound = bound(user.as_str());
                let key = self.ring.unwrap(&wrapped, bound.bytes()).await?;
                Ok(Held::Key(Arc::new(Cipher::new(&key))))
            }
        }
    }
}

/// What was used lately. When the young generation is full, it becomes the old one.
#[derive(Debug, Default)]
struct Cache {
    young: HashMap<UserId, (Held, Instant)>,
    old: HashMap<UserId, (Held, Instant)>,
}

impl Cache {
    fn get(&mut self, user: &UserId, now: Instant) -> Option<Held> {
        let is_fresh = |since: &Instant| now.saturating_duration_since(*since) < HOLD;
        if let Some((held, since)) = self.young.get(user) {
            return is_fresh(since).then(|| held.clone());
        }
        let (held, since) = self.old.remove(user)?;
        if !is_fresh(&since) {
            return None;
        }
        self.keep(user.clone(), held.clone(), since);
        Some(held)
    }

    fn keep(&mut self, user: UserId, held: Held, since: Instant) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user, (held, since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_in_number_and_in_time() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let user = |n: usize| UserId::new(format!("u{n}")).unwrap();
        for n in 0..3 * GENERATION_MAX {
            cache.keep(user(n), Held::Gone, now);
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_MAX);
        assert!(cache.get(&user(0), now).is_none());
        let last = user(3 * GENERATION_MAX - 1);
        assert!(cache.get(&last, now + HOLD / 2).is_some());
        assert!(cache.get(&last, now + HOLD).is_none());
    }
}
