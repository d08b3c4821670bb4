//! What the inbox knows of one conversation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::types::Cursor;
use crate::model::{Entry, Epoch, Seq};

/// How a conversation's pull stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PullState {
    /// Nothing to pull.
    Idle,
    /// Waits for its turn.
    Queued,
    /// Asked; asked again when there is no page by then.
    InFlight { id: i64, until: Instant },
    /// Refused, or in vain: asks again then.
    Waiting { until: Instant },
    /// Refused for good: waits for news of the conversation.
    Stopped,
}

impl PullState {
    pub(super) const fn is_busy(self) -> bool {
        !matches!(self, Self::Idle | Self::Stopped)
    }

    pub(super) const fn timer(self) -> Option<Instant> {
        match self {
            Self::InFlight { until, .. } | Self::Waiting { until } => Some(until),
            Self::Idle | Self::Queued | Self::Stopped => None,
        }
    }
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Conv {
    /// The log's life that `queued` and `early` belong to.
    pub(super) epoch: Option<Epoch>,
    /// The last entry that stands in the queue of events.
    pub(super) queued: Seq,
    /// The last entry known of.
    pub(super) head: Seq,
    /// Entries that came before their turn: above `queued`, up to `head`.
    pub(super) early: BTreeMap<Seq, Arc<Entry>>,
    pub(super) pull: PullState,
    /// The server pushes nothing until a pull that is still to be sent reaches the end.
    pub(super) owes_pull: bool,
    /// Since the pull under way was asked, the user was told that they are in it.
    pub(super) told_since: bool,
    /// Pulls in a row that were refused, unanswered or brought nothing, for the waits between.
    pub(super) fruitless: u32,
    /// Pages in a row that brought nothing and were the last.
    pub(super) empty: u32,
    pub(super) left: bool,
    /// The application has been told that the user left.
    pub(super) left_told: bool,
    /// The last entry handed out, and its epoch.
    pub(super) handed: (Option<Epoch>, Seq),
    /// The last entry pushed on this connection, and the last that a page brought on it.
    pub(super) pushed: Seq,
    pub(super) paged: Seq,
    /// `queued` as it was when the sync of that number began; see [`Conv::floor`].
    mark: (u64, Seq),
    /// The listing during which the server last mentioned it, and the last one that named it.
    pub(super) seen: u64,
    pub(super) listed: u64,
}

impl Conv {
    /// One that this device begins at `seq`, during the sync of that number: it had nothing when
    /// the sync began.
    pub(super) const fn new(sync: u64, epoch: Option<Epoch>, seq: Seq) -> Self {
        Self {
            epoch,
            queued: seq,
            head: seq,
            early: BTreeMap::new(),
            pull: PullState::Idle,
            owes_pull: false,
            told_since: false,
            fruitless: 0,
            empty: 0,
            left: false,
            left_told: false,
            handed: (epoch, seq),
            pushed: Seq(0),
            paged: Seq(0),
            mark: (sync, Seq(0)),
            seen: 0,
            listed: 0,
        }
    }

    pub(super) fn restore(cursor: &Cursor) -> Self {
        Self {
            head: cursor.head.max(cursor.seq),
            left: cursor.left,
            left_told: cursor.left && cursor.head <= cursor.seq,
            pull: PullState::Stopped,
            ..Self::new(0, cursor.epoch, cursor.seq)
        }
    }

    /// Whether there is something to pull.
    pub(super) fn wants(&self) -> bool {
        self.owes_pull || self.queued < self.head
    }

    /// Moves `queued`, `sync` being the number of the last sync begun.
    pub(super) const fn advance(&mut self, sync: u64, to: Seq) {
        if self.mark.0 != sync {
            self.mark = (sync, self.queued);
        }
        self.queued = to;
    }

    /// What this device had when the last sync began. A `last_seq` below it means that the log
    /// lost entries; one below `queued` only that the entry overtook the answer.
    pub(super) const fn floor(&self, sync: u64) -> Seq {
        if self.mark.0 == sync {
            self.mark.1
        } else {
            self.queued
        }
    }

    /// Whether an entry pushed again is what it seems. Pushes ascend, so on one connection only a
    /// page can have brought it before; any other may be of another life of the log.
    pub(super) fn explains(&self, again: Seq) -> bool {
        again > self.pushed && again <= self.paged
    }

    /// Forgets what was had of another life of the log.
    pub(super) fn restart(&mut self, sync: u64, epoch: Epoch, before_first: Seq) {
        self.epoch = Some(epoch);
        self.early.clear();
        self.queued = before_first;
        self.head = before_first;
        self.mark = (sync, before_first);
        self.pushed = Seq(0);
        self.paged = Seq(0);
        self.owes_pull = true;
        self.fruitless = 0;
        self.empty = 0;
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.queued <= self.head, "the head is known");
        assert!(
            self.early
                .keys()
                .all(|seq| *seq > self.queued && *seq <= self.head)
        );
        let asked = self.pull != PullState::Idle;
        assert!(!self.wants() || asked, "what is missing is asked for");
    }
}
