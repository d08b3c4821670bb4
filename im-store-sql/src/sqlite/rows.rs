//! Rows to the model and back.

use std::sync::Arc;

use im_core::model::{
    Body, CmId, Conversation, ConversationId, ConversationKind, Entry, Epoch, Holder, Kind, Member,
    Mentions, MessageId, NewEntry, Role, Seq, Stamp, Timestamp, UserId,
};
use im_core::port::PortError;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::{corrupt, port_error};
use crate::mentions::read_mentions;

/// The columns of a conversation, in the order of [`conversation`].
pub(super) const CONVERSATION: &str = "c.no, c.id, c.kind, c.title, c.epoch, c.head, c.version, \
     c.first_seq, c.member_count, c.hide_history, c.speaks, c.erasures, c.holder, c.stamp";
/// How many they are.
pub(super) const CONVERSATION_COLUMNS: usize = 14;
/// The columns of a member, in the order of [`member`].
pub(super) const MEMBER: &str = "m.user_id, m.role, m.first_seq, m.left_seq, m.version, \
     m.muted_until, m.delivered_seq, m.read_seq, m.stamp";
/// The columns of an entry, in the order of [`entry`].
pub(super) const ENTRY: &str = "e.seq, e.id, e.sender, e.at, e.cm_id, e.digest, e.kind, e.body, \
     e.reply_to, e.mentions, e.expires_at";

/// The columns of an entry as one text, for [`unpack`]. No field holds a control character: ids
/// may not, and in JSON they are escaped.
pub(super) const PACKED: &str = "concat_ws(char(31), e.seq, e.id, e.sender, e.at, \
     ifnull(e.cm_id, ''), e.digest, e.kind, ifnull(e.reply_to, ''), ifnull(e.mentions, ''), \
     ifnull(e.expires_at, ''), e.body)";

/// Reads entries from texts of [`PACKED`], joined by U+001E; ascending.
pub(super) fn unpack(conv: &ConversationId, packed: &str) -> Result<Vec<Entry>, PortError> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let lines = packed.split('\u{1e}').map(|line| unpack_one(conv, line));
    let mut entries = lines
        .collect::<Option<Vec<Entry>>>()
        .ok_or_else(|| corrupt("an entry can't be read"))?;
    entries.sort_unstable_by_key(|entry| entry.seq);
    Ok(entries)
}

fn unpack_one(conv: &ConversationId, line: &str) -> Option<Entry> {
    let mut fields = line.splitn(11, '\u{1f}');
    let seq = Seq(fields.next()?.parse().ok()?);
    let id = fields.next()?.parse::<i64>().ok()? as u64;
    let from = UserId::new(fields.next()?).ok()?;
    let at = Timestamp(fields.next()?.parse().ok()?);
    let some = |field: &'_ str| !field.is_empty();
    let cm_id = Some(fields.next()?)
        .filter(|it| some(it))
        .map(CmId::new)
        .transpose()
        .ok()?;
    let digest = fields.next()?.parse::<i64>().ok()? as u64;
    let kind = Kind::parse(fields.next()?)?;
    let reply_to = Some(fields.next()?)
        .filter(|it| some(it))
        .map(str::parse)
        .transpose()
        .ok()?;
    let mentions = match fields.next()? {
        "" => Mentions::None,
        text => read_mentions(text).ok()?,
    };
    let expires = Some(fields.next()?)
        .filter(|it| some(it))
        .map(str::parse)
        .transpose()
        .ok()?;
    let body = Body::from_stored(kind, Arc::from(fields.next()?));
    let new = NewEntry {
        id: MessageId(id),
        from,
        at,
        cm_id,
        digest,
        body,
        reply_to: reply_to.map(Seq),
        mentions,
        expires_at: expires.map(Timestamp),
    };
    Some(Entry {
        conv: conv.clone(),
        seq,
        new,
    })
}

fn number(row: &SqliteRow, at: usize) -> Result<u64, PortError> {
    let value: i64 = row.try_get(at).map_err(port_error)?;
    u64::try_from(value).map_err(|_| corrupt("a number is negative"))
}

pub(super) fn seq(row: &SqliteRow, at: usize) -> Result<Seq, PortError> {
    number(row, at).map(Seq)
}

fn opt_seq(row: &SqliteRow, at: usize) -> Result<Option<Seq>, PortError> {
    let value: Option<i64> = row.try_get(at).map_err(port_error)?;
    Ok(value.map(|value| Seq(value.unsigned_abs())))
}

fn opt_time(row: &SqliteRow, at: usize) -> Result<Option<Timestamp>, PortError> {
    let value: Option<i64> = row.try_get(at).map_err(port_error)?;
    Ok(value.map(Timestamp))
}

fn text(row: &SqliteRow, at: usize) -> Result<&str, PortError> {
    row.try_get(at).map_err(port_error)
}

pub(super) fn user(row: &SqliteRow, at: usize) -> Result<UserId, PortError> {
    UserId::new(text(row, at)?).map_err(|_| corrupt("a user id is none"))
}

pub(super) fn conv_id(row: &SqliteRow, at: usize) -> Result<ConversationId, PortError> {
    ConversationId::new(text(row, at)?).map_err(|_| corrupt("a conversation id is none"))
}

fn role(row: &SqliteRow, at: usize) -> Result<Role, PortError> {
    Role::parse(text(row, at)?).ok_or_else(|| corrupt("a role is none"))
}

/// A conversation with its number and its stamp, from [`CONVERSATION`].
pub(super) fn conversation(row: &SqliteRow) -> Result<(i64, Conversation, Stamp), PortError> {
    let kind = ConversationKind::parse(text(row, 2)?);
    let conversation = Conversation {
        id: conv_id(row, 1)?,
        kind: kind.ok_or_else(|| corrupt("a kind of conversation is none"))?,
        title: row.try_get(3).map_err(port_error)?,
        epoch: Epoch(number(row, 4)?),
        head: seq(row, 5)?,
        version: seq(row, 6)?,
        first_seq: seq(row, 7)?,
        member_count: u32::try_from(number(row, 8)?).unwrap_or(u32::MAX),
        hide_history: number(row, 9)? != 0,
        speaks: role(row, 10)?,
        erasures: number(row, 11)?,
        holder: Holder(number(row, 12)?),
    };
    Ok((
        row.try_get(0).map_err(port_error)?,
        conversation,
        Stamp(number(row, 13)?),
    ))
}

/// A member and their stamp, from [`MEMBER`] at a column.
pub(super) fn member(row: &SqliteRow, at: usize) -> Result<(Member, Stamp), PortError> {
    let role = role(row, at + 1)?;
    let member = Member {
        user: user(row, at)?,
        role,
        first_seq: seq(row, at + 2)?,
        left_seq: opt_seq(row, at + 3)?,
        version: seq(row, at + 4)?,
        muted_until: opt_time(row, at + 5)?,
        delivered: seq(row, at + 6)?,
        read: seq(row, at + 7)?,
    };
    Ok((member, Stamp(number(row, at + 8)?)))
}

/// An entry from [`ENTRY`] at a column.
pub(super) fn entry(conv: &ConversationId, row: &SqliteRow, at: usize) -> Result<Entry, PortError> {
    let kind = Kind::parse(text(row, at + 6)?).ok_or_else(|| corrupt("a kind of entry is none"))?;
    let cm_id: Option<&str> = row.try_get(at + 4).map_err(port_error)?;
    let id: i64 = row.try_get(at + 1).map_err(port_error)?;
    let digest: i64 = row.try_get(at + 5).map_err(port_error)?;
    let mentions: Option<&str> = row.try_get(at + 9).map_err(port_error)?;
    let new = NewEntry {
        id: MessageId(id as u64),
        from: user(row, at + 2)?,
        at: Timestamp(row.try_get(at + 3).map_err(port_error)?),
        cm_id: cm_id
            .map(CmId::new)
            .transpose()
            .map_err(|_| corrupt("a cm_id is none"))?,
        digest: digest as u64,
        body: Body::from_stored(kind, Arc::from(text(row, at + 7)?)),
        reply_to: opt_seq(row, at + 8)?,
        mentions: mentions.map_or(Ok(Mentions::None), read_mentions)?,
        expires_at: opt_time(row, at + 10)?,
    };
    Ok(Entry {
        conv: conv.clone(),
        seq: seq(row, at)?,
        new,
    })
}
