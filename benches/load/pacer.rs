//! A fixed schedule: message k is due at `start + k / rate`, however late the one before was.
//!
//! Latencies count from the due time, so a stall of server or generator shows in every message
//! that it delayed, and not only in the one that met it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::body;

/// Shortest sleep of the clock's thread: tokio's own timer is too coarse, spinning too dear.
const STEP: Duration = Duration::from_micros(100);

/// The schedule, and the thread that wakes it.
#[derive(Debug)]
pub(crate) struct Pacer {
    start: u64,
    /// Nanoseconds from one message to the next.
    gap: f64,
    next: u64,
    wake: Arc<Notify>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Starts now, at `rate` messages a second.
    pub(crate) fn start(rate: f64) -> Self {
        let (wake, stop) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let gap = 1e9 / rate;
        let step = STEP
            .max(Duration::from_nanos(gap as u64 / 2))
            .min(Duration::from_millis(5));
        let (thread_wake, thread_stop) = (Arc::clone(&wake), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !thread_stop.load(Ordering::Relaxed) {
                std::thread::sleep(step);
                thread_wake.notify_one();
            }
        });
        Self {
            start: body::now(),
            gap,
            next: 0,
            wake,
            stop,
        }
    }

    /// Waits until a message is due; returns its number and its due time.
    pub(crate) async fn due(&mut self) -> (u64, u64) {
        let at = self.start + (self.next as f64 * self.gap) as u64;
        while body::now() < at {
            self.wake.notified().await;
        }
        self.next += 1;
        (self.next - 1, at)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
