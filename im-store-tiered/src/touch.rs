//! Which conversations were appended to lately: the second append makes one hot.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use im_core::model::ConversationId;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Conversations that are remembered; the oldest are forgotten first.
const TOUCHED_MAX: usize = 100_000;

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
