//! What waits for a subscriber that does not read: bounded, the oldest go first.

use std::collections::VecDeque;

use bytes::Bytes;
use im_core::port::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most messages that wait; beyond it a sweep is cheaper than catching up.
const MESSAGES_MAX: usize = 4096;
/// The most bytes that wait.
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Something was lost that the subscriber has not been told of.
    is_lossy: bool,
    /// How many came since [`Queue::take_heard`].
    heard: u64,
}

impl Queue {
    pub(crate) fn push(&self, payload: Bytes) {
        let mut waiting = self.waiting.lock();
        waiting.heard += 1;
        waiting.bytes += payload.len();
        waiting.messages.push_back(payload);
        while waiting.messages.len() > MESSAGES_MAX || waiting.bytes > BYTES_MAX {
            let Some(oldest) = waiting.messages.pop_front() else {
                break;
            };
            waiting.bytes -= oldest.len();
            waiting.is_lossy = true;
            metrics::counter!("im_bus_overrun_total").increment(1);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Something may have been missed.
    pub(crate) fn mark_lossy(&self) {
        self.waiting.lock().is_lossy = true;
        self.arrived.notify_one();
    }

    /// Whether anything came since this was asked last.
    pub(crate) fn take_heard(&self) -> bool {
        std::mem::take(&mut self.waiting.lock().heard) > 0
    }

    /// The next thing to tell. Safe to drop while it waits.
    pub(crate) async fn next(&self) -> Incoming {
        loop {
            if let Some(incoming) = self.pop() {
                return incoming;
            }
            // What came since `pop` has left a permit, so nothing is slept through.
            self.arrived.notified().await;
        }
    }

    fn pop(&self) -> Option<Incoming> {
        let mut waiting = self.waiting.lock();
        if std::mem::take(&mut waiting.is_lossy) {
            return Some(Incoming::Reconnected);
        }
        let payload = waiting.messages.pop_front()?;
        waiting.bytes -= payload.len();
        Some(Incoming::Message(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_by_number_and_by_bytes_and_it_is_told_first() {
        let many = Queue::default();
        for n in 0..=MESSAGES_MAX {
            many.push(n.to_string().into());
        }
        assert_eq!(many.pop(), Some(Incoming::Reconnected));
        assert_eq!(many.pop(), Some(Incoming::Message("1".into())));
        let large = Queue::default();
        for n in 0..20 {
            large.push(vec![n; 1 << 20].into());
        }
        assert_eq!(large.pop(), Some(Incoming::Reconnected));
        assert_eq!(
            large.pop(),
            Some(Incoming::Message(vec![4; 1 << 20].into()))
        );
    }
}
