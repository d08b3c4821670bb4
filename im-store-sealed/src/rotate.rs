//! Master keys: whether all are there, and wrapping data keys anew.

use std::collections::BTreeSet;

use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::{FactQuery, Put, Was};

use crate::Sealed;
use crate::cipher::{Bound, from_base64, to_base64};
use crate::error::SealError;
use crate::keyring::{DATA_KEY_BYTES, MasterId, Wrapped};
use crate::keys::{self, Held, Kept, put};

/// Master keys that a store knows of: as many as a file may hold, and some more.
const MASTERS_MAX: usize = 256;
/// Data keys counted at most for a status.
const COUNT_MAX: usize = 10_000;
/// Data keys read at once while they are counted, and wrapped at once.
const PAGE: usize = 200;

/// What a master key is checked with: it must open this, wrapped when it was first used.
const KNOWN: [u8; DATA_KEY_BYTES] = *b"imkit: this is the master key...";

/// Which master keys are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealStatus {
    /// The one that new data keys are wrapped with.
    pub active: MasterId,
    /// Data keys wrapped with an older one, at most 10,000 are counted.
    pub older: usize,
    /// The master keys that must be in the ring.
    pub needed: Vec<MasterId>,
}

fn master_key(id: MasterId) -> FactKey {
    FactKey::new(FactTable::MasterKey, "", id.to_string())
}

fn bound(id: MasterId) -> Bound {
    Bound::to("imkit master key 1").and(&id.0.to_le_bytes())
}

fn until(id: MasterId) -> Timestamp {
    Timestamp(i64::from(id.0))
}

fn read_master(fact: &Fact) -> Result<(MasterId, Vec<u8>), SealError> {
    let read = || {
        let id = MasterId(fact.key.key.parse().ok()?);
        let value = Value::from_json(&fact.value).ok()?;
        Some((id, from_base64(value.get("check")?.as_text()?)?))
    };
    read().ok_or(SealError::NoDataKey)
}

impl Sealed {
    /// Is every master key there that something is sealed with, and is it the one?
    pub(crate) async fn check(&self) -> Result<(), SealError> {
        let ring = &self.keys.ring;
        let mut known = BTreeSet::new();
        for fact in self.masters().await? {
            let (id, check) = read_master(&fact)?;
            if !ring.has(id) {
                return Err(SealError::MissingMaster(id));
            }
            let wrapped = Wrapped {
                master: id,
                bytes: check,
            };
            let opened = ring.unwrap(&wrapped, bound(id).bytes()).await?;
            if *opened != KNOWN {
                return Err(SealError::WrongMaster(id));
            }
            known.insert(id);
        }
        // A node that had not heard of a rotation may have wrapped with a key that was let go.
        if let Some(oldest) = self.wrapped_until(Timestamp(i64::MAX), 1).await?.first()
            && let Kept::Wrapped(wrapped) = keys::read(oldest)?
            && !ring.has(wrapped.master)
        {
            return Err(SealError::MissingMaster(wrapped.master));
        }
        if !known.contains(&ring.active()) {
            self.know_active().await?;
        }
        Ok(())
    }

    /// Notes the active master key, so that a start without it is refused.
    async fn know_active(&self) -> Result<(), SealError> {
        let active = self.keys.ring.active();
        let wrapped = self.keys.ring.wrap(&KNOWN, bound(active).bytes()).await?;
        // It may have become another one between the two.
        if wrapped.master != active {
            return Ok(());
        }
        let check = Value::object([("check", Value::from(to_base64(&wrapped.bytes)))]);
        let noted = Put {
            key: master_key(active),
            to: Some((check.to_json(), None)),
            was: Was::Absent,
        };
        put(&*self.keys.store, noted).await?;
        Ok(())
    }

    async fn masters(&self) -> Result<Vec<Fact>, SealError> {
        let query = FactQuery::Of {
            table: FactTable::MasterKey,
            owner: String::new(),
            after: None,
            below: None,
            limit: MASTERS_MAX,
        };
        Ok(self.keys.store.facts(&query).await?)
    }

    /// Data keys wrapped with a master key up to a number, the lowest first.
    async fn wrapped_until(&self, until: Timestamp, limit: usize) -> Result<Vec<Fact>, SealError> {
        let query = FactQuery::Due {
            table: FactTable::DataKey,
            until,
            limit,
        };
        Ok(self.keys.store.facts(&query).await?)
    }

    /// Wraps some data keys with the active master key that an older one wraps, at most 200. How
    /// many; 0: no older master key is needed any more. Any node may do it at any time, and what
    /// is begun goes on with the next call.
    ///
    /// # Errors
    /// When the store or the keyring does not answer, or an older key is missing.
    pub async fn rewrap(&self) -> Result<usize, SealError> {
        let active = self.keys.ring.active();
        let below = Timestamp(until(active).0 - 1);
        let found = self.wrapped_until(below, PAGE).await?;
        for fact in &found {
            let Kept::Wrapped(old) = keys::read(fact)? else {
                continue;
            };
            let bound = keys::bound(&fact.key.owner);
            let key = self.keys.ring.unwrap(&old, bound.bytes()).await?;
            let new = self.keys.ring.wrap(&key, bound.bytes()).await?;
            let anew = Put {
                key: fact.key.clone(),
                to: Some(keys::value(&new)),
                was: Was::Value(fact.value.clone()),
            };
            // Who was first, or deleted it meanwhile, is right.
            put(&*self.keys.store, anew).await?;
        }
        if found.is_empty() {
            self.let_go(active).await?;
        } else {
            self.know_active().await?;
        }
        Ok(found.len())
    }

    /// Nothing is wrapped with master keys below this one.
    async fn let_go(&self, active: MasterId) -> Result<(), SealError> {
        self.know_active().await?;
        for fact in self.masters().await? {
            let (id, _) = read_master(&fact)?;
            if id < active {
                let gone = Put {
                    key: fact.key,
                    to: None,
                    was: Was::Any,
                };
                put(&*self.keys.store, gone).await?;
            }
        }
        Ok(())
    }

    /// Which master keys are in use, and how much a rotation has left to do.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn status(&self) -> Result<SealStatus, SealError> {
        let active = self.keys.ring.active();
        let below = Timestamp(until(active).0 - 1);
        let older = self.wrapped_until(below, COUNT_MAX).await?.len();
        let masters = self.masters().await?;
        let needed = masters.iter().map(|fact| Ok(read_master(fact)?.0));
        Ok(SealStatus {
            active,
            older,
            needed: needed.collect::<Result<_, SealError>>()?,
        })
    }

    /// Deletes a user's data key, for good: what they wrote can be opened by nobody any more,
    /// neither here nor in a backup of the messages. False when they had none or it was deleted
    /// before. Other nodes know it within a minute.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delete_key(&self, user: &UserId, now: Timestamp) -> Result<bool, SealError> {
        let held = self.keys.hold([(user.clone(), false)].into()).await;
        let had = match held.get(user) {
            Some(Held::Key(_)) => true,
            Some(Held::Failed(error)) => return Err(error.clone().into()),
            _ => false,
        };
        let gone = Value::object([("gone", Value::from(now.0))]);
        let put_gone = Put {
            key: keys::fact_key(user.as_str()),
            to: Some((gone.to_json(), None)),
            was: Was::Any,
        };
        put(&*self.keys.store, put_gone).await?;
        self.keys.forget(user.as_str());
        Ok(had)
    }
}
