//! Who of several nodes follows. No node's clock is compared with another's: who holds the lease
//! changes its fact as a sign of life, and another one takes it when it has not seen it change for
//! long, by its own timer. What keeps two of them from harm is that every write names what it read.

use std::time::{Duration, Instant};

use im_core::model::Stamps;
use im_core::port::{PortError, Put, Was};

use super::Follower;
use super::keep::Cursor;

/// Why a follower stops for a moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// What it wrote to is not what it read: another one follows, or somebody set a place back.
    #[error("another one wrote")]
    Taken,
    /// The store failed; whether a write took place is unknown.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// What was seen of another one's lease.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Option<(String, Instant)>,
}

impl Watch {
    /// Whether nobody gave a sign of life for so long.
    fn is_over(&mut self, now: Instant, value: &str, lease: Duration) -> bool {
        match &self.seen {
            Some((seen, at)) if seen == value => now.saturating_duration_since(*at) >= lease,
            _ => {
                self.seen = Some((value.to_owned(), now));
                false
            }
        }
    }
}

/// The lease, held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cursor: Cursor,
    text: String,
}

impl Follower {
    /// Takes the lease, if nobody has it.
    pub(super) async fn hold(&self, watch: &mut Watch) -> Result<Option<Held>, PortError> {
        let keep = &self.keep;
        let found = keep.one(keep.cursor_key()).await?;
        let (was, cursor) = match found {
            None => {
                let now = keep.store.changed(&Stamps::START, 0).await?;
                let cursor = Cursor {
                    holder: self.holder.clone(),
                    beat: 0,
                    since: self.clock.timestamp(),
                    stamps: now.stamps,
                };
                (Was::Absent, cursor)
            }
            Some(fact) => {
                let Some(cursor) = Cursor::read(&fact.value) else {
                    return Err(PortError::new(im_core::port::PortErrorKind::Corrupt));
                };
                let is_free = cursor.holder.is_empty() || cursor.holder == self.holder;
                let now = self.clock.now();
                if !is_free && !watch.is_over(now, &fact.value, self.settings.lease) {
                    return Ok(None);
                }
                let cursor = Cursor {
                    holder: self.holder.clone(),
                    beat: cursor.beat + 1,
                    ..cursor
                };
                (Was::Value(fact.value), cursor)
            }
        };
        let text = cursor.to_json();
        let put = Put {
            key: keep.cursor_key(),
            to: Some((text.clone(), None)),
            was,
        };
        let held = keep.put(vec![put]).await?;
        Ok(held.then_some(Held { cursor, text }))
    }

    /// Writes the cursor, as long as the lease is held.
    pub(super) async fn write(&self, held: &mut Held, cursor: Cursor) -> Result<(), Lost> {
        let text = cursor.to_json();
        let put = Put {
            key: self.keep.cursor_key(),
            to: Some((text.clone(), None)),
            was: Was::Value(held.text.clone()),
        };
        if !self.keep.put(vec![put]).await? {
            return Err(Lost::Taken);
        }
        *held = Held { cursor, text };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_when_it_was_seen_not_to_change() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut watch = Watch::default();
        assert!(!watch.is_over(start, "a", s(10)));
        assert!(!watch.is_over(start + s(9), "a", s(10)));
        assert!(!watch.is_over(start + s(10), "b", s(10)));
        assert!(!watch.is_over(start + s(19), "b", s(10)));
        assert!(watch.is_over(start + s(20), "b", s(10)));
    }
}
