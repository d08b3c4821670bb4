//! One unanswered send.

use std::time::Instant;

use crate::model::{Draft, Target, Timestamp};

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// Waits for its turn.
    Ready,
    /// Left; leaves again when there is no answer by then.
    InFlight { again: Instant },
    /// Refused for now.
    Refused { until: Instant, holds: bool },
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) draft: Draft,
    pub(super) first_try: Option<Timestamp>,
    pub(super) state: State,
    /// Tries without an answer in a row.
    pub(super) unanswered: u32,
    /// Refusals with `retry_after_ms`.
    pub(super) refusals: u32,
    /// Refusals without.
    pub(super) finals: u32,
    /// Tries on this connection that have no answer yet.
    pub(super) open: u32,
}

impl Item {
    pub(super) const fn new(draft: Draft, first_try: Option<Timestamp>) -> Self {
        Self {
            draft,
            first_try,
            state: State::Ready,
            unanswered: 0,
            refusals: 0,
            finals: 0,
            open: 0,
        }
    }
}

/// What a send costs in memory, about.
pub(super) fn draft_bytes(draft: &Draft) -> usize {
    let to = match &draft.to {
        Target::User(user) => user.as_str().len(),
        Target::Conversation(conv) => conv.as_str().len(),
    };
    draft.body.json().len() + draft.cm_id.as_str().len() + to
}

pub(super) fn step(count: &mut usize, up: bool) {
    *count = if up { *count + 1 } else { *count - 1 };
}
