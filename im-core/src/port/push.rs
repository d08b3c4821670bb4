//! Pushing to devices that are away.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::PushTarget;

/// What is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushNote {
    /// A later push of the same topic takes the place of this one, if that still waits: 32
    /// characters of base64url, one topic a conversation.
    pub topic: String,
    /// JSON text, at most 3,993 bytes.
    pub payload: String,
    /// How long it may wait for a device.
    pub ttl: Duration,
    /// Whether a device should be woken for it.
    pub is_urgent: bool,
}

/// Why something was not pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The subscription is no more, or was none: it is forgotten.
    #[error("the subscription is no more")]
    Gone,
    /// The push service will not take it.
    #[error("the push service refuses it")]
    Refused,
    /// The push service is away or busy.
    #[error("the push service is away")]
    Later,
}

/// A way to push. Web Push is built in (`im-out`); APNs, FCM and others are one more of these,
/// for subscriptions of a kind of their own.
#[async_trait]
pub trait Push: Debug + Send + Sync + 'static {
    /// Hands a note over to a push service.
    ///
    /// # Errors
    /// When that does not take it.
    async fn push(&self, target: &PushTarget, note: &PushNote) -> Result<(), PushError>;
}
