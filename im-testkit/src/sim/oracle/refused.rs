//! What a client was refused for good is not stored, and nothing is refused without a reason.

use std::collections::BTreeMap;

use im_core::frame::ErrorCode;
use im_core::machine::OutboxEvent;
use im_core::model::{CmId, UserId};

use super::{Event, Invariant, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Refused {
    refused: BTreeMap<(UserId, CmId), ErrorCode>,
}

/// What the workload may be refused for.
const REASONS: [ErrorCode; 4] = [
    ErrorCode::Forbidden,
    ErrorCode::Muted,
    ErrorCode::NotFound,
    ErrorCode::NotMember,
];

impl Invariant for Refused {
    fn name(&self) -> &'static str {
        "refused is not stored"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Outbox { client, event } => {
                let Some(user) = seen.users.get(*client) else {
                    return Ok(());
                };
                match event {
                    OutboxEvent::Failed { cm_id, failure } => {
                        if !REASONS.contains(&failure.code) {
                            return Err(format!("{user} was refused {cm_id}: {failure:?}"));
                        }
                        let key = (user.clone(), cm_id.clone());
                        self.refused.insert(key, failure.code);
                        Ok(())
                    }
                    OutboxEvent::GaveUp { cm_id } => {
                        Err(format!("{user} gave {cm_id} up within minutes"))
                    }
                    OutboxEvent::Sent { .. } => Ok(()),
                }
            }
            Event::Stored(entry) => {
                let Some(cm_id) = &entry.cm_id else {
                    return Ok(());
                };
                let key = (entry.new.from.clone(), cm_id.clone());
                match self.refused.get(&key) {
                    Some(code) => Err(format!("{cm_id} was refused ({code:?}) and is stored")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
