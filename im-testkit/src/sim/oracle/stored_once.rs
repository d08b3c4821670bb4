//! A message is stored at most once, however often it is sent.

use std::collections::BTreeMap;

use im_core::model::{CmId, ConversationId, Seq, UserId};

use super::{Event, Invariant, Seen, label};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct StoredOnce {
    by_cm_id: BTreeMap<(ConversationId, UserId, CmId), Seq>,
    /// The text is the message's own, so a message under another `cm_id` is seen too.
    by_label: BTreeMap<(ConversationId, UserId, String), Seq>,
    heads: BTreeMap<ConversationId, Seq>,
}

impl Invariant for StoredOnce {
    fn name(&self) -> &'static str {
        "a message is stored once"
    }

    fn observe(&mut self, _: &Seen, event: &Event<'_>) -> Result<(), String> {
        let Event::Stored(entry) = event else {
            return Ok(());
        };
        let (conv, from, seq) = (&entry.conv, &entry.new.from, entry.seq);
        let head = self.heads.entry(conv.clone()).or_default();
        if seq != head.next() {
            return Err(format!("{conv} has {seq} after {head}"));
        }
        *head = seq;
        if let Some(cm_id) = &entry.cm_id {
            let key = (conv.clone(), from.clone(), cm_id.clone());
            if let Some(first) = self.by_cm_id.insert(key, seq) {
                return Err(format!(
                    "{cm_id} of {from} is in {conv} at {first} and {seq}"
                ));
            }
        }
        if let Some(text) = label(entry) {
            let key = (conv.clone(), from.clone(), text.clone());
            if let Some(first) = self.by_label.insert(key, seq) {
                return Err(format!(
                    "{text} of {from} is in {conv} at {first} and {seq}"
                ));
            }
        }
        Ok(())
    }
}
