//! What a connection is pushed of a conversation has no hole from `welcome` on until `behind`;
//! then nothing comes until a pull has ended, and then the entry after its last page.

use std::collections::BTreeMap;

use im_core::frame::{ClientFrame, ConvLine, Page, PullRange, RequestId, ServerFrame};
use im_core::model::{ConversationId, Seq, Value};

use super::{Event, Invariant, Seen};

/// What may be pushed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// This one at the latest: what was there before `welcome` may come or not.
    By(Seq),
    /// This one.
    Next(Seq),
    /// `next`; what was before it, down to `pushed`, came in pages. A page is read from the store,
    /// so it may show a leaving and a return that the node itself has yet to hear of.
    Read { pushed: Seq, next: Seq },
    /// Nothing; the last one that came is this.
    Behind(Seq),
    /// Nothing: that was the user's last.
    Gone,
}

#[derive(Debug, Default)]
struct Wire {
    flows: BTreeMap<ConversationId, Flow>,
    /// What is asked for, by the request's id as a text.
    pulls: BTreeMap<String, (ConversationId, Seq)>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct PushedInOrder {
    wires: BTreeMap<u64, Wire>,
}

fn name_of(id: &RequestId) -> String {
    format!("{id:?}")
}

impl PushedInOrder {
    fn on_entry(
        &mut self,
        seen: &Seen,
        wire: u64,
        conv: &ConversationId,
        seq: Seq,
    ) -> Result<(), String> {
        let Some(user) = seen.user(wire) else {
            return Ok(());
        };
        let flows = &mut self.wires.entry(wire).or_default().flows;
        let flow = flows.get(conv).copied();
        let fits = match flow {
            Some(Flow::By(by)) => seq <= by,
            Some(Flow::Next(next) | Flow::Read { next, .. }) => seq == next,
            Some(Flow::Behind(_) | Flow::Gone) => false,
            // Whoever is new to a conversation is told of it first.
            None => false,
        };
        if !fits {
            return Err(format!(
                "wire {wire} of {user} was pushed {conv} {seq} when it stood at {flow:?}"
            ));
        }
        let log = seen.truth.log(conv);
        let is_last = log.is_some_and(|log| log.ends_at(user, seq));
        let next = if is_last {
            Flow::Gone
        } else {
            Flow::Next(seq.next())
        };
        flows.insert(conv.clone(), next);
        Ok(())
    }

    fn on_behind(&mut self, wire: u64, conv: &ConversationId) {
        let flows = &mut self.wires.entry(wire).or_default().flows;
        let last = match flows.get(conv) {
            Some(Flow::Next(next) | Flow::By(next) | Flow::Read { next, .. }) => Seq(next.0 - 1),
            Some(Flow::Behind(last)) => *last,
            Some(Flow::Gone) | None => Seq(0),
        };
        flows.insert(conv.clone(), Flow::Behind(last));
    }

    fn on_page(&mut self, seen: &Seen, wire: u64, page: &Page) {
        let state = self.wires.entry(wire).or_default();
        let Some((conv, after)) = state.pulls.remove(&name_of(&page.id)) else {
            return;
        };
        let Some(&Flow::Behind(pushed)) = state.flows.get(&conv) else {
            return;
        };
        if page.more {
            return;
        }
        let end = page.entries.last().map_or(after, |entry| entry.seq);
        let is_in = seen
            .user(wire)
            .zip(seen.truth.log(&conv))
            .is_some_and(|(user, log)| log.was_in(user, end.next()) || log.is_in(user));
        let flow = if is_in {
            let next = end.next();
            Flow::Read { pushed, next }
        } else {
            Flow::Gone
        };
        state.flows.insert(conv, flow);
    }

    fn on_line(&mut self, seen: &Seen, wire: u64, line: &ConvLine) -> Result<(), String> {
        let Some(user) = seen.user(wire) else {
            return Ok(());
        };
        let flows = &mut self.wires.entry(wire).or_default().flows;
        let last = match flows.get(&line.conv) {
            Some(Flow::Behind(last) | Flow::Read { pushed: last, .. }) => Some(*last),
            // The last that came may be the leaving itself, in a page.
            Some(Flow::Next(next)) => Some(Seq(next.0.saturating_sub(1))),
            Some(Flow::By(_) | Flow::Gone) | None => None,
        };
        if let Some(last) = last {
            let log = seen.truth.log(&line.conv);
            if !log.is_some_and(|log| log.left_after(user, last)) {
                let conv = &line.conv;
                return Err(format!(
                    "wire {wire} of {user} was told of {conv} as if it were new"
                ));
            }
        }
        let next = if line.left {
            Flow::Gone
        } else {
            Flow::Next(line.last_seq.next())
        };
        flows.insert(line.conv.clone(), next);
        Ok(())
    }

    fn on_down(&mut self, seen: &Seen, wire: u64, frame: &ServerFrame) -> Result<(), String> {
        match frame {
            ServerFrame::Welcome(_) => {
                let Some(user) = seen.user(wire) else {
                    return Ok(());
                };
                let flows = &mut self.wires.entry(wire).or_default().flows;
                for line in seen.truth.lines_of(user) {
                    let by = match line.member.left_seq {
                        // Who has just left may still get that entry, and nothing above it.
                        Some(left) => left,
                        None => line.conversation.head.next(),
                    };
                    flows.insert(line.conversation.id, Flow::By(by));
                }
                Ok(())
            }
            ServerFrame::Entry(entry) => self.on_entry(seen, wire, &entry.conv, entry.seq),
            ServerFrame::Behind { conv, .. } => {
                self.on_behind(wire, conv);
                Ok(())
            }
            ServerFrame::Page(page) => {
                self.on_page(seen, wire, page);
                Ok(())
            }
            ServerFrame::Event(event) => match line_of(event) {
                Some(line) => self.on_line(seen, wire, &line),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The line of a `conv` event.
pub(super) fn line_of(event: &Value) -> Option<ConvLine> {
    if event.get("kind").and_then(Value::as_text) != Some("conv") {
        return None;
    }
    ConvLine::from_value(event.get("line")?.clone()).ok()
}

impl Invariant for PushedInOrder {
    fn name(&self) -> &'static str {
        "pushed without a hole"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Up {
                wire,
                frame: ClientFrame::Pull(pull),
            } => {
                if let PullRange::After(after) = pull.range {
                    let pulls = &mut self.wires.entry(*wire).or_default().pulls;
                    pulls.insert(name_of(&pull.id), (pull.conv.clone(), after));
                }
                Ok(())
            }
            Event::Down { wire, frame } => self.on_down(seen, *wire, frame),
            Event::Ended { wire } => {
                self.wires.remove(wire);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
