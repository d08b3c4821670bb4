//! Full-text search of a node: who may ask at once, and the task that fills the index behind the
//! logs. Every node has one; the store keeps them out of each other's way.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use im_core::port::Search;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::node::Inner;

/// Searches of one node at once; beyond it callers are told `busy`.
const AT_ONCE_MAX: usize = 8;
/// How often it is looked for something to index.
const EVERY: Duration = Duration::from_millis(500);
/// While there is more, each step is followed by a rest of so many times what it took: those who
/// append come first.
const REST: u32 = 4;
/// The shortest rest.
const REST_MIN: Duration = Duration::from_millis(2);
/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// The search of a node.
pub(crate) struct Searcher {
    pub(crate) port: Arc<dyn Search>,
    /// Who searches now.
    pub(crate) at_once: Semaphore,
}

impl Searcher {
    pub(crate) fn new(port: Arc<dyn Search>) -> Self {
        Self {
            port,
            at_once: Semaphore::new(AT_ONCE_MAX),
        }
    }
}

impl fmt::Debug for Searcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Searcher").field(&self.port).finish()
    }
}

/// Fills the index until the node ends.
pub(crate) async fn run(inner: Weak<Inner>) {
    let mut wait = EVERY;
    loop {
        tokio::time::sleep(wait).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(search) = &inner.search else { return };
        let started = Instant::now();
        wait = match search.port.index().await {
            Ok(true) => (started.elapsed() * REST).clamp(REST_MIN, EVERY),
            Ok(false) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "the full-text index waits");
                RETRY
            }
        };
    }
}
