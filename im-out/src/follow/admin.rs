//! What an operator does with an outbox: sees what was given up, and tells it again.

use std::sync::Arc;

use im_core::model::{ConversationId, FactTable, Seq, Timestamp, Value};
use im_core::port::{FactQuery, PortError, Put, Store, Was};

use super::keep::{Keep, Place};

/// Dead letters of a follower; when there are so many, no more are given up, and what would be
/// waits.
pub(super) const DEAD_MAX: usize = 1_000;
/// Dead letters of all followers that are read at once. Of more, those given up last are not seen.
const READ_MAX: usize = 16 * DEAD_MAX;

/// An entry that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Of which conversation.
    pub conv: ConversationId,
    /// Which.
    pub seq: Seq,
    /// When it was given up.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
}

pub(super) async fn dead_of(keep: &Keep, most: usize) -> Result<Vec<Dead>, PortError> {
    let query = FactQuery::Due {
        table: FactTable::OutDead,
        until: Timestamp(i64::MAX),
        limit: READ_MAX,
    };
    let facts = keep.store.facts(&query).await?;
    let dead = facts.into_iter().filter_map(|fact| {
        let (name, seq) = fact.key.key.split_once('\n')?;
        let why = Value::from_json(&fact.value).ok()?;
        (name == keep.name()).then_some(())?;
        Some(Dead {
            conv: ConversationId::new(fact.key.owner).ok()?,
            seq: Seq(u64::from_str_radix(seq, 16).ok()?),
            at: fact.at?,
            why: why.as_text()?.to_owned(),
        })
    });
    Ok(dead.take(most).collect())
}

/// What the follower of that name gave up, the oldest first; at most 1,000.
///
/// # Errors
/// As the store's.
pub async fn dead_letters(store: &Arc<dyn Store>, name: &str) -> Result<Vec<Dead>, PortError> {
    dead_of(&Keep::new(name, Arc::clone(store)), DEAD_MAX).await
}

/// The follower of that name tells a conversation again, from an entry on, within ten seconds or
/// so. Dead letters from there on are none any more.
///
/// # Errors
/// As the store's.
pub async fn replay(
    store: &Arc<dyn Store>,
    name: &str,
    conv: &ConversationId,
    from: Seq,
) -> Result<(), PortError> {
    let keep = Keep::new(name, Arc::clone(store));
    let Some(view) = store.view(conv, &[]).await? else {
        return Ok(());
    };
    let place = Place {
        seq: Seq(from.0.saturating_sub(1)),
        epoch: view.conversation.epoch,
    };
    let mut puts = vec![Put {
        key: keep.place_key(conv),
        to: Some((place.to_json(), None)),
        was: Was::Any,
    }];
    let dead = dead_of(&keep, DEAD_MAX).await?;
    let dead = dead
        .into_iter()
        .filter(|dead| dead.conv == *conv && dead.seq >= from);
    puts.extend(dead.map(|dead| Put {
        key: keep.dead_key(conv, dead.seq),
        to: None,
        was: Was::Any,
    }));
    keep.put(puts).await?;
    // Only then: who finds that it waits must find its place, too.
    keep.wait(conv, 0).await
}
