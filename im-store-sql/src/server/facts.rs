//! Facts: what a batch changes of them, and reading them.

use std::collections::BTreeSet;

use im_core::model::{Fact, FactKey, Slot};
use im_core::port::{Commit, FactQuery, PortError, Put};
use im_core::rule::commit::puts;

use super::Shared;
use super::commit::{Broken, rows};
use super::dialect::{Conn, Dialect};
use super::load::by_keys;
use super::row::FACT as COLUMNS;
use super::statement::{Arg, FACT, Look, NEW_FACT, Statement};
use super::work::Work;

const KEY: [&str; 3] = ["f.kind", "f.owner", "f.fact_key"];

/// A fact of a batch.
#[derive(Debug, Clone)]
pub(super) struct HeldFact {
    /// As the batch has it by now.
    pub(super) fact: Option<Fact>,
    /// The table has a row of it.
    is_there: bool,
    changed: bool,
}

/// Reads the facts that a batch changes, and locks them.
pub(super) async fn load<D: Dialect>(
    conn: &mut Conn<D>,
    batch: &[Commit],
    work: &mut Work,
) -> Result<(), Broken> {
    let asked: BTreeSet<&FactKey> = batch.iter().flat_map(puts).map(|put| &put.key).collect();
    let look = Look {
        what: COLUMNS,
        table: "im_fact f",
        index: "PRIMARY",
        columns: &KEY,
    };
    // Everybody takes the locks in the same order.
    let then = " ORDER BY f.kind, f.owner, f.fact_key FOR UPDATE";
    let keys = asked.into_iter().map(key).collect();
    for mut row in by_keys::<D>(conn, &look, keys, then).await? {
        let fact = row.fact()?;
        let held = HeldFact {
            fact: Some(fact.clone()),
            is_there: true,
            changed: false,
        };
        work.facts.insert(fact.key, held);
    }
    Ok(())
}

fn key(of: &FactKey) -> Vec<Arg> {
    vec![
        of.table.as_str().into(),
        of.owner.as_str().into(),
        of.key.as_str().into(),
    ]
}

impl Work {
    /// Applies a change.
    pub(super) fn put(&mut self, put: &Put) {
        let fact = put.to.as_ref().map(|(value, at)| Fact {
            key: put.key.clone(),
            value: value.clone(),
            at: *at,
        });
        let is_there = self.facts.get(&put.key).is_some_and(|held| held.is_there);
        let held = HeldFact {
            fact,
            is_there,
            changed: true,
        };
        self.facts.insert(put.key.clone(), held);
    }
}

/// Writes what a batch has changed. What it found absent is inserted: another's row of that key
/// makes the batch run again.
pub(super) async fn write<D: Dialect>(conn: &mut Conn<D>, work: &Work) -> Result<(), Broken> {
    let (mut new, mut over, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (of, held) in work.facts.iter().filter(|(_, held)| held.changed) {
        match &held.fact {
            Some(fact) if held.is_there => over.extend(values(fact)),
            Some(fact) => new.extend(values(fact)),
            None if held.is_there => gone.push(key(of)),
            None => {}
        }
    }
    rows::<D>(conn, &NEW_FACT, new).await?;
    rows::<D>(conn, &FACT, over).await?;
    if !gone.is_empty() {
        let columns = ["kind", "owner", "fact_key"];
        let statement = Statement::new("DELETE FROM im_fact WHERE ");
        D::fetch(conn, statement.join(D::any_of(&columns, gone))).await?;
    }
    Ok(())
}

/// The row of a fact, which has a place as every fact that was let through.
pub(super) fn values(fact: &Fact) -> Option<Vec<Arg>> {
    let slot = fact.key.slot()?;
    let mut values = key(&fact.key);
    values.push(fact.value.as_str().into());
    values.push(Arg::Int(fact.at.map(|at| at.0)));
    values.push(i64::from(slot.number()).into());
    Some(values)
}

impl<D: Dialect> Shared<D> {
    pub(super) async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        let rows = self.fetch(statement(query)).await?;
        rows.into_iter().map(|mut row| row.fact()).collect()
    }

    /// Facts of a slot, in the order of their keys, above one.
    pub(super) async fn facts_of(
        &self,
        slot: Slot,
        after: Option<&FactKey>,
        limit: usize,
    ) -> Result<Vec<Fact>, PortError> {
        let kind = after.map_or("", |key| key.table.as_str());
        let owner = after.map_or("", |key| key.owner.as_str());
        let key = after.map_or("", |key| key.key.as_str());
        let statement = Statement::new(format!(
            "SELECT {COLUMNS} FROM im_fact f WHERE f.slot = ? AND (f.kind > ? OR (f.kind = ? \
             AND (f.owner > ? OR (f.owner = ? AND f.fact_key > ?)))) \
             ORDER BY f.kind, f.owner, f.fact_key LIMIT ?"
        ));
        let slot = i64::from(slot.number());
        let statement = statement.bind(slot).bind(kind).bind(kind).bind(owner);
        let rows = self.fetch(statement.bind(owner).bind(key).bind(limit));
        rows.await?.into_iter().map(|mut row| row.fact()).collect()
    }
}

fn statement(query: &FactQuery) -> Statement {
    let select = Statement::new(format!("SELECT {COLUMNS} FROM im_fact f WHERE f.kind = ? "));
    match query {
        FactQuery::One(FactKey { table, owner, key }) => select
            .bind(table.as_str())
            .then("AND f.owner = ? AND f.fact_key = ?")
            .bind(owner.as_str())
            .bind(key.as_str()),
        FactQuery::Of {
            table,
            owner,
            after,
            below,
            limit,
        } => {
            let mut statement = select.bind(table.as_str()).then("AND f.owner = ?");
            statement = statement.bind(owner.as_str());
            if let Some(after) = after {
                statement = statement.then(" AND f.fact_key > ?").bind(after.as_str());
            }
            if let Some(below) = below {
                statement = statement.then(" AND f.fact_key < ?").bind(below.as_str());
            }
            statement.then(" ORDER BY f.fact_key LIMIT ?").bind(*limit)
        }
        FactQuery::Due {
            table,
            until,
            limit,
        } => select
            .bind(table.as_str())
            .then("AND f.at <= ? ORDER BY f.at LIMIT ?")
            .bind(until.0)
            .bind(*limit),
    }
}
