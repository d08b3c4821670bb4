//! What a client's disk holds: what its machines are restored from after a crash.

use im_core::machine::{Cursor, Inbox, Outbox, PendingDraft};

/// One step in so many writes the rest to the disk too.
const SAVE_ONE_IN: u32 = 6;

/// See the [module](self).
#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    pub(super) sends: Vec<PendingDraft>,
    pub(super) cursors: Vec<Cursor>,
    pub(super) since: Option<String>,
}

impl Disk {
    /// Before anything leaves, and before the application hears that something was refused.
    pub(super) fn save_sends(&mut self, outbox: &Outbox) {
        let pending = outbox.pending().map(|(draft, first_try)| PendingDraft {
            draft: draft.clone(),
            first_try,
        });
        self.sends = pending.collect();
    }

    /// Now and then: answers, and how far the inbox is. The cursors are never older than the token.
    pub(super) fn save_some(&mut self, rng: &mut fastrand::Rng, outbox: &Outbox, inbox: &Inbox) {
        if rng.u32(0..SAVE_ONE_IN) > 0 {
            return;
        }
        self.save_sends(outbox);
        self.cursors = inbox.cursors().collect();
        if rng.bool() {
            self.since = inbox.since().map(str::to_owned);
        }
    }
}
