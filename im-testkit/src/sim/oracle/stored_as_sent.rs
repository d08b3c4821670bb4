//! Sends of one connection to one conversation are stored in the order in which they came; one
//! answered with a retryable error loses its place.

use std::collections::{BTreeMap, BTreeSet};

use im_core::frame::{ClientFrame, ServerFrame};
use im_core::model::{CmId, ConversationId, Seq};

use super::{Event, Invariant, Seen};

#[derive(Debug, Default)]
struct Wire {
    /// The order in which sends that no wire brought before came.
    order: BTreeMap<CmId, u64>,
    refused: BTreeSet<CmId>,
    /// Where those that were stored stand.
    stored: BTreeMap<ConversationId, BTreeMap<u64, (Seq, CmId)>>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct StoredAsSent {
    wires: BTreeMap<u64, Wire>,
    /// What some wire has brought, by client.
    known: BTreeSet<(usize, CmId)>,
}

impl StoredAsSent {
    fn on_sent(
        &mut self,
        wire: u64,
        cm_id: &CmId,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<(), String> {
        let wire_of = self.wires.entry(wire).or_default();
        let Some(at) = wire_of.order.get(cm_id).copied() else {
            return Ok(());
        };
        if wire_of.refused.contains(cm_id) {
            return Ok(());
        }
        let stored = wire_of.stored.entry(conv.clone()).or_default();
        let before = stored.range(..at).next_back();
        let after = stored.range(at + 1..).next();
        let wrong = before
            .filter(|(_, (place, _))| *place >= seq)
            .or_else(|| after.filter(|(_, (place, _))| *place <= seq));
        if let Some((_, (place, other))) = wrong {
            return Err(format!(
                "wire {wire} sent {other} and {cm_id} to {conv} in another order than \
                 {place}, {seq}"
            ));
        }
        stored.insert(at, (seq, cm_id.clone()));
        Ok(())
    }
}

impl Invariant for StoredAsSent {
    fn name(&self) -> &'static str {
        "stored in the order sent"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Up {
                wire,
                frame: ClientFrame::Send(draft),
            } => {
                let client = seen.wires.get(wire).copied().unwrap_or(usize::MAX);
                if self.known.insert((client, draft.cm_id.clone())) {
                    let wire = self.wires.entry(*wire).or_default();
                    let at = wire.order.len() as u64;
                    wire.order.insert(draft.cm_id.clone(), at);
                }
                Ok(())
            }
            Event::Down {
                wire,
                frame: ServerFrame::Err(err),
            } => {
                if let Some(cm_id) = &err.cm_id {
                    let wire = self.wires.entry(*wire).or_default();
                    wire.refused.insert(cm_id.clone());
                }
                Ok(())
            }
            Event::Down {
                wire,
                frame:
                    ServerFrame::Sent {
                        cm_id,
                        conv,
                        seq,
                        dup: false,
                        ..
                    },
            } => self.on_sent(*wire, cm_id, conv, *seq),
            Event::Ended { wire } => {
                self.wires.remove(wire);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
