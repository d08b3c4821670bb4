//! Facts.

use std::ops::Bound;

use im_core::model::{Fact, FactKey, FactTable, Timestamp};
use im_core::port::{FactQuery, Put};

use super::state::State;

impl State {
    pub(super) fn put(&mut self, put: &Put) {
        match &put.to {
            Some((value, at)) => {
                let fact = Fact {
                    key: put.key.clone(),
                    value: value.clone(),
                    at: *at,
                };
                self.facts.insert(put.key.clone(), fact);
            }
            None => {
                self.facts.remove(&put.key);
            }
        }
    }

    pub(super) fn facts(&self, query: &FactQuery) -> Vec<Fact> {
        match query {
            FactQuery::One(key) => self.facts.get(key).cloned().into_iter().collect(),
            FactQuery::Of {
                table,
                owner,
                after,
                below,
                limit,
            } => {
                let key = |key: &str| FactKey::new(*table, owner.as_str(), key);
                let from = match after {
                    Some(after) => Bound::Excluded(key(after)),
                    None => Bound::Included(key("")),
                };
                let is_in = |fact: &&Fact| {
                    let is_below = below.as_ref().is_none_or(|below| fact.key.key < *below);
                    fact.key.table == *table && fact.key.owner == *owner && is_below
                };
                let found = self.facts.range((from, Bound::Unbounded));
                let found = found.map(|(_, fact)| fact).take_while(is_in);
                found.take(*limit).cloned().collect()
            }
            FactQuery::Due {
                table,
                until,
                limit,
            } => self.due(*table, *until, *limit),
        }
    }

    fn due(&self, table: FactTable, until: Timestamp, limit: usize) -> Vec<Fact> {
        let from = FactKey::new(table, "", "");
        let facts = self.facts.range(from..).map(|(_, fact)| fact);
        let facts = facts.take_while(|fact| fact.key.table == table);
        let is_due = |fact: &&Fact| fact.at.is_some_and(|at| at <= until);
        let mut due: Vec<&Fact> = facts.filter(is_due).collect();
        due.sort_by_key(|fact| fact.at);
        due.into_iter().take(limit).cloned().collect()
    }
}
