//! The service as embedders and the HTTP transport call it.

use im_core::frame::Failure;
use im_core::model::{ConversationId, Draft, UserId, Value};
use im_core::port::{Appended, Identity, Standing};
use im_core::rule::Staff;

use super::Caller;
use crate::appender::port_failure;
use crate::moderation::banned;
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
    /// Calls a method of [`METHODS`](super::METHODS) for a user, who has no roles beside those in
    /// conversations. `key` makes a retry safe for 24 hours.
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
        self.act(user, Staff::NONE, method, params, key).await
    }

    /// The same for whom a token speaks for, with the roles that it gives: `admin.*` and `audit.*`
    /// ask for those.
    ///
    /// # Errors
    /// The refusal that a client would get.
    pub async fn call_as(
        &self,
        identity: &Identity,
        method: &str,
        params: Value,
        key: Option<String>,
    ) -> Result<Value, Failure> {
        let staff = Staff::of(identity.roles.iter().map(String::as_str));
        self.act(&identity.user, staff, method, params, key).await
    }

    /// Whether a user may do anything at all now: what a transport asks that moves bytes by itself.
    ///
    /// # Errors
    /// `banned` for who is banned, unknown or erased; `unavailable` when that can't be read.
    pub async fn admitted(&self, user: &UserId) -> Result<(), Failure> {
        let standing = self.node.inner.standing(user).await;
        match standing.map_err(|error| port_failure(&error))? {
            Standing::Active => Ok(()),
            _ => Err(banned()),
        }
    }

    async fn act(
        &self,
        user: &UserId,
        staff: Staff,
        method: &str,
        params: Value,
        key: Option<String>,
    ) -> Result<Value, Failure> {
        self.admitted(user).await?;
        let inner = &self.node.inner;
        inner.moderation.counts.seen(inner.clock.timestamp(), user);
        let caller = Caller {
            user: user.clone(),
            staff,
            link: None,
        };
        inner.call(&caller, method, params, key).await
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
        self.node.inner.not_erased(user).await?;
        self.node.inner.send_and_wait(user, draft).await
    }

    /// A page of everything that is one user's (`docs/protocol.md`, `me.export`): lines of JSON,
    /// and `next`, to be given as `after`, unless it was the last.
    ///
    /// # Errors
    /// `bad_frame` when `after` is no `next`; `unavailable` when the store does not answer.
    pub async fn export(&self, user: &UserId, after: Option<&str>) -> Result<Value, Failure> {
        self.node.inner.export(user, after).await
    }

    /// Erases a user, for good: from now on they are nobody, and what they wrote goes within a
    /// while, also if this node ends. A second time does nothing.
    ///
    /// # Errors
    /// `unavailable` when the store does not answer.
    pub async fn erase(&self, user: &UserId) -> Result<(), Failure> {
        self.node.inner.begin_erasure(user).await
    }
}
