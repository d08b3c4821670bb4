//! Reads of one conversation, and of single rows.

use std::collections::HashMap;
use std::sync::Arc;

use im_core::model::{ConversationId, Entry, Member, Seq, Timestamp, UserId};
use im_core::port::{LogQuery, PortError, RecordKey, View};

use super::Shared;
use super::dialect::Dialect;
use super::row::{CONVERSATION, Cell, ENTRY, MEMBER};
use super::statement::Statement;
use crate::page::{FIRST_ROWS, Page};

/// Most users of one look-up.
const USERS_MAX: usize = 512;

impl<D: Dialect> Shared<D> {
    pub(super) async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        let mut found = None;
        let mut members = HashMap::new();
        let mut chunks = users.chunks(USERS_MAX);
        let mut chunk = Some(chunks.next().unwrap_or_default());
        while let Some(users) = chunk {
            for row in self.fetch(view_of::<D>(conv, users)).await? {
                let (conversation, member) = row.view()?;
                // Of several statements the first one's conversation is the oldest: the safe one.
                found.get_or_insert(conversation);
                members.extend(member.map(|member| (member.user.clone(), member)));
            }
            chunk = chunks.next();
        }
        Ok(found.map(|conversation| View {
            conversation,
            members: users
                .iter()
                .filter_map(|user| members.remove(user))
                .collect(),
        }))
    }

    pub(super) async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        let text = format!(
            "SELECT {MEMBER} FROM im_member m JOIN im_conversation c ON c.no = m.conv \
             WHERE c.id = ? AND m.left_seq IS NULL AND m.user_id > ? ORDER BY m.user_id LIMIT ?"
        );
        let statement = Statement::new(text)
            .bind(conv)
            .bind(after.map_or("", UserId::as_str))
            .bind(limit);
        let rows = self.fetch(statement).await?;
        rows.into_iter()
            .map(|mut row| Ok(row.member()?.0))
            .collect()
    }

    pub(super) async fn log(
        &self,
        conv: &ConversationId,
        query: LogQuery,
    ) -> Result<Vec<Entry>, PortError> {
        let (mut from, up, limit, bytes) = match query {
            LogQuery::After { seq, limit, bytes } => (seq, true, limit, bytes),
            LogQuery::Before { seq, limit, bytes } => (seq, false, limit, bytes),
            LogQuery::Sent { sender, cm_id } => {
                let text = format!(
                    "SELECT {ENTRY} FROM im_entry e JOIN im_conversation c ON c.no = e.conv \
                     WHERE c.id = ? AND e.sender = ? AND e.cm_id = ?"
                );
                let statement = Statement::new(text)
                    .bind(conv)
                    .bind(Arc::<str>::from(&sender))
                    .bind(Arc::<str>::from(&cm_id));
                return self.entries(conv, statement).await;
            }
            LogQuery::Newest { sender } => {
                let text = format!(
                    "SELECT {ENTRY} FROM im_entry e JOIN im_conversation c ON c.no = e.conv \
                     WHERE c.id = ? AND e.sender = ? AND e.cm_id IS NOT NULL \
                     ORDER BY e.cm_id DESC LIMIT 1"
                );
                let statement = Statement::new(text).bind(conv);
                let statement = statement.bind(Arc::<str>::from(&sender));
                return self.entries(conv, statement).await;
            }
        };
        let mut page = Page::new(limit, bytes);
        let mut rows = FIRST_ROWS;
        while page.has_room() {
            let asked = rows.min(limit - page.entries.len());
            let found = self.entries(conv, part(conv, from, up, asked)).await?;
            let whole = found.len() == asked;
            from = found.last().map_or(from, |last| last.seq);
            if !page.take_all(found.into_iter()) || !whole {
                break;
            }
            rows = page.rows_to_come();
        }
        if !up {
            page.entries.reverse();
        }
        Ok(page.entries)
    }

    pub(super) async fn entries(
        &self,
        conv: &ConversationId,
        statement: Statement,
    ) -> Result<Vec<Entry>, PortError> {
        let rows = self.fetch(statement).await?;
        rows.into_iter().map(|mut row| row.entry(conv)).collect()
    }

    pub(super) async fn record(
        &self,
        key: &RecordKey,
        now: Timestamp,
    ) -> Result<Option<String>, PortError> {
        let statement = match key {
            RecordKey::Answer { user, key } => Statement::new(
                "SELECT value FROM im_answer \
                 WHERE user_id = ? AND request_key = ? AND expires_at > ?",
            )
            .bind(Arc::<str>::from(user))
            .bind(key.as_str())
            .bind(now.0),
            RecordKey::Block { user, other } => {
                Statement::new("SELECT 'true' FROM im_block WHERE user_id = ? AND other_id = ?")
                    .bind(Arc::<str>::from(user))
                    .bind(Arc::<str>::from(other))
            }
        };
        let rows = self.fetch(statement).await?;
        let value = rows.into_iter().next().map(|mut row| row.text());
        value.transpose()
    }
}

/// A conversation, once for each of the users who is or was in it, at least once.
fn view_of<D: Dialect>(conv: &ConversationId, users: &[UserId]) -> Statement {
    let of_users = if users.is_empty() {
        Statement::new("1 = 0")
    } else {
        let keys = users.iter().map(|user| vec![Arc::<str>::from(user).into()]);
        D::any_of(&["m.user_id"], keys.collect())
    };
    Statement::new(format!(
        "SELECT {CONVERSATION}, {MEMBER} FROM im_conversation c \
         LEFT JOIN im_member m ON m.conv = c.no AND "
    ))
    .join(of_users)
    .then(" WHERE c.id = ?")
    .bind(conv)
}

/// The first entries above a place, or the last ones below it, from there on.
fn part(conv: &ConversationId, from: Seq, up: bool, limit: usize) -> Statement {
    let (beyond, order) = if up { (">", "ASC") } else { ("<", "DESC") };
    Statement::new(format!(
        "SELECT {ENTRY} FROM im_entry e JOIN im_conversation c ON c.no = e.conv \
         WHERE c.id = ? AND e.seq {beyond} ? ORDER BY e.seq {order} LIMIT ?"
    ))
    .bind(conv)
    .bind(from)
    .bind(limit)
}

impl super::row::Fields {
    fn view(mut self) -> Result<(im_core::model::Conversation, Option<Member>), PortError> {
        let (_, conversation, _) = self.conversation()?;
        let member = match self.peek() {
            Some(Cell::Null) | None => None,
            _ => Some(self.member()?.0),
        };
        Ok((conversation, member))
    }
}
