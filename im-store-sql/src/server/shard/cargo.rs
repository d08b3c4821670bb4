//! Slots on the move: reading a part, taking it, removing what is left.

use std::collections::HashMap;
use std::sync::Arc;

use im_core::model::{ConversationId, Slot, Stamp, Timestamp, UserId};
use im_core::port::{Cargo, CargoQuery, Phase, PortError, Record, RecordKey};

use super::{fenced, locked, number};
use crate::server::Shared;
use crate::server::commit::{Broken, rows};
use crate::server::dialect::{Conn, Dialect};
use crate::server::facts::values;
use crate::server::load::by_keys;
use crate::server::row::{self, CONVERSATION, Fields, MEMBER};
use crate::server::statement::{
    ANSWER, BLOCK, BY_ID, CONVERSATION_BY_ID, ENTRY_ANEW, FACT, MEMBER as MEMBERS, Statement,
};

/// Conversations looked at by one removal.
const DISCARD_CONVERSATIONS: usize = 50;

impl<D: Dialect> Shared<D> {
    pub(super) async fn cargo(
        &self,
        slot: Slot,
        query: &CargoQuery,
        limit: usize,
    ) -> Result<Cargo, PortError> {
        let mut cargo = Cargo::default();
        match query {
            CargoQuery::Conversations(after) => {
                let after = after.as_ref().map_or("", ConversationId::as_str);
                let statement = Statement::new(format!(
                    "SELECT {CONVERSATION} FROM im_conversation c \
                     WHERE c.slot = ? AND c.id > ? ORDER BY c.id LIMIT ?"
                ));
                let statement = statement.bind(number(slot)).bind(after).bind(limit);
                for mut row in self.fetch(statement).await? {
                    cargo.conversations.push(row.conversation()?.1);
                }
            }
            CargoQuery::Members(after) => {
                let conv = after.as_ref().map_or("", |(conv, _)| conv.as_str());
                let user = after.as_ref().map_or("", |(_, user)| user.as_str());
                let statement = Statement::new(format!(
                    "SELECT c.id, {MEMBER} FROM im_conversation c \
                     JOIN im_member m ON m.conv = c.no \
                     WHERE c.slot = ? AND c.id >= ? AND NOT (c.id = ? AND m.user_id <= ?) \
                     ORDER BY c.id, m.user_id LIMIT ?"
                ));
                let statement = statement.bind(number(slot)).bind(conv).bind(conv);
                for mut row in self.fetch(statement.bind(user).bind(limit)).await? {
                    cargo.members.push((row.conv()?, row.member()?.0));
                }
            }
            CargoQuery::Records(after) => {
                cargo.records = self.records(slot, after.as_ref(), limit).await?;
            }
            CargoQuery::Facts(after) => {
                cargo.facts = self.facts_of(slot, after.as_ref(), limit).await?;
            }
        }
        Ok(cargo)
    }

    /// Answers first, as their keys come first.
    async fn records(
        &self,
        slot: Slot,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<Record>, PortError> {
        let mut found = Vec::new();
        if !matches!(after, Some(RecordKey::Block { .. })) {
            let (user, key) = match after {
                Some(RecordKey::Answer { user, key }) => (user.as_str(), key.as_str()),
                _ => ("", ""),
            };
            let columns = "user_id, request_key, value, expires_at";
            let statement = after_pair("im_answer", columns, "request_key", slot, (user, key));
            for mut row in self.fetch(statement.bind(limit)).await? {
                let (user, key) = (row.user()?, row.text()?);
                found.push(Record {
                    key: RecordKey::Answer { user, key },
                    value: row.text()?,
                    expires_at: Timestamp(row.int()?),
                });
            }
        }
        let (user, other) = match after {
            Some(RecordKey::Block { user, other }) => (user.as_str(), other.as_str()),
            _ => ("", ""),
        };
        let statement = after_pair(
            "im_block",
            "user_id, other_id",
            "other_id",
            slot,
            (user, other),
        );
        let rest = limit - found.len();
        for mut row in self.fetch(statement.bind(rest)).await? {
            let (user, other) = (row.user()?, row.user()?);
            found.push(Record {
                key: RecordKey::Block { user, other },
                value: String::new(),
                expires_at: Timestamp(i64::MAX),
            });
        }
        Ok(found)
    }

    pub(super) async fn try_receive(
        &self,
        slot: Slot,
        mover: u64,
        until: Timestamp,
        cargo: &Cargo,
    ) -> Result<(), Broken> {
        let mut tx = self.pool.begin().await?;
        let held = locked::<D>(&mut tx, slot).await?;
        let is_its = |phase| matches!(phase, Phase::Arriving { mover: it, .. } if it == mover);
        if !held.is_some_and(|held| is_its(held.phase)) {
            return Err(fenced());
        }
        let lease = Statement::new("UPDATE im_slot SET lease_until = ? WHERE slot = ?");
        D::fetch(&mut tx, lease.bind(until.0).bind(number(slot))).await?;
        conversations::<D>(&mut tx, cargo).await?;
        if cargo.records_anew {
            remove_records::<D>(&mut tx, slot).await?;
        }
        records::<D>(&mut tx, slot, cargo).await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn try_discard(&self, slot: Slot, limit: usize) -> Result<bool, Broken> {
        let mut tx = self.pool.begin().await?;
        let held = locked::<D>(&mut tx, slot).await?;
        if held.is_none_or(|held| held.phase != Phase::Gone) {
            return Err(fenced());
        }
        remove_records::<D>(&mut tx, slot).await?;
        let some =
            Statement::new("SELECT no FROM im_conversation WHERE slot = ? ORDER BY id LIMIT ?");
        let some = some.bind(number(slot)).bind(DISCARD_CONVERSATIONS);
        let found = D::fetch(&mut tx, some).await?;
        let is_last = found.is_empty();
        let mut left = limit as i64;
        for row in found {
            let no = Fields::from(row).int()?;
            if !remove::<D>(&mut tx, no, &mut left).await? {
                break;
            }
        }
        tx.commit().await?;
        Ok(!is_last)
    }
}

/// Rows of a table of records, in the order of their keys.
fn after_pair(
    table: &str,
    columns: &str,
    second: &str,
    slot: Slot,
    (user, other): (&str, &str),
) -> Statement {
    let text = format!(
        "SELECT {columns} FROM {table} WHERE slot = ? AND user_id >= ? \
         AND NOT (user_id = ? AND {second} <= ?) ORDER BY user_id, {second} LIMIT ?"
    );
    let statement = Statement::new(text).bind(number(slot)).bind(user);
    statement.bind(user).bind(other)
}

/// Writes conversations with their members and entries. No list shows what has the stamp 0.
async fn conversations<D: Dialect>(conn: &mut Conn<D>, cargo: &Cargo) -> Result<(), Broken> {
    let known = cargo.conversations.iter();
    let known = known.map(|it| row::conversation(it, Stamp(0))).collect();
    rows::<D>(conn, &CONVERSATION_BY_ID, known).await?;
    let of_members = cargo.members.iter().map(|(conv, _)| conv);
    let mut ids: Vec<_> = of_members
        .chain(cargo.entries.iter().map(|it| &it.conv))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let keys = ids.into_iter().map(|id| vec![id.into()]).collect();
    let mut numbers = HashMap::new();
    for mut row in by_keys::<D>(conn, &BY_ID, keys, "").await? {
        let no = row.int()?;
        numbers.insert(row.conv()?, no);
    }
    let members = cargo.members.iter().filter_map(|(conv, member)| {
        let no = numbers.get(conv)?;
        Some(row::member(*no, member, Stamp(0)))
    });
    rows::<D>(conn, &MEMBERS, members.collect()).await?;
    let entries = cargo.entries.iter();
    let entries = entries.filter_map(|it| Some(row::entry(*numbers.get(&it.conv)?, it)));
    rows::<D>(conn, &ENTRY_ANEW, entries.collect()).await
}

async fn records<D: Dialect>(conn: &mut Conn<D>, slot: Slot, cargo: &Cargo) -> Result<(), Broken> {
    let text = |user: &UserId| Arc::<str>::from(user);
    let (mut answers, mut blocks) = (Vec::new(), Vec::new());
    for record in &cargo.records {
        match &record.key {
            RecordKey::Answer { user, key } => answers.push(vec![
                text(user).into(),
                key.as_str().into(),
                record.value.as_str().into(),
                record.expires_at.0.into(),
                number(slot).into(),
            ]),
            RecordKey::Block { user, other } => {
                blocks.push(vec![
                    text(user).into(),
                    text(other).into(),
                    number(slot).into(),
                ]);
            }
        }
    }
    rows::<D>(conn, &ANSWER, answers).await?;
    rows::<D>(conn, &BLOCK, blocks).await?;
    let facts = cargo.facts.iter().filter_map(values);
    rows::<D>(conn, &FACT, facts.collect()).await
}

async fn remove_records<D: Dialect>(conn: &mut Conn<D>, slot: Slot) -> Result<(), Broken> {
    for table in ["im_answer", "im_block", "im_fact"] {
        let statement = Statement::new(format!("DELETE FROM {table} WHERE slot = ?"));
        D::fetch(&mut *conn, statement.bind(number(slot))).await?;
    }
    Ok(())
}

/// Removes a conversation, or so many of its entries. False when some are left.
async fn remove<D: Dialect>(conn: &mut Conn<D>, no: i64, left: &mut i64) -> Result<bool, Broken> {
    let ends = Statement::new("SELECT min(seq), max(seq) FROM im_entry WHERE conv = ?").bind(no);
    let ends = D::fetch(&mut *conn, ends).await?.pop().map(Fields::from);
    let ends = match ends {
        Some(mut row) => row.opt_int()?.zip(row.opt_int()?),
        None => None,
    };
    if let Some((first, last)) = ends {
        let to = last.min(first + *left);
        let statement = Statement::new("DELETE FROM im_entry WHERE conv = ? AND seq <= ?");
        D::fetch(&mut *conn, statement.bind(no).bind(to)).await?;
        let words = Statement::new("DELETE FROM im_text WHERE conv = ? AND seq <= ?");
        D::fetch(&mut *conn, words.bind(no).bind(to)).await?;
        *left -= to - first + 1;
        if to < last {
            return Ok(false);
        }
    }
    for text in [
        "DELETE FROM im_texted WHERE conv = ?",
        "DELETE FROM im_member WHERE conv = ?",
        "DELETE FROM im_conversation WHERE no = ?",
    ] {
        D::fetch(&mut *conn, Statement::new(text).bind(no)).await?;
    }
    Ok(*left > 0)
}
