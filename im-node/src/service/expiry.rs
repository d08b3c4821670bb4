//! Messages that end by themselves: what they say is erased when their time is over.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, FactKey, FactTable, MessageId, Seq, Value};
use im_core::port::{Commit, Put, Was, Write};

use super::change::ended;
use crate::node::Inner;

/// Beside a commit whose first entry ends: what finds it then. `head` is the log's before it.
pub(super) fn note(commit: &mut Commit, head: Seq) {
    let appended = commit.writes.iter().find_map(|write| match write {
        Write::Append(entry) => entry.expires_at.map(|at| (entry.id, at)),
        _ => None,
    });
    let Some((id, at)) = appended else { return };
    let key = format!("{:016x}", id.0);
    let value = Value::object([("above", Value::from(head.0))]).to_json();
    commit.writes.push(Write::Put(Put {
        key: FactKey::new(FactTable::Expiry, commit.conv.as_str(), key),
        to: Some((value, Some(at))),
        was: Was::Any,
    }));
}

impl Inner {
    /// Erases a message whose time is over.
    pub(crate) async fn expire(&self, fact: &Fact) -> Result<(), Failure> {
        let (Some(conv), Some((id, above))) = (fact.key.place(), read(fact)) else {
            return self.end(fact, Vec::new()).await;
        };
        let Some(seq) = self.place_of(&conv, id, above).await? else {
            return Err(Failure::new(ErrorCode::NotFound, "no such entry"));
        };
        let mut writes = self.gone(&conv, seq).await?;
        writes.push(ended(&conv, seq));
        self.end(fact, writes).await
    }
}

/// Which entry ends, and above which place it stands.
fn read(fact: &Fact) -> Option<(MessageId, Seq)> {
    let id = u64::from_str_radix(&fact.key.key, 16).ok()?;
    let value = Value::from_json(&fact.value).ok()?;
    let above = value.get("above").and_then(Value::as_int)?;
    Some((MessageId(id), Seq(u64::try_from(above).ok()?)))
}
