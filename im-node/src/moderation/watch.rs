//! Reading the lists anew when they changed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::model::{Fact, FactTable, Value};
use im_core::port::{FactQuery, PortError, PortErrorKind};
use im_moderation::words::Level;

use super::lexicon::level_of;
use super::standings::PARTS;
use super::{Lexicon, List, Standings};
use crate::node::Inner;

/// Words that a node keeps: four times what large operators have, and some 50 MB.
pub(crate) const WORDS_MAX: usize = 200_000;
/// Users of whom something is kept, of each kind.
pub(crate) const STANDINGS_MAX: usize = 100_000;
/// Facts read at once.
const PAGE: usize = 2_000;
/// After words were read, nothing is for so many times as long as that took: a list that is filled
/// word by word keeps no core busy.
const REST: u32 = 3;

/// Keeps a list as it is in the store, until the node ends.
pub(crate) async fn watch(inner: Weak<Inner>, list: List) {
    loop {
        let Some((changed, every)) = inner.upgrade().map(|inner| {
            let changed = Arc::clone(inner.moderation.notify(list));
            (changed, inner.settings.lists)
        }) else {
            return;
        };
        // Whichever comes first; both mean the same.
        let _ = tokio::time::timeout(every, changed.notified()).await;
        let Some(inner) = inner.upgrade() else { return };
        let began = inner.clock.now();
        let read = match list {
            List::Words => inner.load_words().await,
            List::Standings => inner.load_standings().await,
        };
        if let Err(error) = read {
            tracing::warn!(%error, ?list, "a list can't be read; the one before stays");
        }
        let took = inner.clock.now().saturating_duration_since(began);
        drop(inner);
        if list == List::Words {
            tokio::time::sleep((took * REST).min(every)).await;
        }
    }
}

impl Inner {
    async fn version(&self, list: List) -> Result<Option<String>, PortError> {
        let query = FactQuery::One(list.version_key());
        let found = self.store.facts(&query).await?.pop();
        Ok(found.map(|fact| fact.value))
    }

    /// Reads the words if they changed. Whoever sends meanwhile does so under those before.
    pub(crate) async fn load_words(&self) -> Result<(), PortError> {
        // Before the words: what is changed while they are read changes it again.
        let version = self.version(List::Words).await?;
        if version == self.moderation.lexicon().version {
            return Ok(());
        }
        let mut listed = Vec::new();
        self.each(FactTable::Word, "", WORDS_MAX, |fact| {
            listed.extend(read_word(fact))
        })
        .await?;
        let built = {
            let version = version.clone();
            tokio::task::spawn_blocking(move || Lexicon::build(version, listed)).await
        };
        let lexicon = match built {
            Ok(Ok((lexicon, report))) => {
                let (kept, dropped) = (report.kept, report.dropped.len());
                tracing::info!(kept, dropped, "another list of words is in force");
                lexicon
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "no filter can be made of the words");
                self.moderation.lexicon().kept_for(version)
            }
            Err(error) => return Err(PortError::with_source(PortErrorKind::Internal, error)),
        };
        *self.moderation.lexicon.write() = Arc::new(lexicon);
        Ok(())
    }

    /// Reads who is banned and so on, if that changed; the connections of the banned end.
    pub(crate) async fn load_standings(&self) -> Result<(), PortError> {
        let _turn = self.moderation.reading.lock().await;
        let version = self.version(List::Standings).await?;
        if version == self.moderation.standings().version {
            return Ok(());
        }
        let mut standings = Standings::of(version);
        for part in PARTS {
            let learn = |fact: &Fact| standings.learn(fact);
            self.each(FactTable::Standing, part, STANDINGS_MAX, learn)
                .await?;
        }
        let standings = Arc::new(standings);
        *self.moderation.standings.write() = Arc::clone(&standings);
        // Also when nobody was told, or they connected before it was known here.
        for user in standings.banned(self.clock.timestamp()) {
            self.hub.revoke(user, None, self.settings.reconnect_ms);
        }
        Ok(())
    }

    /// Shows the facts of an owner, the first `most` of them.
    async fn each(
        &self,
        table: FactTable,
        owner: &str,
        most: usize,
        mut see: impl FnMut(&Fact),
    ) -> Result<(), PortError> {
        let mut after = None;
        let mut seen = 0;
        while seen < most {
            let query = FactQuery::Of {
                table,
                owner: owner.to_owned(),
                after: after.take(),
                below: None,
                limit: PAGE.min(most - seen),
            };
            let page = self.store.facts(&query).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.key.clone());
            seen += page.len();
            page.iter().for_each(&mut see);
        }
        Ok(())
    }
}

/// A word as it is kept; nothing when it can't be read.
fn read_word(fact: &Fact) -> Option<(String, Level, bool)> {
    let value = Value::from_json(&fact.value).ok()?;
    let level = level_of(value.get("level")?.as_text()?)?;
    let inside = value.get("inside") == Some(&Value::Bool(true));
    Some((fact.key.key.clone(), level, inside))
}

/// The longest that a change may stay unseen when the bus loses it, if nothing else is set.
pub(crate) const LISTS_EVERY: Duration = Duration::from_secs(5);
