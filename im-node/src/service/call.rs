//! The service as embedders and the HTTP transport call it.

use im_core::frame::Failure;
use im_core::model::{ConversationId, Draft, UserId, Value};
use im_core::port::Appended;

use super::Caller;
use crate::node::Node;

/// What users can do, called by the host program on a user's behalf. Everything is decided as if
/// the user had called.
#[derive(Debug, Clone)]
pub struct Service {
    node: Node,
}

impl Node {
    /// The service of this node.
    #[must_use]
    pub fn service(&self) -> Service {
        Service { node: self.clone() }
    }
}

impl Service {
    /// Calls a method of [`METHODS`](super::METHODS) for a user. `key` makes a retry safe for 24
    /// hours.
    ///
    /// # Errors
    /// The refusal that a client would get.
    pub async fn call(
        &self,
        user: &UserId,
        method: &str,
        params: Value,
        key: Option<String>,
    ) -> Result<Value, Failure> {
        let caller = Caller {
            user: user.clone(),
            link: None,
        };
        self.node.inner.call(&caller, method, params, key).await
    }

    /// Stores and delivers a message of a user; resolves when it is stored.
    ///
    /// # Errors
    /// The refusal that a client would get. With `retry_after_ms`, the same draft may be sent
    /// again and is stored once.
    pub async fn send(
        &self,
        user: &UserId,
        draft: &Draft,
    ) -> Result<(ConversationId, Appended), Failure> {
        self.node.inner.send_and_wait(user, draft).await
    }
}
