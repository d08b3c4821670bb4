//! What is due: facts with a time. Every node looks; whatever two of them find is done once,
//! because it is named (a `cm_id`), or because doing it twice is doing it once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::frame::Failure;
use im_core::model::{Fact, FactTable};
use im_core::port::{Commit, FactQuery, Put, Was, Write};

use crate::appender::failure;
use crate::node::Inner;

/// Facts of one table taken at once; the rest the next time.
const DUE_MAX: usize = 200;
/// The tables that are looked at.
const TABLES: [FactTable; 4] = [
    FactTable::Scheduled,
    FactTable::Expiry,
    FactTable::FriendRequest,
    FactTable::FriendAsked,
];

/// Looks until the node ends.
pub(crate) async fn run(inner: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        for table in TABLES {
            inner.look(table).await;
        }
    }
}

impl Inner {
    async fn look(self: &Arc<Self>, table: FactTable) {
        let query = FactQuery::Due {
            table,
            until: self.clock.timestamp(),
            limit: DUE_MAX,
        };
        let due = match self.facts(&query).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, table = table.as_str(), "what is due can't be read");
                return;
            }
        };
        for fact in &due {
            let done = match table {
                FactTable::Scheduled => self.send_due(fact).await,
                FactTable::Expiry => self.expire(fact).await,
                _ => self.forget(fact).await,
            };
            if let Err(error) = done {
                tracing::debug!(%error, table = table.as_str(), "what is due waits");
            }
        }
    }

    /// Removes a fact that is over.
    async fn forget(&self, fact: &Fact) -> Result<(), Failure> {
        let Some(conv) = fact.key.place() else {
            return Ok(());
        };
        let put = Put {
            key: fact.key.clone(),
            to: None,
            was: Was::Value(fact.value.clone()),
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes: vec![Write::Put(put)],
        };
        let committed = self.appender.commit(commit).await;
        committed.map(drop).map_err(|rejected| failure(&rejected))
    }
}
