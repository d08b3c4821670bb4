//! What is due: facts with a time. Every node looks; whatever two of them find is done once,
//! because it is named (a `cm_id`), or because what it was must still be so.

use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::frame::Failure;
use im_core::model::{Fact, FactTable};
use im_core::port::{Commit, FactQuery, Rejected, Write};

use crate::appender::failure;
use crate::node::Inner;
use crate::service::put_on;

/// Facts of one table taken at once; the rest the next time.
const DUE_MAX: usize = 200;
/// So many times less often it is looked for what is only tidied up.
const RARELY: u32 = 60;
/// How long what can't be done now is put off, so that it stands in nobody's way.
const AGAIN_MS: u64 = 30_000;
/// Those of media, where there are any.
pub(crate) const MEDIA_TABLES: [FactTable; 3] =
    [FactTable::Upload, FactTable::Blob, FactTable::BlobGone];
/// The tables that are looked at, each by a task of its own.
pub(crate) const TABLES: [FactTable; 12] = [
    FactTable::Scheduled,
    FactTable::Expiry,
    FactTable::FriendRequest,
    FactTable::FriendAsked,
    FactTable::Standing,
    FactTable::Report,
    FactTable::Count,
    FactTable::Erasure,
    FactTable::Upkeep,
    FactTable::JoinRequest,
    FactTable::Invite,
    FactTable::Listing,
];

/// How often a table is looked at, where `every` is how often what people wait for is.
pub(crate) fn period(table: FactTable, every: Duration) -> Duration {
    match table {
        FactTable::Scheduled
        | FactTable::Expiry
        | FactTable::Erasure
        | FactTable::Upkeep
        | FactTable::Listing => every,
        // They are over by their time, whether they are still there or not.
        _ => every * RARELY,
    }
}

/// Looks until the node ends.
pub(crate) async fn run(inner: Weak<Inner>, table: FactTable, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.look(table).await;
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
                FactTable::Erasure => self.erase_due(fact).await,
                FactTable::Upkeep => self.keep_up(fact).await,
                FactTable::Upload => self.upload_due(fact).await,
                FactTable::Blob => self.blob_due(fact).await,
                FactTable::BlobGone => self.blob_gone(fact).await,
                FactTable::Listing => self.list(fact).await,
                _ => self.end(fact, Vec::new()).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, table = table.as_str(), "what is due is put off");
                if let Err(error) = self.put_off(fact).await {
                    tracing::warn!(%error, table = table.as_str(), "it can't be put off");
                }
            }
        }
    }

    /// Does what is due, and removes the fact, if that is what it was: else somebody else did it,
    /// or it is another one by now.
    pub(crate) async fn end(&self, fact: &Fact, mut writes: Vec<Write>) -> Result<(), Failure> {
        writes.push(put_on(fact, None));
        self.commit_due(fact, writes).await.map(drop)
    }

    async fn put_off(&self, fact: &Fact) -> Result<(), Failure> {
        let at = self.clock.timestamp().plus_ms(AGAIN_MS);
        let later = put_on(fact, Some((fact.value.clone(), Some(at))));
        self.commit_due(fact, vec![later]).await.map(drop)
    }

    /// Commits where a fact is placed. False when it is no longer what it was.
    pub(crate) async fn commit_due(
        &self,
        fact: &Fact,
        writes: Vec<Write>,
    ) -> Result<bool, Failure> {
        let Some(conv) = fact.key.place() else {
            return Ok(false);
        };
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes,
        };
        match self.appender.commit(commit).await {
            Ok(_) => Ok(true),
            Err(Rejected::Conflict) => Ok(false),
            Err(rejected) => Err(failure(&rejected)),
        }
    }
}
