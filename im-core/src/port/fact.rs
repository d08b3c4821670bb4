//! Writing and reading facts.

use super::error::{PortError, PortErrorKind};
use super::store::{Commit, Rejected, Store, Write};
use crate::model::{ConversationId, FactKey, FactTable, Timestamp, place_of};

/// A change of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Which.
    pub key: FactKey,
    /// What it is from then on, and when something is due with it; `None` removes it.
    pub to: Option<(String, Option<Timestamp>)>,
    /// What it must be before the commit, or that is rejected with [`Rejected::Conflict`].
    pub was: Was,
}

/// What a fact must be before a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Was {
    /// Whatever it is.
    Any,
    /// Not there.
    Absent,
    /// Exactly this value.
    Value(String),
}

/// Which facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactQuery {
    /// The one of a key, if it is there.
    One(FactKey),
    /// Those of an owner, in the order of their keys, byte by byte.
    Of {
        /// Of which table.
        table: FactTable,
        /// Whose.
        owner: String,
        /// Above this key; `None` begins with the first.
        after: Option<String>,
        /// Below this key; `None` ends with the last.
        below: Option<String>,
        /// The most facts.
        limit: usize,
    },
    /// Those with a time at or before `until`, of all owners, the earliest first.
    Due {
        /// Of which table.
        table: FactTable,
        /// Until when.
        until: Timestamp,
        /// The most facts.
        limit: usize,
    },
}

impl FactQuery {
    /// With which conversation all that it asks for is placed; `None` when it is with several.
    #[must_use]
    pub fn place(&self) -> Option<ConversationId> {
        match self {
            Self::One(key) => key.place(),
            Self::Of { table, owner, .. } => place_of(*table, owner),
            Self::Due { .. } => None,
        }
    }

    /// The most facts that it gives.
    #[must_use]
    pub const fn limit(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Of { limit, .. } | Self::Due { limit, .. } => *limit,
        }
    }

    /// The same with another limit.
    #[must_use]
    pub fn limited(&self, most: usize) -> Self {
        let mut query = self.clone();
        match &mut query {
            Self::One(_) => {}
            Self::Of { limit, .. } | Self::Due { limit, .. } => *limit = most,
        }
        query
    }
}

/// How often [`next_start`] tries again because another node starts at the same moment.
const START_TRIES_MAX: u32 = 1_000;

/// A node starts: a number that no start of any node of this store got before, from 1.
///
/// # Errors
/// As the store's; `Busy` when very many nodes start at once.
pub async fn next_start(store: &dyn Store) -> Result<u64, PortError> {
    let key = FactKey::new(FactTable::Start, "", "");
    let internal = || PortError::new(PortErrorKind::Internal);
    let conv = key.place().ok_or_else(internal)?;
    for _ in 0..START_TRIES_MAX {
        let found = store.facts(&FactQuery::One(key.clone())).await?.pop();
        let last = found.map(|fact| fact.value);
        let count = last.as_deref().unwrap_or("0").parse::<u64>();
        let count = count.map_err(|error| PortError::with_source(PortErrorKind::Corrupt, error))?;
        let put = Put {
            key: key.clone(),
            to: Some(((count + 1).to_string(), None)),
            was: last.map_or(Was::Absent, Was::Value),
        };
        let commit = Commit {
            conv: conv.clone(),
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(put)],
        };
        match store.commit(&[commit]).await.pop() {
            Some(Ok(_)) => return Ok(count + 1),
            Some(Err(Rejected::Conflict)) => {}
            Some(Err(Rejected::Store(error))) => return Err(error),
            _ => return Err(internal()),
        }
    }
    Err(PortError::new(PortErrorKind::Busy))
}
