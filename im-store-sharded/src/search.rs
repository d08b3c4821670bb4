//! Search: each database looks in what it holds.

use async_trait::async_trait;
use futures_util::future::join_all;
use im_core::model::Slot;
use im_core::port::{Find, Found, Hits, PortError, Search};

use crate::Sharded;
use crate::route::{Patience, moving};
use crate::store::all_of;

#[async_trait]
impl Search for Sharded {
    /// What a move brought to a database is in its index a little later.
    async fn find(&self, find: &Find) -> Result<Found, PortError> {
        let mut patience = Patience::new();
        loop {
            let map = self.map();
            let asked = self.shards.iter().map(|shard| async move {
                match shard.search() {
                    Some(search) => search.find(find).await.map(Some),
                    None => Ok(None),
                }
            });
            let pages = all_of(asked).await?;
            if self.refresh().await?.is_same_as(&map) && map.orphan().is_none() {
                let mut hits = Hits::new(find.limit);
                for (at, page) in pages.into_iter().enumerate() {
                    let Some(mut page) = page else {
                        hits.lacks();
                        continue;
                    };
                    // What a move left behind is another database's.
                    let is_here = |slot| map.owner(slot).is_some_and(|owner| owner.at == at);
                    page.entries.retain(|entry| is_here(Slot::of(&entry.conv)));
                    hits.join(page);
                }
                return Ok(hits.found());
            }
            if !patience.wait().await {
                return Err(moving());
            }
        }
    }

    /// A database that is away keeps no other one from it.
    async fn index(&self) -> Result<bool, PortError> {
        let searches = self.shards.iter().filter_map(|shard| shard.search());
        let answers = join_all(searches.map(|search| search.index())).await;
        let mut is_more = false;
        let mut failed = None;
        for answer in answers {
            match answer {
                Ok(more) => is_more |= more,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !is_more => Err(error),
            _ => Ok(is_more),
        }
    }
}
