//! Messages that end by themselves: what they say is erased when their time is over.

use im_core::frame::Failure;
use im_core::model::{Fact, FactKey, FactTable, MessageId, Seq, Value};
use im_core::port::{Commit, Put, Was, Write};

use crate::appender::failure;
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
        let Some(conv) = fact.key.place() else {
            return Ok(());
        };
        let id = u64::from_str_radix(&fact.key.key, 16).map(MessageId);
        let above = Value::from_json(&fact.value).ok();
        let above = above.and_then(|value| value.get("above").and_then(Value::as_int));
        let above = Seq(above
            .and_then(|above| u64::try_from(above).ok())
            .unwrap_or(0));
        let mut writes = Vec::new();
        if let Ok(id) = id
            && let Some(seq) = self.place_of(&conv, id, above).await?
        {
            writes = self.gone(&conv, seq).await?;
        }
        writes.push(Write::Put(Put {
            key: fact.key.clone(),
            to: None,
            was: Was::Any,
        }));
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes,
        };
        let committed = self.appender.commit(commit).await;
        committed.map(drop).map_err(|rejected| failure(&rejected))
    }
}
