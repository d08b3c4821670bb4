//! How long conversations keep what was said. What is older is shown to nobody from that moment on,
//! and erased a while later, by whichever node finds it due.

use im_core::frame::Failure;
use im_core::model::{
    ConversationId, ConversationKind, Entry, Fact, FactKey, FactTable, Seq, Stamps, Timestamp,
    Value,
};
use im_core::port::{LogQuery, Put, Was, Write};

use super::clear::is_said;
use super::facts::{put_on, set};
use crate::appender::port_failure;
use crate::node::Inner;

/// How often all conversations are looked at.
const EVERY_MS: u64 = 6 * 3_600 * 1_000;
/// How long a node has for a part before another one may take over.
const LEASE_MS: u64 = 30_000;
/// Conversations looked at before it is noted how far it is.
const CONVS: usize = 50;
/// Pages of logs erased before that.
const PAGES_MAX: usize = 50;
/// Entries of a page.
const PAGE: usize = 200;
/// Bytes of bodies of a page.
const PAGE_BYTES: usize = 1 << 20;
/// The name of this upkeep.
const NAME: &str = "retention";

fn key() -> FactKey {
    FactKey::new(FactTable::Upkeep, "", NAME)
}

fn kept_key(conv: &ConversationId) -> FactKey {
    FactKey::new(FactTable::Cleared, conv.as_str(), "")
}

/// How far the upkeep is: its turn, which grows with every note, and the conversations done.
fn read(text: &str) -> Option<(u64, Stamps)> {
    let value = Value::from_json(text).ok()?;
    let turn = u64::try_from(value.get("turn")?.as_int()?).ok()?;
    Some((turn, value.get("stamps")?.as_text()?.parse().ok()?))
}

fn noted(turn: u64, stamps: &Stamps) -> String {
    let stamps = Value::from(stamps.to_string());
    Value::object([("turn", Value::from(turn)), ("stamps", stamps)]).to_json()
}

/// Takes from an entry what it says if it is older than it is kept.
pub(super) fn hide_old(entry: &mut Entry, oldest: Option<Timestamp>) {
    if is_old(entry, oldest) {
        entry.new.erase();
    }
}

/// Whether an entry says something and is older than that is kept.
pub(super) fn is_old(entry: &Entry, oldest: Option<Timestamp>) -> bool {
    oldest.is_some_and(|oldest| entry.at <= oldest) && is_said(entry.body.kind())
}

impl Inner {
    /// What was said at this time or before is kept no longer in conversations of a kind.
    pub(super) fn oldest(&self, kind: ConversationKind) -> Option<Timestamp> {
        let keep = self.settings.retention.of(kind)?;
        let ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp(self.clock.timestamp().0.saturating_sub(ms)))
    }

    /// The same of a conversation.
    pub(super) async fn oldest_in(
        &self,
        conv: &ConversationId,
    ) -> Result<Option<Timestamp>, Failure> {
        if self.settings.retention.is_off() {
            return Ok(None);
        }
        let view = self.view(conv, &[]).await?;
        Ok(view.and_then(|view| self.oldest(view.conversation.kind)))
    }

    /// Sees to it that the upkeep is due, if there is anything to keep to.
    pub(crate) async fn begin_upkeep(&self) -> Result<(), Failure> {
        if self.settings.retention.is_off() || self.fact(&key()).await?.is_some() {
            return Ok(());
        }
        let at = self.clock.timestamp();
        let begun = Fact {
            key: key(),
            value: noted(0, &Stamps::START),
            at: Some(at),
        };
        let write = Write::Put(Put {
            key: key(),
            to: Some((begun.value.clone(), begun.at)),
            was: Was::Absent,
        });
        // Another node was first, if it was not this one.
        self.commit_due(&begun, vec![write]).await.map(drop)
    }

    /// Goes on with the upkeep, which is due.
    pub(crate) async fn keep_up(&self, fact: &Fact) -> Result<(), Failure> {
        // A node that was not told to, such as one that starts anew with other settings, leaves it
        // to those that were.
        if fact.key != key() || self.settings.retention.is_off() {
            return Ok(());
        }
        let (turn, stamps) = read(&fact.value).unwrap_or_default();
        let now = self.clock.timestamp();
        let claim = noted(turn + 1, &stamps);
        let until = Some(now.plus_ms(LEASE_MS));
        let write = put_on(fact, Some((claim.clone(), until)));
        if !self.commit_due(fact, vec![write]).await? {
            return Ok(());
        }
        let (stamps, is_through) = self.let_go_some(stamps).await?;
        let (stamps, next) = match is_through {
            true => (Stamps::START, now.plus_ms(EVERY_MS)),
            false => (stamps, now),
        };
        let claimed = Fact {
            value: claim,
            at: until,
            ..fact.clone()
        };
        let write = put_on(&claimed, Some((noted(turn + 2, &stamps), Some(next))));
        self.commit_due(&claimed, vec![write]).await.map(drop)
    }

    /// Some conversations; up to where all is done, and whether that is everywhere.
    async fn let_go_some(&self, stamps: Stamps) -> Result<(Stamps, bool), Failure> {
        let changed = self.store.changed(&stamps, CONVS).await;
        let changed = changed.map_err(|error| port_failure(&error))?;
        let mut pages = PAGES_MAX;
        for line in &changed.convs {
            if !self.let_go_of(&line.conv, &mut pages).await? {
                // What was done of these is noted beside each.
                return Ok((stamps, false));
            }
        }
        Ok((changed.stamps, !changed.more))
    }

    /// Erases what one conversation keeps no longer; false when there is more than `pages`.
    async fn let_go_of(&self, conv: &ConversationId, pages: &mut usize) -> Result<bool, Failure> {
        let Some(view) = self.view(conv, &[]).await? else {
            return Ok(true);
        };
        let Some(oldest) = self.oldest(view.conversation.kind) else {
            return Ok(true);
        };
        let kept = self.fact(&kept_key(conv)).await?;
        let kept = kept.and_then(|fact| fact.value.parse().ok());
        let first = Seq(view.conversation.first_seq.0.saturating_sub(1));
        let mut from = Seq(kept.unwrap_or(0)).max(first);
        loop {
            let query = LogQuery::After {
                seq: from,
                limit: PAGE,
                bytes: PAGE_BYTES,
            };
            let page = self.store.log(conv, query).await;
            let page = page.map_err(|error| port_failure(&error))?;
            let old = page.iter().take_while(|entry| entry.at <= oldest).count();
            let (Some(start), Some(end)) = (page.first(), page[..old].last()) else {
                return Ok(true);
            };
            if *pages == 0 {
                return Ok(false);
            }
            *pages -= 1;
            let said = page[..old]
                .iter()
                .filter(|entry| is_old(entry, Some(oldest)));
            let seqs = said.map(|entry| entry.seq).collect();
            let kept = set(kept_key(conv), end.seq.0.to_string());
            let range = (start.seq, end.seq);
            self.clear(conv, range, seqs, |_| false, vec![kept]).await?;
            if old < page.len() {
                return Ok(true);
            }
            from = end.seq;
        }
    }
}
