//! Reading and writing facts, as the service's methods do.

use im_core::frame::Failure;
use im_core::model::{ConversationId, Fact, FactKey, FactTable, Timestamp, Value};
use im_core::port::{Commit, FactQuery, Put, Was, Write};

use super::table::Call;
use crate::appender::port_failure;
use crate::node::Inner;

impl Inner {
    /// The fact of a key.
    pub(crate) async fn fact(&self, key: &FactKey) -> Result<Option<Fact>, Failure> {
        Ok(self.facts(&FactQuery::One(key.clone())).await?.pop())
    }

    /// Facts, or a failure as the client gets it.
    pub(crate) async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, Failure> {
        let found = self.store.facts(query).await;
        found.map_err(|error| port_failure(&error))
    }
}

impl Call<'_> {
    /// A page of the facts of a table that are the caller's, above a key; `line` says how each is
    /// shown, if it is.
    pub(super) async fn page(
        &self,
        (table, name): (FactTable, &'static str),
        after: Option<String>,
        limit: usize,
        line: impl Fn(&Fact) -> Option<Value>,
    ) -> Result<Value, Failure> {
        let owner = self.caller.user.as_str();
        self.page_of((table, owner, name), after, limit, line).await
    }

    /// The same of any owner's: who may see them is the caller's to ask.
    pub(super) async fn page_of(
        &self,
        (table, owner, name): (FactTable, &str, &'static str),
        after: Option<String>,
        limit: usize,
        line: impl Fn(&Fact) -> Option<Value>,
    ) -> Result<Value, Failure> {
        let query = FactQuery::Of {
            table,
            owner: owner.to_owned(),
            after,
            below: None,
            limit: limit + 1,
        };
        let mut facts = self.inner.facts(&query).await?;
        let more = facts.len() > limit;
        facts.truncate(limit);
        let lines: Vec<Value> = facts.iter().filter_map(line).collect();
        let mut out = vec![(name, Value::from(lines)), ("more", more.into())];
        let last = facts.pop().filter(|_| more);
        out.extend(last.map(|last| ("next", last.key.key.into())));
        Ok(Value::object(out))
    }

    /// Commits what needs no version, beside the answer if the call has a key.
    pub(super) async fn commit(
        &self,
        conv: ConversationId,
        mut writes: Vec<Write>,
        value: Value,
    ) -> Result<Value, Failure> {
        writes.extend(self.record(&value));
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes,
        };
        match self.inner.appender.commit(commit).await {
            Ok(_) => Ok(value),
            Err(rejected) => self.done_or(rejected),
        }
    }
}

/// Sets a fact, whatever it is.
pub(crate) fn set(key: FactKey, value: String) -> Write {
    Write::Put(Put {
        key,
        to: Some((value, None)),
        was: Was::Any,
    })
}

/// Removes a fact, if it is there.
pub(crate) fn remove(key: FactKey) -> Write {
    Write::Put(Put {
        key,
        to: None,
        was: Was::Any,
    })
}

/// Changes or removes a fact on the condition that it is what was read.
pub(crate) fn put_on(read: &Fact, to: Option<(String, Option<Timestamp>)>) -> Write {
    Write::Put(Put {
        key: read.key.clone(),
        to,
        was: Was::Value(read.value.clone()),
    })
}
