//! Time, as the node reads it. The core never does.

use std::fmt::Debug;
use std::time::Instant;

use crate::model::Timestamp;

/// A clock.
pub trait Clock: Debug + Send + Sync + 'static {
    /// For timers: never goes back.
    fn now(&self) -> Instant;

    /// For records: may jump either way, so nothing is ordered by it.
    fn timestamp(&self) -> Timestamp;
}
