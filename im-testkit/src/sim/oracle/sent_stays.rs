//! What was answered `sent` is in the store, at the place that was told, and stays there.

use std::collections::BTreeMap;

use im_core::frame::ServerFrame;
use im_core::machine::OutboxEvent;
use im_core::model::{ConversationId, MessageId, Seq};

use super::{Event, Invariant, Place, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct SentStays {
    told: BTreeMap<Place, MessageId>,
}

impl SentStays {
    fn tell(
        &mut self,
        seen: &Seen,
        conv: &ConversationId,
        seq: Seq,
        id: MessageId,
    ) -> Result<(), String> {
        self.told.insert((conv.clone(), seq), id);
        stands(seen, conv, seq, id)
    }
}

fn stands(seen: &Seen, conv: &ConversationId, seq: Seq, id: MessageId) -> Result<(), String> {
    match seen.truth.entry(conv, seq) {
        Some(entry) if entry.id == id => Ok(()),
        Some(entry) => Err(format!(
            "sent {id} at {conv} {seq}, where {} stands",
            entry.id
        )),
        None => {
            let head = seen.truth.head(conv);
            Err(format!("sent {id} at {conv} {seq}, which ends at {head}"))
        }
    }
}

impl Invariant for SentStays {
    fn name(&self) -> &'static str {
        "sent is stored"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Down {
                frame: ServerFrame::Sent { conv, seq, id, .. },
                ..
            }
            | Event::Outbox {
                event: OutboxEvent::Sent { conv, seq, id, .. },
                ..
            } => self.tell(seen, conv, *seq, *id),
            Event::Healed { .. } => {
                let mut told = self.told.iter();
                told.try_for_each(|((conv, seq), id)| stands(seen, conv, *seq, *id))
            }
            _ => Ok(()),
        }
    }
}
