//! Keys of programs: who has one sends by HTTP as the user that it names, without a token.
//!
//! The store keeps a hash of what is secret about a key, never the key. A key is a credential of
//! 244 random bits, so a plain SHA-256 is as good as a slow hash.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use im_core::machine::Bucket;
use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::{
    AuthError, Clock, Commit, FactQuery, Identity, PortError, PortErrorKind, Put, Registry,
    Rejected, Store, Was, Write,
};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::node::Node;

/// What a key begins with, so that it is not taken for a token, and found where it leaked.
pub const PREFIX: &str = "imk_";
/// The most keys of one store.
pub const KEYS_MAX: usize = 1_000;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 64;
/// The most methods that a key names.
pub const METHODS_MAX: usize = 64;

/// Hexadecimal digits of an id, and of a secret.
const ID_CHARS: usize = 16;
const SECRET_CHARS: usize = 64;
/// Keys that this node does not know and that it asks the store of, a second: some are new, and the
/// rest are guesses.
const GUESSES_PER_S: u32 = 50;

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id: no secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// As whom it speaks.
    pub user: UserId,
    /// What it may call: names of methods, or `messages.*` for all that begin so.
    pub methods: Vec<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// As [`ApiKey::name`].
    pub name: String,
    /// As [`ApiKey::user`].
    pub user: UserId,
    /// As [`ApiKey::methods`].
    pub methods: Vec<String>,
    /// As [`ApiKey::expires_at`].
    pub expires_at: Option<Timestamp>,
}

/// Why a key was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// Something about it is wrong.
    #[error("{0}: {1}")]
    Bad(&'static str, &'static str),
    /// There are too many.
    #[error("there are {KEYS_MAX} keys already: revoke some")]
    TooMany,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] PortError),
}

impl ApiKey {
    /// Whether it may call a method.
    #[must_use]
    pub fn may(&self, method: &str) -> bool {
        self.methods.iter().any(|one| match one.strip_suffix('*') {
            Some(part) => part.ends_with('.') && method.starts_with(part),
            None => one == method,
        })
    }

    /// Who calls with it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            user: self.user.clone(),
            name: None,
            roles: Vec::new(),
            expires_at: self.expires_at.unwrap_or(Timestamp(i64::MAX)),
        }
    }

    fn to_json(&self, hash: &str) -> String {
        let methods: Vec<Value> = self.methods.iter().map(|one| one.as_str().into()).collect();
        let mut fields = vec![
            ("hash", Value::from(hash)),
            ("name", self.name.as_str().into()),
            ("user", self.user.as_str().into()),
            ("methods", methods.into()),
            ("made_at", self.made_at.0.into()),
        ];
        fields.extend(self.expires_at.map(|at| ("expires_at", at.0.into())));
        Value::object(fields).to_json()
    }

    /// A key and the hash of its secret.
    pub(crate) fn read(fact: &Fact) -> Option<(Self, String)> {
        let value = Value::from_json(&fact.value).ok()?;
        let text = |field| value.get(field)?.as_text().map(str::to_owned);
        let Some(Value::Array(methods)) = value.get("methods") else {
            return None;
        };
        let methods = methods.iter().filter_map(Value::as_text);
        let key = Self {
            id: fact.key.key.clone(),
            name: text("name")?,
            user: UserId::new(text("user")?).ok()?,
            methods: methods.map(str::to_owned).collect(),
            made_at: Timestamp(value.get("made_at")?.as_int()?),
            expires_at: value
                .get("expires_at")
                .and_then(Value::as_int)
                .map(Timestamp),
        };
        Some((key, text("hash")?))
    }
}

pub(crate) fn fact_key(id: &str) -> FactKey {
    FactKey::new(FactTable::ApiKey, "", id)
}

fn hash(secret: &str) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(secret.as_bytes()) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Makes a key, and gives what is to be shown once: the store has no copy of it.
///
/// # Errors
/// When something about it is wrong, there are too many, or the store does not answer.
pub async fn make(
    store: &dyn Store,
    new: NewKey,
    now: Timestamp,
) -> Result<(ApiKey, String), KeyError> {
    if all(store).await?.len() >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    let drawn = draw(new, now)?;
    match commit(store, drawn.put).await? {
        true => Ok((drawn.key, drawn.text)),
        false => Err(PortError::new(PortErrorKind::Busy).into()),
    }
}

/// A key that is drawn and not kept yet.
pub(crate) struct Drawn {
    pub(crate) key: ApiKey,
    /// What is shown once.
    pub(crate) text: String,
    /// What keeps it.
    pub(crate) put: Put,
}

/// Draws a key.
///
/// # Errors
/// When something about it is wrong.
pub(crate) fn draw(new: NewKey, now: Timestamp) -> Result<Drawn, KeyError> {
    check(&new, now)?;
    let id = Uuid::new_v4().simple().to_string()[..ID_CHARS].to_owned();
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let key = ApiKey {
        id: id.clone(),
        name: new.name,
        user: new.user,
        methods: new.methods,
        made_at: now,
        expires_at: new.expires_at,
    };
    let put = Put {
        key: fact_key(&id),
        to: Some((key.to_json(&hash(&secret)), None)),
        was: Was::Absent,
    };
    let text = format!("{PREFIX}{id}_{secret}");
    Ok(Drawn { key, text, put })
}

fn check(new: &NewKey, now: Timestamp) -> Result<(), KeyError> {
    let chars = new.name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || new.name.chars().any(char::is_control) {
        return Err(KeyError::Bad("name", "must be 1 to 64 characters"));
    }
    if new.methods.is_empty() || new.methods.len() > METHODS_MAX {
        return Err(KeyError::Bad("methods", "must be 1 to 64 names of methods"));
    }
    if new
        .methods
        .iter()
        .any(|one| one.is_empty() || one.len() > 64 || one == "*")
    {
        return Err(KeyError::Bad("methods", "must be names, or end in .*"));
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(KeyError::Bad("expires_at", "must lie ahead"));
    }
    Ok(())
}

/// Every key, by id.
///
/// # Errors
/// When the store does not answer.
pub async fn all(store: &dyn Store) -> Result<Vec<ApiKey>, PortError> {
    let query = FactQuery::Of {
        table: FactTable::ApiKey,
        owner: String::new(),
        after: None,
        below: None,
        limit: KEYS_MAX,
    };
    let facts = store.facts(&query).await?;
    Ok(facts
        .iter()
        .filter_map(ApiKey::read)
        .map(|(key, _)| key)
        .collect())
}

/// A key is good no more, from this moment on. False when there is none of that id.
///
/// # Errors
/// When the store does not answer.
pub async fn revoke(store: &dyn Store, id: &str) -> Result<bool, PortError> {
    let found = store.facts(&FactQuery::One(fact_key(id))).await?;
    if found.is_empty() {
        return Ok(false);
    }
    let put = Put {
        key: fact_key(id),
        to: None,
        was: Was::Any,
    };
    commit(store, put).await
}

/// The id and the secret of what could be a key: the store is asked of nothing else.
fn parts(text: &str) -> Option<(&str, &str)> {
    let is_hex = |text: &str, chars| {
        text.len() == chars && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (is_hex(id, ID_CHARS) && is_hex(secret, SECRET_CHARS)).then_some((id, secret))
}

/// What stands between guesses and the store: a guess costs a read of it.
#[derive(Debug, Default)]
pub(crate) struct Door(Mutex<Guesses>);

#[derive(Debug, Default)]
struct Guesses {
    bucket: Option<Bucket>,
    /// Hashes of keys that were good lately: they wait for nobody's guesses.
    good: BTreeSet<String>,
}

impl Door {
    fn admits(&self, text: &str, now: Instant) -> bool {
        let Guesses { bucket, good } = &mut *self.0.lock();
        let fresh = || Bucket::new(now, GUESSES_PER_S);
        let bucket = bucket.get_or_insert_with(fresh);
        good.contains(&hash(text)) || bucket.take(now).is_ok()
    }

    fn handle_good(&self, text: &str) {
        let good = &mut self.0.lock().good;
        if good.len() >= KEYS_MAX {
            good.clear();
        }
        good.insert(hash(text));
    }
}

/// The key that a text is. Nothing is remembered: a key that was revoked is good no more.
///
/// # Errors
/// When it is none, or can't be checked.
pub async fn find(store: &dyn Store, text: &str, now: Timestamp) -> Result<ApiKey, AuthError> {
    let invalid = |why: &str| AuthError::Invalid(why.to_owned());
    let (id, secret) = parts(text).ok_or_else(|| invalid("is no key"))?;
    let found = store.facts(&FactQuery::One(fact_key(id))).await;
    let found = found.map_err(|_| AuthError::Unavailable)?;
    let Some((key, expected)) = found.first().and_then(ApiKey::read) else {
        return Err(invalid("there is no such key"));
    };
    // Who times this learns of a hash, not of a secret.
    if hash(secret) != expected {
        return Err(invalid("the key's secret is another one"));
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Err(invalid("the key is over"));
    }
    Ok(key)
}

impl Node {
    /// Checks a [key](self), for transports of HTTP: a key opens no connection.
    ///
    /// # Errors
    /// When it is none, or can't be checked now.
    pub async fn key(&self, text: &str) -> Result<ApiKey, AuthError> {
        let inner = &self.inner;
        if parts(text).is_some() && !inner.key_door.admits(text, inner.clock.now()) {
            metrics::counter!("im_rate_limited_total").increment(1);
            return Err(AuthError::Unavailable);
        }
        let key = find(&*inner.store, text, inner.clock.timestamp()).await?;
        inner.key_door.handle_good(text);
        Ok(key)
    }

    /// The store, the registry and the clock that the node works with, for what works beside it.
    #[must_use]
    pub fn ports(&self) -> (Arc<dyn Store>, Arc<dyn Registry>, Arc<dyn Clock>) {
        let inner = &self.inner;
        (
            Arc::clone(&inner.store),
            Arc::clone(&inner.registry),
            Arc::clone(&inner.clock),
        )
    }
}

async fn commit(store: &dyn Store, put: Put) -> Result<bool, PortError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_asked_of_nothing_that_is_no_key() {
        let (id, secret) = ("0123456789abcdef", "a1".repeat(32));
        let key = format!("imk_{id}_{secret}");
        assert_eq!(parts(&key), Some((id, secret.as_str())));
        for bad in ["imk_x_y", "imk_", &key[4..], &key[..80], &format!("{key}0")] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        assert_eq!(parts(&key.replace('f', "g")), None);
    }

    #[test]
    fn guesses_are_bounded_and_keep_nobody_out_whose_key_was_good() {
        let (door, now) = (Door::default(), Instant::now());
        assert!(door.admits("good", now));
        door.handle_good("good");
        let passed = (0..10_000).filter(|n| door.admits(&n.to_string(), now));
        assert!(passed.count() < 2 * GUESSES_PER_S as usize + 1);
        assert!(door.admits("good", now));
        for n in 0..3 * KEYS_MAX {
            door.handle_good(&n.to_string());
        }
        assert!(door.0.lock().good.len() <= KEYS_MAX);
    }
}
