//! The embedder's word in every message.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::model::{Body, ConversationId, Draft, UserId};

/// What a hook says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it is.
    Accept,
    /// With this body instead; of the same kind, or it is refused.
    Rewrite(Body),
    /// Not at all: `err rejected` with these words.
    Reject(String),
}

/// The embedder's hooks. They run for each conversation in the order of its messages, with a
/// deadline: a hook that misses it refuses the message with `unavailable`.
#[async_trait]
pub trait Hooks: Debug + Send + Sync + 'static {
    /// Before a message is stored; never for a retry of one that is.
    async fn before_send(&self, from: &UserId, conv: &ConversationId, draft: &Draft) -> Verdict;
}
