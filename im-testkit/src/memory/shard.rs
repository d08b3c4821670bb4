//! The store in memory as one of several.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;
use im_core::model::{ConversationId, FactKey, Slot, Stamp, Timestamp, UserId};
use im_core::port::{
    Cargo, CargoQuery, Holding, Holdings, Phase, Place, PortError, PortErrorKind, RecordKey,
    Rejected, Search, Shard,
};

use super::state::{Kept, Log, Row, State};
use super::store::MemoryStore;

/// What a store that is a shard holds.
#[derive(Debug, Clone)]
pub(super) struct Held {
    place: Place,
    version: u64,
    slots: BTreeMap<Slot, Holding>,
}

impl State {
    /// Refuses a commit to a slot that is not open here.
    pub(super) fn fence(&self, conv: &ConversationId) -> Result<(), Rejected> {
        let Some(held) = &self.held else {
            return Ok(());
        };
        let is_open = |held: &Holding| held.phase == Phase::Open;
        if self.is_unfenced || held.slots.get(&Slot::of(conv)).is_some_and(is_open) {
            return Ok(());
        }
        Err(PortError::new(PortErrorKind::Moved).into())
    }

    /// The epoch in which reads of a slot are right here, if they are.
    pub(super) fn serves(&self, slot: Slot) -> Option<u64> {
        let held = self.held.as_ref()?.slots.get(&slot)?;
        let is_served = matches!(held.phase, Phase::Open | Phase::Closed { .. });
        is_served.then_some(held.epoch)
    }

    /// Slots that are neither open here nor elsewhere alone.
    pub(super) fn under_way(&self) -> Vec<Slot> {
        let slots = self.held.iter().flat_map(|held| held.slots.values());
        slots
            .filter(|held| held.phase != Phase::Open)
            .map(|held| held.slot)
            .collect()
    }

    fn holdings(&self) -> Holdings {
        let held = self.held.as_ref();
        Holdings {
            version: held.map_or(0, |held| held.version),
            place: held.map(|held| held.place),
            is_occupied: !self.convs.is_empty(),
            slots: held.map_or_else(Vec::new, |held| held.slots.values().copied().collect()),
        }
    }

    fn turn(&mut self, slot: Slot, from: Option<Holding>, to: Option<Holding>) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        if !is_same(held.slots.get(&slot), from.as_ref()) {
            return false;
        }
        held.version += 1;
        match to {
            Some(to) => held.slots.insert(slot, to),
            None => held.slots.remove(&slot),
        };
        if to.is_some_and(|to| to.phase == Phase::Open) {
            self.stamp_slot(slot);
        }
        true
    }

    /// Gives new stamps to all that is in a slot, so that lists and sweeps see it. Of members who
    /// are in, the conversation's own counts.
    fn stamp_slot(&mut self, slot: Slot) {
        for (conv, log) in &mut self.convs {
            if Slot::of(conv) != slot {
                continue;
            }
            self.stamp = Stamp(self.stamp.0 + 1);
            self.changes.remove(&log.stamp);
            log.stamp = self.stamp;
            self.changes.insert(self.stamp, conv.clone());
            let rows = log.members.values_mut();
            for row in rows.filter(|row| !row.member.is_in()) {
                row.stamp = self.stamp;
            }
        }
    }

    fn cargo(&self, slot: Slot, query: &CargoQuery, limit: usize) -> Cargo {
        let mut cargo = Cargo::default();
        let logs = |from: Bound<&ConversationId>| {
            let logs = self
                .convs
                .range::<ConversationId, _>((from, Bound::Unbounded));
            logs.filter(move |(conv, _)| Slot::of(conv) == slot)
        };
        match query {
            CargoQuery::Conversations(after) => {
                let logs = logs(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
                let found = logs.map(|(_, log)| log.conversation.clone());
                cargo.conversations = found.take(limit).collect();
            }
            CargoQuery::Members(after) => {
                let first = after.as_ref().map(|(conv, _)| conv);
                let logs = logs(first.map_or(Bound::Unbounded, Bound::Included));
                let rows = logs.flat_map(|(conv, log)| {
                    let rows = log.members.values();
                    rows.map(move |row| (conv.clone(), row.member.clone()))
                });
                let is_after = |(conv, member): &(ConversationId, _)| {
                    let member: &im_core::model::Member = member;
                    let place = (conv.clone(), member.user.clone());
                    after.as_ref().is_none_or(|after| place > *after)
                };
                cargo.members = rows.filter(is_after).take(limit).collect();
            }
            CargoQuery::Records(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let kept = self.records.range::<RecordKey, _>((from, Bound::Unbounded));
                let kept = kept.filter(|(_, kept)| kept.slot == slot);
                cargo.records = kept.map(|(_, it)| it.record.clone()).take(limit).collect();
            }
            CargoQuery::Facts(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let facts = self.facts.range::<FactKey, _>((from, Bound::Unbounded));
                let facts = facts.filter(|(key, _)| key.slot() == Some(slot));
                cargo.facts = facts.map(|(_, fact)| fact.clone()).take(limit).collect();
            }
        }
        cargo
    }

    fn receive(
        &mut self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError> {
        let held = self
            .held
            .as_mut()
            .and_then(|held| held.slots.get_mut(&slot));
        match held.map(|held| &mut held.phase) {
            Some(Phase::Arriving {
                mover: it,
                until: u,
            }) if *it == mover => *u = until,
            _ => return Err(fenced()),
        }
        for conversation in &cargo.conversations {
            let log = self.convs.entry(conversation.id.clone());
            let log = log.or_insert_with(|| Log {
                conversation: conversation.clone(),
                entries: Vec::new(),
                members: BTreeMap::new(),
                sent: BTreeMap::new(),
                stamp: Stamp(0),
            });
            log.conversation = conversation.clone();
        }
        for (conv, member) in &cargo.members {
            self.enlist(&member.user, conv);
            if let Some(log) = self.convs.get_mut(conv) {
                let row = Row {
                    member: member.clone(),
                    stamp: Stamp(0),
                };
                log.members.insert(member.user.clone(), row);
            }
        }
        for entry in &cargo.entries {
            if let Some(log) = self.convs.get_mut(&entry.conv) {
                if let Some(cm_id) = &entry.cm_id {
                    let key = (entry.from.clone(), cm_id.clone());
                    log.sent.insert(key, entry.seq);
                }
                // What was erased here or there meanwhile comes again.
                let at = usize::try_from(entry.seq.0).unwrap_or(usize::MAX);
                match at.checked_sub(1).and_then(|at| log.entries.get_mut(at)) {
                    Some(there) => *there = entry.clone(),
                    None => log.entries.push(entry.clone()),
                }
            }
        }
        if cargo.records_anew {
            self.records.retain(|_, kept| kept.slot != slot);
            self.facts.retain(|key, _| key.slot() != Some(slot));
        }
        for fact in cargo.facts.iter().cloned() {
            self.facts.insert(fact.key.clone(), fact);
        }
        for record in cargo.records.iter().cloned() {
            self.records
                .insert(record.key.clone(), Kept { slot, record });
        }
        Ok(())
    }

    fn discard(&mut self, slot: Slot, limit: usize) -> Result<bool, PortError> {
        let held = self.held.as_ref().and_then(|held| held.slots.get(&slot));
        if held.is_none_or(|held| held.phase != Phase::Gone) {
            return Err(fenced());
        }
        self.records.retain(|_, kept| kept.slot != slot);
        self.facts.retain(|key, _| key.slot() != Some(slot));
        let mut rows = 0;
        while rows < limit {
            let Some(conv) = self
                .convs
                .keys()
                .find(|conv| Slot::of(conv) == slot)
                .cloned()
            else {
                return Ok(false);
            };
            let Some(log) = self.convs.remove(&conv) else {
                break;
            };
            rows += 1 + log.members.len() + log.entries.len();
            self.changes.remove(&log.stamp);
            for user in log.members.keys() {
                self.delist(user, &conv);
            }
        }
        Ok(true)
    }

    fn delist(&mut self, user: &UserId, conv: &ConversationId) {
        if let Some(list) = self.lists.get_mut(user) {
            list.remove(conv);
        }
    }
}

/// Whether it is the holding said; of one that arrives, by the same mover.
fn is_same(found: Option<&Holding>, said: Option<&Holding>) -> bool {
    match (found, said) {
        (None, None) => true,
        (Some(found), Some(said)) if found.epoch == said.epoch => match (found.phase, said.phase) {
            (Phase::Arriving { mover: one, .. }, Phase::Arriving { mover: other, .. }) => {
                one == other
            }
            (one, other) => one == other,
        },
        _ => false,
    }
}

const fn fenced() -> PortError {
    PortError::new(PortErrorKind::Fenced)
}

#[async_trait]
impl Shard for MemoryStore {
    async fn holdings(&self, known: Option<u64>) -> Result<Option<Holdings>, PortError> {
        let holdings = self.state().holdings();
        Ok((known != Some(holdings.version)).then_some(holdings))
    }

    async fn enroll(&self, place: Place, slots: &[Slot]) -> Result<(), PortError> {
        let holding = |slot: &Slot| Holding {
            slot: *slot,
            epoch: 1,
            phase: Phase::Open,
        };
        self.state().held.get_or_insert_with(|| Held {
            place,
            version: 1,
            slots: slots.iter().map(|slot| (*slot, holding(slot))).collect(),
        });
        Ok(())
    }

    async fn turn(
        &self,
        slot: Slot,
        from: Option<Holding>,
        to: Option<Holding>,
    ) -> Result<bool, PortError> {
        Ok(self.state().turn(slot, from, to))
    }

    async fn cargo(
        &self,
        slot: Slot,
        query: &CargoQuery,
        limit: usize,
    ) -> Result<Cargo, PortError> {
        Ok(self.state().cargo(slot, query, limit))
    }

    async fn receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), PortError> {
        self.state().receive(slot, mover, until, cargo)
    }

    async fn discard(&self, slot: Slot, limit: usize) -> Result<bool, PortError> {
        self.state().discard(slot, limit)
    }

    fn search(&self) -> Option<&dyn Search> {
        Some(self)
    }
}
