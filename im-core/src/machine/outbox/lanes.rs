//! Who may leave next: sends to one target form a lane and leave it in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Target;

/// A send's place among all sends of the outbox.
pub(super) type Order = u64;

/// Sends to one target.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Those that wait to leave.
    pub(super) ready: BTreeSet<Order>,
    /// Those in flight or waiting after a refusal.
    pub(super) open: usize,
    /// Those waiting after a refusal that hold the lane back.
    pub(super) holds: usize,
    /// The one that stands in [`Lanes::heads`].
    head: Option<Order>,
}

/// All lanes, and the first of each that may leave.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: BTreeMap<Target, Lane>,
    heads: BTreeSet<Order>,
    open_max: usize,
}

impl Lanes {
    /// Lanes of which each has at most `open_max` open sends.
    pub(super) const fn new(open_max: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            heads: BTreeSet::new(),
            open_max,
        }
    }

    /// The oldest send that may leave.
    pub(super) fn first(&self) -> Option<Order> {
        self.heads.first().copied()
    }

    /// Changes a lane and finds its head again; a lane without sends is forgotten.
    pub(super) fn change(&mut self, target: &Target, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(target.clone()).or_default();
        change(lane);
        let head = if lane.holds == 0 && lane.open < self.open_max {
            lane.ready.first().copied()
        } else {
            None
        };
        let is_empty = lane.ready.is_empty() && lane.open == 0;
        if head != lane.head {
            if let Some(old) = std::mem::replace(&mut lane.head, head) {
                self.heads.remove(&old);
            }
            self.heads.extend(head);
        }
        if is_empty {
            self.lanes.remove(target);
        }
    }

    pub(super) fn assert_invariants(&self, ready: usize, open: usize, holds: usize) {
        let lanes = || self.lanes.values();
        assert_eq!(lanes().map(|lane| lane.ready.len()).sum::<usize>(), ready);
        assert_eq!(lanes().map(|lane| lane.open).sum::<usize>(), open);
        assert_eq!(lanes().map(|lane| lane.holds).sum::<usize>(), holds);
        let heads: BTreeSet<_> = lanes().filter_map(|lane| lane.head).collect();
        assert_eq!(heads, self.heads, "the heads of the lanes are indexed");
        for lane in lanes() {
            assert!(lane.holds <= lane.open);
            assert!(!lane.ready.is_empty() || lane.open > 0, "no empty lane");
        }
    }
}
