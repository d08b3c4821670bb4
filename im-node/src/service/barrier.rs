//! What stands between two users who would write to each other.

use im_core::frame::Failure;
use im_core::model::{ConversationId, ConversationKind, UserId};
use im_core::port::{RecordKey, View};
use im_core::rule::Barrier;

use super::friends::friend_key;
use crate::appender::port_failure;
use crate::node::Inner;
use crate::router::BusMessage;
use crate::settings::WriteTo;

impl Inner {
    /// What stands between a user and the other one of a direct conversation.
    pub(super) async fn barrier(&self, view: &View, user: &UserId) -> Result<Barrier, Failure> {
        if view.conversation.kind != ConversationKind::Direct {
            return Ok(Barrier::None);
        }
        let mut members = view.members.iter().map(|member| &member.user);
        let other = match members.find(|other| *other != user) {
            Some(other) => Some(other.clone()),
            // The draft named the conversation only.
            None => {
                let members = self.store.members(&view.conversation.id, None, 2).await;
                let members = members.map_err(|error| port_failure(&error))?;
                let mut members = members.into_iter().map(|member| member.user);
                members.find(|other| other != user)
            }
        };
        match other {
            Some(other) => self.barrier_between(user, &other).await,
            None => Ok(Barrier::None),
        }
    }

    /// What stands between two users.
    pub(super) async fn barrier_between(&self, a: &UserId, b: &UserId) -> Result<Barrier, Failure> {
        if a == b {
            return Ok(Barrier::None);
        }
        if self.blocks_between(a, b).await? {
            return Ok(Barrier::Blocked);
        }
        let alone = match self.settings.write_to {
            WriteTo::Anyone => false,
            WriteTo::Friends => self.fact(&friend_key(a, b)).await?.is_none(),
        };
        Ok(if alone {
            Barrier::Strangers
        } else {
            Barrier::None
        })
    }

    /// Whether either of two users blocks the other.
    pub(super) async fn blocks_between(&self, a: &UserId, b: &UserId) -> Result<bool, Failure> {
        let now = self.clock.timestamp();
        for (user, other) in [(a, b), (b, a)] {
            let key = RecordKey::Block {
                user: user.clone(),
                other: other.clone(),
            };
            let found = self.store.record(&key, now).await;
            if found.map_err(|error| port_failure(&error))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What was known of what stands between the two of a direct conversation holds no more, on any
    /// node.
    pub(super) fn forget_barrier(&self, conv: ConversationId) {
        if let Some(room) = self.rooms.get(&conv) {
            room.state.lock().set_barrier(None, self.clock.now());
        }
        self.publish(&BusMessage::Blocks { conv });
    }
}
