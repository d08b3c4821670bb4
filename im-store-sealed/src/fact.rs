//! Facts: those that hold what people write, sealed and opened.
//!
//! Equal values at one place are sealed to equal texts, so that a store can still tell whether a
//! fact is what was expected. Who has the database sees that a value came back, and nothing else.

use im_core::model::{Fact, FactKey, FactOwner, FactTable, UserId, Value};
use im_core::port::{PortError, PortErrorKind, Put, Was};

use crate::Ring;
use crate::cipher::{Bound, NonceBytes, from_base64, to_base64};
use crate::keys::Held;

/// Facts have one nonce: the cipher stands it, see above.
const NONCE: NonceBytes = *b"imkit:fact:1";
/// Behind a value that was stored before there was sealing. No value of ours ends so.
const PLAIN: char = ' ';
/// Before a value that nobody can open, given as it is stored. No value of ours begins so.
const LOST: char = ' ';

/// Whose key seals a fact; `None`: it holds nothing that people write. A table that is not named
/// here is sealed, if its facts are somebody's.
fn subject(key: &FactKey, value: &str) -> Option<UserId> {
    let user = |id: &str| UserId::new(id).ok();
    match key.table {
        FactTable::Privacy
        | FactTable::Seen
        | FactTable::Hidden
        | FactTable::Erasure
        | FactTable::DataKey => None,
        // The note is of who asks.
        FactTable::FriendRequest => user(&key.key),
        FactTable::Mark => {
            let value = Value::from_json(value).ok()?;
            value.get("text")?;
            user(value.get("by")?.as_text()?)
        }
        // It holds what was said, and is its author's; of none, whose words the report are.
        FactTable::Report => {
            let value = Value::from_json(value).ok()?;
            let author = value.get("from").or_else(|| value.get("by"));
            user(author?.as_text()?)
        }
        table => match table.owner() {
            FactOwner::User | FactOwner::Pair => user(&key.owner),
            FactOwner::Conversation | FactOwner::Everyone | FactOwner::Blob => None,
        },
    }
}

/// Whose key a fact was sealed with, if it was.
fn parts(key: &FactKey, stored: &str) -> Option<(UserId, Vec<u8>)> {
    if !stored.starts_with("{\"of\":") || key.table == FactTable::DataKey {
        return None;
    }
    let value = Value::from_json(stored).ok()?;
    let Value::Object(fields) = &value else {
        return None;
    };
    let user = UserId::new(value.get("of")?.as_text()?).ok()?;
    let sealed = from_base64(value.get("sealed")?.as_text()?)?;
    (fields.len() == 2).then_some((user, sealed))
}

fn bound(key: &FactKey, user: &UserId) -> Bound {
    Bound::to("imkit fact 1")
        .and(key.table.as_str().as_bytes())
        .and(key.owner.as_bytes())
        .and(key.key.as_bytes())
        .and(user.as_str().as_bytes())
}

/// Whose keys a change needs: for what it writes, and for what it expects.
pub(crate) fn subjects(put: &Put) -> (Option<UserId>, Option<UserId>) {
    let to = put.to.as_ref();
    let to = to.and_then(|(value, _)| subject(&put.key, value));
    let was = match &put.was {
        Was::Value(value) => subject(&put.key, value),
        Was::Any | Was::Absent => None,
    };
    (to, was)
}

/// Seals what a change writes, and what it expects.
pub(crate) fn seal(put: &mut Put, ring: &Ring) -> Result<(), PortError> {
    if let Some((value, _)) = &mut put.to {
        // What was read and is written back unopened stays what it is.
        if let Some(stored) = value.strip_prefix(LOST) {
            *value = stored.to_owned();
        } else if let Some(user) = subject(&put.key, value) {
            let plain = value.strip_suffix(PLAIN).unwrap_or(value);
            let sealed = sealed(&put.key, &user, plain, ring)?;
            *value = sealed.ok_or_else(|| PortError::new(PortErrorKind::Fenced))?;
        }
    }
    if let Was::Value(value) = &mut put.was {
        if let Some(stored) = value.strip_prefix(LOST) {
            *value = stored.to_owned();
        } else if let Some(stored) = value.strip_suffix(PLAIN) {
            *value = stored.to_owned();
        } else if let Some(user) = subject(&put.key, value)
            && let Some(sealed) = sealed(&put.key, &user, value, ring)?
        {
            *value = sealed;
        }
    }
    Ok(())
}

/// A value as it is stored; `None` when there is no key for it.
fn sealed(
    key: &FactKey,
    user: &UserId,
    value: &str,
    ring: &Ring,
) -> Result<Option<String>, PortError> {
    match ring.get(user) {
        Some(Held::Key(cipher)) => {
            let sealed = cipher.seal(NONCE, value.as_bytes(), bound(key, user).bytes());
            let stored = Value::object([
                ("of", Value::from(user.as_str())),
                ("sealed", to_base64(&sealed).into()),
            ]);
            Ok(Some(stored.to_json()))
        }
        Some(Held::Failed(error)) => Err(error.clone()),
        Some(Held::Gone | Held::None) | None => Ok(None),
    }
}

/// Whose key opens a fact, if it is sealed.
pub(crate) fn sealed_of(fact: &Fact) -> Option<UserId> {
    parts(&fact.key, &fact.value).map(|(user, _)| user)
}

/// Opens a fact. One that nobody can open is given as it is stored, marked so that it can be
/// removed on the condition that it is still that.
pub(crate) fn open(fact: &mut Fact, ring: &Ring) -> Result<(), PortError> {
    let Some((user, sealed)) = parts(&fact.key, &fact.value) else {
        if subject(&fact.key, &fact.value).is_some() {
            fact.value.push(PLAIN);
        }
        return Ok(());
    };
    let opened = match ring.get(&user) {
        Some(Held::Failed(error)) => return Err(error.clone()),
        Some(Held::Key(cipher)) => cipher
            .open(NONCE, &sealed, bound(&fact.key, &user).bytes())
            .and_then(|bytes| String::from_utf8(bytes).ok()),
        _ => None,
    };
    match opened {
        Some(value) => fact.value = value,
        None => {
            if !matches!(ring.get(&user), Some(Held::Gone)) {
                metrics::counter!("im_seal_unreadable_total").increment(1);
                tracing::error!(
                    table = fact.key.table.as_str(),
                    "a stored fact is not what was sealed there"
                );
            }
            fact.value.insert(0, LOST);
        }
    }
    Ok(())
}
