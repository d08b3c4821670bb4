//! Nothing that a node holds for a connection grows without bound: never more un-acked entries
//! than the window, never more waiting than windows and answers in flight account for.

use std::collections::BTreeMap;

use im_core::frame::{ClientFrame, ServerFrame};
use im_core::model::{ConversationId, Seq};

use super::{Event, Invariant, Seen};

/// What may wait beside a full window: answers in flight, `behind` and receipts of a run's
/// conversations.
const WAITING_MAX: usize = 256;

#[derive(Debug, Default)]
struct Flow {
    /// Pushed and not acked: from above the first to the second.
    acked: Seq,
    pushed: Seq,
}

impl Flow {
    const fn open(&self) -> u64 {
        self.pushed.0.saturating_sub(self.acked.0)
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Bounded {
    wires: BTreeMap<u64, BTreeMap<ConversationId, Flow>>,
}

impl Bounded {
    fn on_entry(
        &mut self,
        seen: &Seen,
        wire: u64,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<(), String> {
        let flows = self.wires.entry(wire).or_default();
        let flow = flows.entry(conv.clone()).or_default();
        if flow.open() == 0 {
            flow.acked = flow.acked.max(Seq(seq.0 - 1));
        }
        flow.pushed = flow.pushed.max(seq);
        let open: u64 = flows.values().map(Flow::open).sum();
        if open > seen.window as u64 {
            return Err(format!(
                "wire {wire} has {open} un-acked entries in a window of {}",
                seen.window
            ));
        }
        Ok(())
    }

    /// What a conversation had in the window leaves it.
    fn release(&mut self, wire: u64, conv: &ConversationId) {
        if let Some(flow) = self.wires.entry(wire).or_default().get_mut(conv) {
            flow.acked = flow.acked.max(flow.pushed);
        }
    }
}

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "windows and queues are bounded"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Drained { wire, count } if *count > seen.window + WAITING_MAX => {
                Err(format!("{count} items waited for wire {wire}"))
            }
            Event::Down {
                wire,
                frame: ServerFrame::Entry(entry),
            } => {
                self.on_entry(seen, *wire, &entry.conv, entry.seq)?;
                let log = seen.user(*wire).zip(seen.truth.log(&entry.conv));
                if log.is_some_and(|(user, log)| log.ends_at(user, entry.seq)) {
                    // Nothing is owed by who is no member any more.
                    self.release(*wire, &entry.conv);
                }
                Ok(())
            }
            Event::Down {
                wire,
                frame: ServerFrame::Behind { conv, .. },
            } => {
                self.release(*wire, conv);
                Ok(())
            }
            Event::Up {
                wire,
                frame: ClientFrame::Ack(mark) | ClientFrame::Read(mark),
            } => {
                let head = seen.truth.head(&mark.conv);
                let flow = self.wires.entry(*wire).or_default();
                let flow = flow.entry(mark.conv.clone()).or_default();
                flow.acked = flow.acked.max(mark.seq.min(head));
                Ok(())
            }
            Event::Ended { wire } => {
                self.wires.remove(wire);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
