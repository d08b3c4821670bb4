//! The way to a slot: who has it, and whether they still had it when they were asked.

use std::time::Duration;

use im_core::model::Slot;
use im_core::port::{PortError, PortErrorKind, Shard};
use tokio::time::{Instant, sleep};

use crate::Sharded;
use crate::map::Owner;

/// How long a call looks for a slot that is on its way: longer than the last part of a move takes,
/// and well within the time that a node gives a commit.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The first wait between two looks, doubled each time.
const WAIT_FIRST: Duration = Duration::from_millis(2);
/// The longest wait between two looks.
const WAIT_LONGEST: Duration = Duration::from_millis(50);

/// Looks again and again, for a time.
#[derive(Debug)]
pub(crate) struct Patience {
    since: Option<Instant>,
    wait: Duration,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self {
            since: None,
            wait: WAIT_FIRST,
        }
    }

    /// Waits, longer each time. False when the time is over.
    pub(crate) async fn wait(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= WAIT_MAX {
            return false;
        }
        sleep(self.wait).await;
        self.wait = (self.wait * 2).min(WAIT_LONGEST);
        true
    }
}

/// The way of one read.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    sharded: &'a Sharded,
    slot: Slot,
    asked: Option<(Owner, u64)>,
    patience: Patience,
}

impl<'a> Route<'a> {
    pub(crate) const fn new(sharded: &'a Sharded, slot: Slot) -> Self {
        Self {
            sharded,
            slot,
            asked: None,
            patience: Patience::new(),
        }
    }

    /// The database to ask; the next time, after another look at who has the slot.
    pub(crate) async fn shard(&mut self) -> Result<&'a dyn Shard, PortError> {
        let mut again = self.asked.take().is_some();
        loop {
            if again {
                if !self.patience.wait().await {
                    return Err(moving());
                }
                // Of those that are away, what is known stays.
                let _ = self.sharded.refresh().await;
            }
            again = true;
            let map = self.sharded.map();
            if let Some(owner) = map.owner(self.slot) {
                self.asked = Some((owner, map.shards()[owner.at].version));
                return Ok(&*self.sharded.shards[owner.at]);
            }
        }
    }

    /// Whether the database that was asked had the slot when it answered.
    pub(crate) async fn holds(&self) -> Result<bool, PortError> {
        let Some((owner, version)) = self.asked else {
            return Ok(false);
        };
        if owner.is_open() {
            let held = self.sharded.shards[owner.at]
                .holdings(Some(version))
                .await?;
            let Some(held) = held else {
                return Ok(true);
            };
            let holds = held.of(self.slot) == Some(&owner.held);
            self.sharded.learn(owner.at, held);
            return Ok(holds);
        }
        let map = self.sharded.refresh().await?;
        Ok(map.owner(self.slot) == Some(owner))
    }
}

/// What a call gets that came in the last part of a move and could not wait for its end.
pub(crate) fn moving() -> PortError {
    let why = "its slot is being moved to another database";
    PortError::with_source(PortErrorKind::Unavailable, why)
}
