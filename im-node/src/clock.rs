//! The clock of the tokio shell.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use im_core::model::Timestamp;
use im_core::port::Clock;

/// Tokio's time for timers (virtual when tokio's is), the system's for records.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn timestamp(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
