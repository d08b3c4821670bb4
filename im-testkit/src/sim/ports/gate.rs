//! What stops a node: the process sleeps, and goes on where it was.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A gate that everything of a node's passes which others can see: what it asks, and what it hears.
/// Who waits before it goes on in the order in which they came.
#[derive(Debug, Default)]
pub struct Gate {
    is_shut: AtomicBool,
    opened: Notify,
}

impl Gate {
    /// Shuts the gate, or opens it.
    pub fn shut(&self, shut: bool) {
        self.is_shut.store(shut, Ordering::Release);
        if !shut {
            self.opened.notify_waiters();
        }
    }

    /// Waits while it is shut.
    pub async fn pass(&self) {
        loop {
            // Made first, so that no opening between the look and the wait is missed.
            let opened = self.opened.notified();
            if !self.is_shut.load(Ordering::Acquire) {
                return;
            }
            opened.await;
        }
    }
}
