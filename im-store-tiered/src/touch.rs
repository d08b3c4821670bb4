//! Which conversations were appended to lately: the second append makes one hot.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use im_core::model::ConversationId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Conversations that are remembered; the oldest are forgotten first.
const TOUCHED_MAX: usize = 100_000;

/// How long a log may stay closed until whoever closed it is taken for gone.
const CLOSED_MAX: Duration = Duration::from_secs(2);
/// Closed logs that are remembered; beyond it all are forgotten, and waited for anew.
const CLOSED_LOGS_MAX: usize = 10_000;

/// Since when logs are closed that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Closed(Mutex<HashMap<ConversationId, Instant>>);

impl Closed {
    /// It is closed. Whether it was for too long: then it counts anew.
    pub(crate) fn is_late(&self, conv: &ConversationId) -> bool {
        let now = Instant::now();
        let mut closed = self.0.lock();
        if closed.len() >= CLOSED_LOGS_MAX {
            closed.clear();
        }
        let since = closed.entry(conv.clone()).or_insert(now);
        let is_late = now.saturating_duration_since(*since) >= CLOSED_MAX;
        if is_late {
            *since = now;
        }
        is_late
    }

    /// It is not closed.
    pub(crate) fn is_open(&self, conv: &ConversationId) {
        let mut closed = self.0.lock();
        if !closed.is_empty() {
            closed.remove(conv);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Touched {
    within: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: HashMap<ConversationId, Instant>,
    order: VecDeque<(Instant, ConversationId)>,
}

impl Touched {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            within,
            state: Mutex::default(),
        }
    }

    /// Notes an append. Whether it was the second one within the time.
    pub(crate) fn is_second(&self, conv: &ConversationId) -> bool {
        if self.within.is_zero() {
            return true;
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        while let Some((at, _)) = state.order.front()
            && (*at + self.within <= now || state.order.len() >= TOUCHED_MAX)
        {
            if let Some((at, conv)) = state.order.pop_front()
                && state.last.get(&conv) == Some(&at)
            {
                state.last.remove(&conv);
            }
        }
        state.order.push_back((now, conv.clone()));
        state.last.insert(conv.clone(), now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_append_within_the_time_counts() {
        let conv = |id: &str| ConversationId::new(id).unwrap();
        let touched = Touched::new(Duration::from_secs(60));
        assert!(!touched.is_second(&conv("a")));
        assert!(!touched.is_second(&conv("b")));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(touched.is_second(&conv("a")));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!touched.is_second(&conv("b")));
        assert!(touched.is_second(&conv("a")));
        assert!(Touched::new(Duration::ZERO).is_second(&conv("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let touched = Touched::new(Duration::from_secs(60));
        for n in 0..TOUCHED_MAX + 10 {
            touched.is_second(&ConversationId::new(format!("c{n}")).unwrap());
        }
        let state = touched.state.lock();
        assert!(state.order.len() <= TOUCHED_MAX && state.last.len() <= TOUCHED_MAX);
    }
}
