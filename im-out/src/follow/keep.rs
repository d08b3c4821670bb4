//! What a follower keeps in the store, as facts: how far it looked, how far it told each
//! conversation, which of them wait, and what was given up.

use std::sync::Arc;

use im_core::model::{
    ConversationId, Epoch, Fact, FactKey, FactTable, Seq, Stamps, Timestamp, Value,
};
use im_core::port::{
    Commit, FactQuery, PortError, PortErrorKind, Put, Rejected, Store, Was, Write,
};

/// Facts that are read at once.
const PAGE: usize = 500;

/// How far a follower looked at what changed, and who it is. One fact, so that who lost the lease
/// can't move it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Who follows; empty: nobody.
    pub(super) holder: String,
    /// Grows while the holder lives.
    pub(super) beat: u64,
    /// When the follower began.
    pub(super) since: Timestamp,
    /// What it has looked at.
    pub(super) stamps: Stamps,
}

impl Cursor {
    pub(super) fn to_json(&self) -> String {
        Value::object([
            ("beat", Value::from(self.beat)),
            ("holder", self.holder.as_str().into()),
            ("since", self.since.0.into()),
            ("stamps", self.stamps.to_string().into()),
        ])
        .to_json()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let value = Value::from_json(text).ok()?;
        Some(Self {
            holder: value.get("holder")?.as_text()?.to_owned(),
            beat: count(&value, "beat")?,
            since: Timestamp(value.get("since")?.as_int()?),
            stamps: value.get("stamps")?.as_text()?.parse().ok()?,
        })
    }
}

/// How far a conversation has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The last entry.
    pub(super) seq: Seq,
    /// The life of the log that it was of.
    pub(super) epoch: Epoch,
}

impl Place {
    pub(super) fn to_json(self) -> String {
        let fields = [
            ("epoch", Value::from(self.epoch.0)),
            ("seq", self.seq.0.into()),
        ];
        Value::object(fields).to_json()
    }

    fn read(text: &str) -> Option<Self> {
        let value = Value::from_json(text).ok()?;
        Some(Self {
            seq: Seq(count(&value, "seq")?),
            epoch: Epoch(count(&value, "epoch")?),
        })
    }
}

fn count(value: &Value, field: &str) -> Option<u64> {
    u64::try_from(value.get(field)?.as_int()?).ok()
}

/// A place, and the text that it was read as.
pub(super) type Known = Option<(Place, String)>;

/// The facts of one follower.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    name: String,
    pub(super) store: Arc<dyn Store>,
}

impl Keep {
    pub(super) fn new(name: &str, store: Arc<dyn Store>) -> Self {
        Self {
            name: name.chars().take(100).collect(),
            store,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cursor_key(&self) -> FactKey {
        FactKey::new(FactTable::OutCursor, self.name.as_str(), "")
    }

    pub(super) fn place_key(&self, conv: &ConversationId) -> FactKey {
        FactKey::new(FactTable::OutPlace, conv.as_str(), self.name.as_str())
    }

    fn wait_key(&self, conv: &ConversationId) -> FactKey {
        FactKey::new(FactTable::OutWait, self.name.as_str(), conv.as_str())
    }

    pub(super) fn dead_key(&self, conv: &ConversationId, seq: Seq) -> FactKey {
        let key = format!("{}\n{:016x}", self.name, seq.0);
        FactKey::new(FactTable::OutDead, conv.as_str(), key)
    }

    pub(super) async fn one(&self, key: FactKey) -> Result<Option<Fact>, PortError> {
        Ok(self.store.facts(&FactQuery::One(key)).await?.pop())
    }

    /// Writes facts that are in one place. False when one of them is not what it was.
    pub(super) async fn put(&self, puts: Vec<Put>) -> Result<bool, PortError> {
        let place = puts.first().and_then(|put| put.key.place());
        let Some(conv) = place else {
            return Err(PortError::new(PortErrorKind::Internal));
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: puts.into_iter().map(Write::Put).collect(),
        };
        match self.store.commit(&[commit]).await.pop() {
            Some(Ok(_)) => Ok(true),
            Some(Err(Rejected::Conflict)) => Ok(false),
            Some(Err(Rejected::Store(error))) => Err(error),
            _ => Err(PortError::new(PortErrorKind::Internal)),
        }
    }

    pub(super) async fn place(&self, conv: &ConversationId) -> Result<Known, PortError> {
        let fact = self.one(self.place_key(conv)).await?;
        let Some(Fact { value, .. }) = fact else {
            return Ok(None);
        };
        let place = Place::read(&value).ok_or_else(|| PortError::new(PortErrorKind::Corrupt))?;
        Ok(Some((place, value)))
    }

    /// The change of a conversation's place, on the condition that it is what was read.
    pub(super) fn place_put(&self, conv: &ConversationId, was: &Known, to: Place) -> Put {
        Put {
            key: self.place_key(conv),
            to: Some((to.to_json(), None)),
            was: match was {
                None => Was::Absent,
                Some((_, text)) => Was::Value(text.clone()),
            },
        }
    }

    /// A conversation waits: durable, so that the cursor may go on without it.
    pub(super) async fn wait(&self, conv: &ConversationId, fails: u32) -> Result<(), PortError> {
        let put = Put {
            key: self.wait_key(conv),
            to: Some((fails.to_string(), None)),
            was: Was::Any,
        };
        self.put(vec![put]).await.map(drop)
    }

    /// It waits no more.
    pub(super) async fn waits_not(&self, conv: &ConversationId) -> Result<(), PortError> {
        let put = Put {
            key: self.wait_key(conv),
            to: None,
            was: Was::Any,
        };
        self.put(vec![put]).await.map(drop)
    }

    /// Which conversations wait, and after how many failures; at most `most`.
    pub(super) async fn waiting(
        &self,
        most: usize,
    ) -> Result<Vec<(ConversationId, u32)>, PortError> {
        let mut waiting = Vec::new();
        let mut after = None;
        while waiting.len() < most {
            let query = FactQuery::Of {
                table: FactTable::OutWait,
                owner: self.name.clone(),
                after: after.take(),
                below: None,
                limit: PAGE,
            };
            let facts = self.store.facts(&query).await?;
            after = facts.last().map(|fact| fact.key.key.clone());
            let more = facts.len() == PAGE;
            waiting.extend(facts.into_iter().filter_map(|fact| {
                let conv = ConversationId::new(fact.key.key).ok()?;
                Some((conv, fact.value.parse().ok()?))
            }));
            if !more {
                break;
            }
        }
        Ok(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let cursor = Cursor {
            holder: "node-1 \"x\"".to_owned(),
            beat: 7,
            since: Timestamp(-5),
            stamps: "a-0-ff".parse().unwrap(),
        };
        assert_eq!(Cursor::read(&cursor.to_json()), Some(cursor));
        let place = Place {
            seq: Seq(9),
            epoch: Epoch(2),
        };
        assert_eq!(Place::read(&place.to_json()), Some(place));
        assert_eq!(Place::read("{}"), None);
    }
}
