//! An application is handed the entries of a conversation in order, each once, from the first that
//! its user may see; and what it holds in the end is the log.

use std::collections::BTreeMap;

use im_core::machine::InboxEvent;
use im_core::model::{ConversationId, Seq};

use super::{Event, Invariant, Seen};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct HandedInOrder {
    /// What comes next, for each client and conversation.
    next: BTreeMap<(usize, ConversationId), Seq>,
}

impl HandedInOrder {
    fn on_event(&mut self, seen: &Seen, client: usize, event: &InboxEvent) -> Result<(), String> {
        match event {
            InboxEvent::Conversation(line) => {
                let key = (client, line.conv.clone());
                self.next.entry(key).or_insert(line.first_seq);
                Ok(())
            }
            InboxEvent::Entry(entry) => {
                let key = (client, entry.conv.clone());
                let Some(next) = self.next.get_mut(&key) else {
                    return Err(format!("c{client} got {} of a stranger", entry.conv));
                };
                if entry.seq != *next {
                    return Err(format!(
                        "c{client} got {} {} where {next} was next",
                        entry.conv, entry.seq
                    ));
                }
                *next = next.next();
                Ok(())
            }
            InboxEvent::Trimmed { conv, first_seq } => {
                let next = self.next.insert((client, conv.clone()), *first_seq);
                let next = next.unwrap_or(*first_seq);
                // Nothing is trimmed in a run, so what is skipped must be hidden from this user.
                let (Some(user), Some(log)) = (seen.users.get(client), seen.truth.log(conv)) else {
                    return Err(format!("c{client}: {conv} was trimmed and is not there"));
                };
                if next < *first_seq && !log.begins_at(user, *first_seq) {
                    return Err(format!("c{client} was spared {conv} {next}"));
                }
                Ok(())
            }
            InboxEvent::Reset { conv, .. } => Err(format!(
                "c{client} had to drop {conv}, of which nothing was lost"
            )),
            InboxEvent::Left { .. } | InboxEvent::PullFailed { .. } | InboxEvent::Synced => Ok(()),
        }
    }
}

impl Invariant for HandedInOrder {
    fn name(&self) -> &'static str {
        "handed out in order, once"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Inbox { client, event } => self.on_event(seen, *client, event),
            Event::Restored { client, cursors } => {
                self.next.retain(|(of, _), _| of != client);
                for cursor in *cursors {
                    let key = (*client, cursor.conv.clone());
                    self.next.insert(key, cursor.seq.next());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
