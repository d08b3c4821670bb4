//! Search in memory: every log is read.

use async_trait::async_trait;
use im_core::port::{Find, Found, Hits, PortError, Search};

use super::state::State;
use super::store::MemoryStore;

#[async_trait]
impl Search for MemoryStore {
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        Ok(self.state().find(find))
    }

    async fn index(&self) -> Result<bool, PortError> {
        Ok(false)
    }
}

impl State {
    fn find(&self, find: &Find) -> Found {
        let mut hits = Hits::new(find.limit);
        for conv in self.lists.get(&find.user).into_iter().flatten() {
            if find.conv.as_ref().is_some_and(|only| only != conv) {
                continue;
            }
            let Some(log) = self.convs.get(conv) else {
                continue;
            };
            let row = log.members.get(&find.user);
            let seen = row.map(|row| log.visible(&row.member));
            for entry in seen.into_iter().flatten() {
                if find.takes(entry) {
                    hits.add(entry.clone());
                }
            }
        }
        hits.found()
    }
}
