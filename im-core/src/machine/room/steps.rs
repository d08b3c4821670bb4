//! The room's private steps.

use std::sync::Arc;

use super::{LATE_MAX, PENDING_MAX, RING_MAX, Room, RoomEvent, RoomRead};
use crate::model::{Entry, Seq, UserId};
use crate::rule::Change;

impl<H> Room<H> {
    pub(super) fn on_leaving(&mut self, users: Vec<UserId>, seq: Seq) {
        #[cfg(feature = "planted")]
        if crate::planted::has(crate::planted::Bug::RemovalIgnored) {
            return;
        }
        for user in users {
            // One who came back since is known to be a member as of `after`.
            if self.here.get(&user).is_some_and(|here| here.after < seq) {
                self.leaving.push_back(user);
            }
        }
    }

    /// On the way back to the head, those who joined are here, unless they left on that way too.
    pub(super) fn on_told_before(&mut self, users: &mut Vec<UserId>, seq: Seq) {
        users.retain(|user| self.gone.get(user).is_some_and(|left| *left < seq));
        for user in users {
            self.gone.remove(user);
        }
    }

    pub(super) fn on_apply(&mut self, entry: Arc<Entry>) -> RoomEvent {
        self.cursor = entry.seq;
        if self.head <= Some(entry.seq) {
            self.gone.clear();
        }
        if self.head < Some(entry.seq) {
            self.head = Some(entry.seq);
            self.on_recall(&entry);
            if self.ring.len() == RING_MAX {
                self.ring.pop_front();
            }
            self.ring.push_back(Arc::clone(&entry));
        }
        RoomEvent::Push(entry)
    }

    /// What was recalled is not given to who comes later, nor are its edits.
    fn on_recall(&mut self, entry: &Entry) {
        let Some((target, Change::Recall)) = Change::of(&entry.body) else {
            return;
        };
        let is_of = |kept: &Entry| {
            let edits =
                matches!(Change::of(&kept.body), Some((seq, Change::Edit(_))) if seq == target);
            kept.seq == target || edits
        };
        for kept in self.ring.iter_mut().filter(|kept| is_of(kept)) {
            Arc::make_mut(kept).new.erase();
        }
    }

    pub(super) fn on_new_epoch(&mut self) {
        let lost = std::mem::take(&mut self.here).into_keys().collect();
        let void = matches!(self.reading, Some(RoomRead::After { .. }));
        *self = Self {
            lost,
            gap: true,
            void,
            reading: self.reading,
            reads: self.reads,
            retry_at: self.retry_at,
            ..Self::default()
        };
    }

    pub(super) fn on_heard(&mut self, seq: Seq) {
        self.known = self.known.max(seq);
        self.heard = self.heard.max(seq);
    }

    /// Begins where the first of those who are here already ends.
    pub(super) fn on_first_head(&mut self, head: Seq) {
        self.on_lost_below(Seq(head.0.saturating_sub(LATE_MAX)));
        let first = self.here.values().map(|here| here.after).min();
        self.cursor = first.map_or(head, |after| after.min(head));
        self.head = Some(self.cursor);
        self.pending = self.pending.split_off(&self.cursor.next());
    }

    /// Goes back, for one who joins, to what they have not got yet.
    pub(super) fn on_late(&mut self, after: Seq) {
        for here in self.here.values_mut() {
            here.after = here.after.max(self.cursor);
        }
        self.cursor = after;
        self.on_heard(self.head.unwrap_or_default());
        for entry in self.ring.clone() {
            self.handle_entry(entry);
        }
    }

    /// The store has nothing above the cursor: who told of more before it was asked was wrong.
    pub(super) fn on_nothing_above(&mut self) {
        let reads = self.reads;
        self.pending.retain(|_, pending| pending.reads == reads);
        let head = self.head.unwrap_or_default();
        self.known = self.heard.max(head);
        if self.cursor < head {
            self.on_gap(head.next());
        }
    }

    /// The store has nothing between the cursor and `first`, and will not.
    pub(super) fn on_gap(&mut self, first: Seq) {
        let before = Seq(first.0.saturating_sub(1));
        self.on_lost_below(before);
        self.pending = self.pending.split_off(&first);
        self.cursor = before;
        if self.head <= Some(before) {
            self.gone.clear();
        }
        if self.head < Some(before) {
            self.head = Some(before);
            self.ring.clear();
            self.gap = true;
        }
        self.on_heard(before);
    }

    /// Those who should get entries that are not to be had.
    pub(super) fn on_lost_below(&mut self, seq: Seq) {
        let lost = self.here.iter().filter(|(_, here)| here.after < seq);
        let lost: Vec<UserId> = lost.map(|(user, _)| user.clone()).collect();
        for user in lost {
            self.here.remove(&user);
            self.lost.push(user);
        }
    }

    /// Panics when the state is not one that the machine may be in. For tests; call it after the
    /// outputs were drained.
    pub fn assert_invariants(&self) {
        assert!(self.pending.len() <= PENDING_MAX, "pending is bounded");
        assert!(self.ring.len() <= RING_MAX, "the ring is bounded");
        assert!(
            self.leaving.is_empty() && self.lost.is_empty() && self.joined.is_none() && !self.gap,
            "outputs were drained"
        );
        assert!(self.heard <= self.known);
        let Some(head) = self.head else {
            assert!(
                self.ring.is_empty() && self.cursor == Seq(0),
                "nothing is applied before the head is known"
            );
            return;
        };
        assert!(self.cursor <= head && head <= self.known);
        assert!(head.0 - self.cursor.0 <= LATE_MAX, "going back is bounded");
        assert!(
            self.pending.keys().all(|seq| *seq > self.cursor.next()),
            "what can be applied is"
        );
        let seqs: Vec<u64> = self.ring.iter().map(|entry| entry.seq.0).collect();
        assert!(
            seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "the ring has no hole"
        );
        assert!(
            seqs.last().is_none_or(|last| *last == head.0),
            "the ring ends at the head"
        );
    }
}
