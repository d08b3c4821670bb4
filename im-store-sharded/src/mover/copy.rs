//! Copying a slot: what is there is compared with what is to be there, a part at a time, and only
//! what differs is written. So it can be done again, and the second time is short.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use im_core::model::{Conversation, ConversationId, Seq, Slot, Timestamp, UserId};
use im_core::port::{Cargo, CargoQuery, LogQuery, PortError, Shard};

use super::lost;
use crate::MoveError;

/// Rows read, and written, at once.
const ROWS: usize = 500;
/// Bytes of bodies read, and written, at once; at least one entry.
const BYTES: usize = 1 << 20;

/// A copy of a slot.
pub(super) struct Copy<'a> {
    pub(super) from: &'a dyn Shard,
    pub(super) to: &'a dyn Shard,
    pub(super) slot: Slot,
    pub(super) mover: u64,
    pub(super) until: Timestamp,
}

/// What waits to be written.
#[derive(Default)]
struct Load {
    cargo: Cargo,
    bytes: usize,
}

impl Load {
    fn is_full(&self) -> bool {
        let cargo = &self.cargo;
        let rows = cargo.conversations.len() + cargo.members.len() + cargo.entries.len();
        rows + cargo.records.len() >= ROWS || self.bytes >= BYTES
    }

    /// A conversation as it is to be once this load is written.
    fn conversation(&mut self, conversation: Conversation) {
        let known = &mut self.cargo.conversations;
        if known.last().is_some_and(|last| last.id == conversation.id) {
            known.pop();
        }
        known.push(conversation);
    }
}

impl Copy<'_> {
    /// Copies; what is closed, with its records.
    pub(super) async fn run(&self, is_closed: bool) -> Result<(), MoveError> {
        let copied = async {
            self.conversations().await?;
            self.members().await?;
            if is_closed {
                self.records().await?;
                self.facts().await?;
            }
            Ok(())
        };
        copied.await.map_err(|error| lost(self.slot, error))
    }

    async fn conversations(&self) -> Result<(), PortError> {
        let mut load = Load::default();
        let mut after = None;
        loop {
            let query = CargoQuery::Conversations(after);
            let (here, there) = self.both(&query).await?;
            let there = there.conversations.into_iter();
            let there: BTreeMap<_, _> = there.map(|it| (it.id.clone(), it)).collect();
            let count = here.conversations.len();
            after = here.conversations.last().map(|last| last.id.clone());
            for conversation in here.conversations {
                let known = there.get(&conversation.id);
                if known != Some(&conversation) {
                    // Of a log of which something was erased, everything comes again.
                    let known = known.filter(|known| known.erasures == conversation.erasures);
                    let head = known.map_or(Seq(0), |known| known.head);
                    self.conversation(&mut load, conversation, head).await?;
                }
            }
            if count < ROWS {
                return self.write(&mut load).await;
            }
        }
    }

    /// Copies a conversation and its entries above a place.
    async fn conversation(
        &self,
        load: &mut Load,
        conversation: Conversation,
        mut head: Seq,
    ) -> Result<(), PortError> {
        while head < conversation.head {
            let query = LogQuery::After {
                seq: head,
                limit: ROWS,
                bytes: BYTES,
            };
            let mut entries = self.from.log(&conversation.id, query).await?;
            // What came after the conversation was read comes with the next copy.
            entries.retain(|entry| entry.seq <= conversation.head);
            let Some(last) = entries.last() else {
                break;
            };
            head = last.seq;
            load.bytes += entries.iter().map(|it| it.body.json().len()).sum::<usize>();
            load.cargo.entries.extend(entries);
            load.conversation(Conversation {
                head,
                ..conversation.clone()
            });
            if load.is_full() {
                self.write(load).await?;
            }
        }
        load.conversation(conversation);
        if load.is_full() {
            self.write(load).await?;
        }
        Ok(())
    }

    async fn members(&self) -> Result<(), PortError> {
        let mut load = Load::default();
        let mut after: Option<(ConversationId, UserId)> = None;
        loop {
            let query = CargoQuery::Members(after);
            let (here, there) = self.both(&query).await?;
            let there = there.members.into_iter();
            let there: BTreeMap<_, _> = there
                .map(|(conv, it)| ((conv, it.user.clone()), it))
                .collect();
            let count = here.members.len();
            let last = here.members.last();
            after = last.map(|(conv, last)| (conv.clone(), last.user.clone()));
            for (conv, member) in here.members {
                let known = there.get(&(conv.clone(), member.user.clone()));
                // One whose conversation began after those were read comes with the next copy, and
                // the conversations there are all that their members may be written to.
                if known != Some(&member) {
                    load.cargo.members.push((conv, member));
                }
                if load.is_full() {
                    self.write(&mut load).await?;
                }
            }
            if count < ROWS {
                return self.write(&mut load).await;
            }
        }
    }

    async fn records(&self) -> Result<(), PortError> {
        let mut load = Load::default();
        load.cargo.records_anew = true;
        let mut after = None;
        loop {
            let query = CargoQuery::Records(after);
            let here = self.from.cargo(self.slot, &query, ROWS).await?;
            let count = here.records.len();
            after = here.records.last().map(|last| last.key.clone());
            load.cargo.records = here.records;
            self.write(&mut load).await?;
            if count < ROWS {
                return Ok(());
            }
        }
    }

    /// After the records: those that were there before went with theirs.
    async fn facts(&self) -> Result<(), PortError> {
        let mut after = None;
        loop {
            let query = CargoQuery::Facts(after);
            let here = self.from.cargo(self.slot, &query, ROWS).await?;
            let count = here.facts.len();
            after = here.facts.last().map(|last| last.key.clone());
            let mut load = Load::default();
            load.cargo.facts = here.facts;
            self.write(&mut load).await?;
            if count < ROWS {
                return Ok(());
            }
        }
    }

    /// The same part here and there. There is nothing there that is not here, and both are in the
    /// same order, so what is there of this part is in it.
    async fn both(&self, query: &CargoQuery) -> Result<(Cargo, Cargo), PortError> {
        let here = self.from.cargo(self.slot, query, ROWS);
        try_join(here, self.to.cargo(self.slot, query, ROWS)).await
    }

    async fn write(&self, load: &mut Load) -> Result<(), PortError> {
        let Load { cargo, .. } = std::mem::take(load);
        if cargo == Cargo::default() {
            return Ok(());
        }
        let taken = self.to.receive(self.slot, self.mover, self.until, &cargo);
        taken.await
    }
}
