//! One place in a log is one entry, for everybody and for ever.

use std::collections::BTreeMap;

use im_core::frame::ServerFrame;
use im_core::machine::{InboxEvent, OutboxEvent};
use im_core::model::{CmId, Entry, MessageId, UserId};

use super::{Event, Invariant, Place, Seen};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Is {
    id: MessageId,
    from: UserId,
    cm_id: Option<CmId>,
    body: String,
}

impl Is {
    fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            from: entry.new.from.clone(),
            cm_id: entry.cm_id.clone(),
            body: entry.body.json().to_string(),
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct OneEntry {
    known: BTreeMap<Place, Is>,
}

impl OneEntry {
    fn see(&mut self, entry: &Entry, by: &str) -> Result<(), String> {
        let place = (entry.conv.clone(), entry.seq);
        let is = Is::of(entry);
        let known = self.known.entry(place).or_insert_with(|| is.clone());
        if *known == is {
            return Ok(());
        }
        let (conv, seq) = (&entry.conv, entry.seq);
        Err(format!(
            "{by} has {is:?} at {conv} {seq}, which is {known:?}"
        ))
    }

    fn see_id(&self, place: Place, id: MessageId, by: &str) -> Result<(), String> {
        match self.known.get(&place) {
            Some(known) if known.id != id => {
                let (conv, seq) = place;
                Err(format!(
                    "{by} was told {id} of {conv} {seq}, which is {known:?}"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for OneEntry {
    fn name(&self) -> &'static str {
        "one place is one entry"
    }

    fn observe(&mut self, seen: &Seen, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Stored(entry) => self.see(entry, "the store"),
            Event::Down { wire, frame } => {
                let by = format!("wire {wire}");
                match frame {
                    ServerFrame::Entry(entry) => self.see(entry, &by),
                    ServerFrame::Page(page) => {
                        page.entries.iter().try_for_each(|it| self.see(it, &by))
                    }
                    ServerFrame::Synced(synced) => {
                        let mut last = synced.convs.iter().filter_map(|line| line.last.as_ref());
                        last.try_for_each(|entry| self.see(entry, &by))
                    }
                    ServerFrame::Sent { conv, seq, id, .. } => {
                        self.see_id((conv.clone(), *seq), *id, &by)
                    }
                    _ => Ok(()),
                }
            }
            Event::Inbox {
                client,
                event: InboxEvent::Entry(entry),
            } => self.see(entry, &format!("client {client}")),
            Event::Outbox {
                client,
                event: OutboxEvent::Sent { conv, seq, id, .. },
            } => self.see_id((conv.clone(), *seq), *id, &format!("client {client}")),
            Event::Healed { .. } => {
                let absent = |(conv, seq): &&Place| seen.truth.entry(conv, *seq).is_none();
                match self.known.keys().find(absent) {
                    Some((conv, seq)) => Err(format!("{conv} {seq} was seen and is not stored")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
