//! One direction of a connection: frames in order, late, and gone when it is cut.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A queue of a network: in order, each item readable only after its latency.
#[derive(Debug)]
pub(crate) struct Pipe<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
    room: Notify,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<(Instant, T)>,
    /// Nothing arrives before what was sent before it.
    last: Instant,
    /// The writer has ended; what is queued still arrives.
    closed: bool,
    /// The reader has gone: what is written disappears.
    abandoned: bool,
    /// Nothing arrives, and nobody is told.
    held: bool,
}

impl<T> Pipe<T> {
    /// A pipe that has room while it holds fewer than `capacity` items.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                last: Instant::now(),
                closed: false,
                abandoned: false,
                held: false,
            }),
            arrived: Notify::new(),
            room: Notify::new(),
            capacity,
        }
    }

    /// Writes, whether there is room or not.
    pub(crate) fn send(&self, item: T, latency: Duration) {
        let mut state = self.state.lock();
        if state.abandoned || state.closed {
            return;
        }
        state.last = state.last.max(Instant::now() + latency);
        let at = state.last;
        state.queue.push_back((at, item));
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether a polite writer may write.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.abandoned || state.queue.len() < self.capacity
    }

    /// Waits until [`has_room`](Self::has_room) may have changed.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// The writer ends.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The reader goes.
    pub(crate) fn abandon(&self) {
        let mut state = self.state.lock();
        state.abandoned = true;
        state.queue.clear();
        drop(state);
        self.room.notify_one();
    }

    /// The pipe breaks: what is in it is lost, and the reader sees the end.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock();
        state.queue.clear();
        state.closed = true;
        state.abandoned = true;
        drop(state);
        self.arrived.notify_one();
        self.room.notify_one();
    }

    /// Stops or resumes arrivals, the end included.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        self.arrived.notify_one();
    }

    /// The next item; `None` at the end. Safe to drop.
    pub(crate) async fn recv(&self) -> Option<T> {
        loop {
            let next = match self.poll() {
                Polled::Item(item) => return Some(item),
                Polled::End => return None,
                Polled::Later(at) => at,
            };
            match next {
                None => self.arrived.notified().await,
                Some(at) => tokio::select! {
                    biased;
                    () = self.arrived.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    fn poll(&self) -> Polled<T> {
        let mut state = self.state.lock();
        if state.held {
            return Polled::Later(None);
        }
        match state.queue.front() {
            None if state.closed => Polled::End,
            None => Polled::Later(None),
            Some((at, _)) if *at > Instant::now() => Polled::Later(Some(*at)),
            Some(_) => {
                let item = state.queue.pop_front();
                drop(state);
                self.room.notify_one();
                item.map_or(Polled::End, |(_, item)| Polled::Item(item))
            }
        }
    }
}

enum Polled<T> {
    Item(T),
    Later(Option<Instant>),
    End,
}
