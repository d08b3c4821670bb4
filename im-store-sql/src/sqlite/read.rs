//! Reads: the tail is looked at first, the tables after, and of the tables only what lies before
//! the tail that was seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use im_core::model::{
    Conversation, ConversationId, Entry, Fact, Family, Member, Seq, Stamp, Stamps, Timestamp,
    UserId,
};
use im_core::port::{
    Changed, ChangedConversation, Departed, FactQuery, LogQuery, MembershipLine, MembershipPage,
    PortError, RecordKey, View,
};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Row};

use super::statement::{TEXTS, USERS_MAX};
use super::{Shared, facts, records, rows, sql};
use crate::error::port_error;
use crate::mentions::marks;
use crate::text::UNREAD_MAX;

/// What the tail knew of a conversation at one moment.
#[derive(Debug, Clone)]
struct Seen {
    head: Seq,
    stamp: Stamp,
    first_in_tail: Seq,
    entries: Vec<Arc<Entry>>,
}

impl Shared {
    pub(super) async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        // The head that is told is never newer than the members that are: who joins a room by
        // this view must still hear of what the members' rows don't show.
        let head = self
            .tail
            .lock()
            .get(conv)
            .map(|known| known.conversation.head);
        let mut found = None;
        let mut members = HashMap::new();
        let no_users: [&[UserId]; 1] = [&[]];
        let chunks: Vec<&[UserId]> = users.chunks(USERS_MAX).collect();
        for chunk in if chunks.is_empty() {
            no_users.to_vec()
        } else {
            chunks
        } {
            let rows = self.view_rows(conv, chunk).await?;
            for row in &rows {
                // Of several statements the first one's conversation is the oldest: the safe one.
                if found.is_none() {
                    found = Some(rows::conversation(row)?.1);
                }
                if row
                    .try_get::<Option<&str>, _>(rows::CONVERSATION_COLUMNS)
                    .is_ok_and(|user| user.is_some())
                {
                    let (member, _) = rows::member(row, rows::CONVERSATION_COLUMNS)?;
                    members.insert(member.user.clone(), member);
                }
            }
        }
        let Some(mut conversation) = found else {
            return Ok(None);
        };
        let head = head
            .unwrap_or_default()
            .max(conversation.head)
            .max(conversation.version);
        conversation.head = head;
        let members = users
            .iter()
            .filter_map(|user| members.remove(user))
            .collect();
        Ok(Some(View {
            conversation,
            members,
        }))
    }

    async fn view_rows(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, PortError> {
        let (text, takes) = TEXTS.view.of(users.len());
        let mut arguments = SqliteArguments::default();
        for at in 0..takes {
            let user = users.get(at).map(UserId::as_str);
            arguments
                .add(user)
                .map_err(|error| port_error(sqlx::Error::Encode(error)))?;
        }
        arguments
            .add(conv.as_str())
            .map_err(|error| port_error(sqlx::Error::Encode(error)))?;
        sqlx::query_with(text, arguments)
            .fetch_all(&self.readers)
            .await
            .map_err(port_error)
    }

    pub(super) async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        let found = sqlx::query(TEXTS.members_after.clone())
            .bind(conv.as_str())
            .bind(after.map_or("", UserId::as_str))
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await
            .map_err(port_error)?;
        found
            .iter()
            .map(|row| rows::member(row, 0).map(|(member, _)| member))
            .collect()
    }

    pub(super) async fn memberships(
        &self,
        user: &UserId,
        since: Stamp,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let ids = self.conversations_of(user).await?;
        let (newest, seen) = self.seen(&ids, detail);
        let mut found = self.lines(user, &seen, since).await?;
        found.sort_by_key(|(stamp, ..)| *stamp);
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map_or(since, |(stamp, ..)| *stamp);
        let mut lines = Vec::with_capacity(found.len());
        for (_, no, conversation, member) in found {
            let mut line = MembershipLine {
                conversation,
                member,
                unread: 0,
                mentions: 0,
                last: None,
            };
            if detail {
                let seen = seen.get(&line.conversation.id);
                self.detail(no, &mut line, seen).await?;
            }
            lines.push(line);
        }
        Ok(MembershipPage {
            lines,
            stamps: Stamps::one(if more { last } else { newest }),
            more,
        })
    }

    async fn conversations_of(&self, user: &UserId) -> Result<Vec<ConversationId>, PortError> {
        let found = sqlx::query(
            "SELECT c.id FROM im_member m JOIN im_conversation c ON c.no = m.conv \
             WHERE m.user_id = ?",
        )
        .bind(user.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(port_error)?;
        found.iter().map(|row| rows::conv_id(row, 0)).collect()
    }

    /// The newest stamp, and what the tail knows of these conversations, at one moment.
    fn seen(&self, ids: &[ConversationId], detail: bool) -> (Stamp, HashMap<ConversationId, Seen>) {
        let tail = self.tail.lock();
        let mut seen = HashMap::new();
        for id in ids {
            let Some(known) = tail.get(id) else { continue };
            let entries = match detail {
                true => known
                    .entries
                    .iter()
                    .map(|entry| Arc::clone(&entry.entry))
                    .collect(),
                false => Vec::new(),
            };
            let of = Seen {
                head: known.conversation.head,
                stamp: known.stamp,
                first_in_tail: known.first_in_tail(),
                entries,
            };
            seen.insert(id.clone(), of);
        }
        (tail.stamp, seen)
    }

    /// A user's conversations that changed after a stamp.
    async fn lines(
        &self,
        user: &UserId,
        seen: &HashMap<ConversationId, Seen>,
        since: Stamp,
    ) -> Result<Vec<(Stamp, i64, Conversation, Member)>, PortError> {
        let found = sqlx::query(TEXTS.list.clone())
            .bind(user.as_str())
            .fetch_all(&self.readers)
            .await;
        let mut lines = Vec::new();
        for row in &found.map_err(port_error)? {
            let (no, mut conversation, mut stamp) = rows::conversation(row)?;
            let (member, of_member) = rows::member(row, rows::CONVERSATION_COLUMNS)?;
            conversation.head = conversation.head.max(conversation.version);
            if let Some(seen) = seen.get(&conversation.id) {
                conversation.head = conversation.head.max(seen.head);
                stamp = stamp.max(seen.stamp);
            }
            // One who has left hears of their leaving, and of nothing that happens later.
            let changed = if member.is_in() {
                stamp.max(of_member)
            } else {
                of_member
            };
            if changed > since {
                lines.push((changed, no, conversation, member));
            }
        }
        Ok(lines)
    }

    /// The last entry that a member may see, and how many they have not read.
    async fn detail(
        &self,
        no: i64,
        line: &mut MembershipLine,
        seen: Option<&Seen>,
    ) -> Result<(), PortError> {
        let member = &line.member;
        let last = member.left_seq.unwrap_or(line.conversation.head);
        let first = member.first_seq.max(line.conversation.first_seq);
        let tail = seen.map_or(&[] as &[_], |seen| &seen.entries);
        let below = seen.map_or(Seq(i64::MAX as u64), |seen| seen.first_in_tail);
        if last >= first {
            let in_tail = tail.iter().find(|entry| entry.seq == last);
            line.last = match in_tail {
                Some(entry) => Some(Entry::clone(entry)),
                None => {
                    let query = LogQuery::After {
                        seq: Seq(last.0 - 1),
                        limit: 1,
                        bytes: usize::MAX,
                    };
                    self.log(&line.conversation.id, query).await?.pop()
                }
            };
        }
        let from = Seq(member.read.0.max(first.0.saturating_sub(1)));
        let counts = |entry: &&Arc<Entry>| {
            entry.seq > from
                && entry.seq <= last
                && entry.from != member.user
                && entry.body.kind().family() == Family::Say
        };
        let (mut unread, mut mentions) = match from.next() < below {
            true => self.count_say(no, &member.user, from, last, below).await?,
            false => (0, 0),
        };
        // The first ones are counted, and the tail's come last.
        let in_tail = tail.iter().filter(counts);
        for entry in in_tail.take(UNREAD_MAX.saturating_sub(unread)) {
            unread += 1;
            mentions += usize::from(entry.mentions.includes(&member.user));
        }
        line.unread = u32::try_from(unread).unwrap_or(u32::MAX);
        line.mentions = u32::try_from(mentions).unwrap_or(u32::MAX);
        Ok(())
    }

    async fn count_say(
        &self,
        no: i64,
        user: &UserId,
        from: Seq,
        last: Seq,
        below: Seq,
    ) -> Result<(usize, usize), PortError> {
        let [first, later] = marks(user);
        let (count, mentions): (i64, i64) = sqlx::query_as(TEXTS.count_say.clone())
            .bind(first)
            .bind(later)
            .bind(no)
            .bind(sql(from))
            .bind(sql(last))
            .bind(below.0.min(i64::MAX as u64) as i64)
            .bind(user.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(port_error)?;
        let size = |count: i64| usize::try_from(count).unwrap_or(0);
        Ok((size(count), size(mentions)))
    }

    pub(super) async fn changed(&self, since: Stamp, limit: usize) -> Result<Changed, PortError> {
        self.notice().await?;
        let (newest, complete_after, mut found) = {
            let tail = self.tail.lock();
            let found: Vec<(Stamp, ChangedConversation)> = tail
                .changed_after(since)
                .take(limit.saturating_add(1))
                .map(|(stamp, known)| {
                    let conv = known.conversation.id.clone();
                    (
                        stamp,
                        ChangedConversation {
                            conv,
                            head: known.conversation.head,
                            epoch: known.conversation.epoch,
                        },
                    )
                })
                .collect();
            (tail.stamp, tail.complete_after, found)
        };
        if limit == 0 || since >= newest {
            return Ok(Changed {
                convs: Vec::new(),
                left: Vec::new(),
                stamps: Stamps::one(newest),
                more: false,
            });
        }
        if since < complete_after {
            let known: std::collections::HashSet<_> = self.known_ids(since).into_iter().collect();
            let older = self.changed_rows(since, limit + 1).await?;
            found.extend(
                older
                    .into_iter()
                    .filter(|(_, changed)| !known.contains(&changed.conv)),
            );
            found.sort_by_key(|(stamp, _)| *stamp);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().map_or(since, |(stamp, _)| *stamp);
        let convs = found.into_iter().map(|(_, changed)| changed).collect();
        let stamp = if more { last } else { newest };
        Ok(Changed {
            convs,
            left: self.left_rows(since, stamp).await?,
            stamps: Stamps::one(stamp),
            more,
        })
    }

    /// Who left after one stamp, and up to another.
    async fn left_rows(&self, since: Stamp, to: Stamp) -> Result<Vec<Departed>, PortError> {
        let found = sqlx::query(
            "SELECT c.id, m.user_id, m.left_seq \
             FROM im_member m JOIN im_conversation c ON c.no = m.conv \
             WHERE m.left_seq IS NOT NULL AND m.stamp > ? AND m.stamp <= ? ORDER BY m.stamp",
        )
        .bind(since.0 as i64)
        .bind(to.0.min(i64::MAX as u64) as i64)
        .fetch_all(&self.readers)
        .await
        .map_err(port_error)?;
        let left = found.iter().map(|row| {
            Ok(Departed {
                conv: rows::conv_id(row, 0)?,
                user: rows::user(row, 1)?,
                seq: rows::seq(row, 2)?,
            })
        });
        left.collect()
    }

    fn known_ids(&self, since: Stamp) -> Vec<ConversationId> {
        let tail = self.tail.lock();
        tail.changed_after(since)
            .map(|(_, known)| known.conversation.id.clone())
            .collect()
    }

    async fn changed_rows(
        &self,
        since: Stamp,
        limit: usize,
    ) -> Result<Vec<(Stamp, ChangedConversation)>, PortError> {
        let found = sqlx::query(TEXTS.changed.clone())
            .bind(since.0 as i64)
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await
            .map_err(port_error)?;
        let mut changed = Vec::with_capacity(found.len());
        for row in &found {
            let (_, conversation, stamp) = rows::conversation(row)?;
            let head = conversation.head.max(conversation.version);
            changed.push((
                stamp,
                ChangedConversation {
                    conv: conversation.id,
                    head,
                    epoch: conversation.epoch,
                },
            ));
        }
        Ok(changed)
    }

    /// Looks whether somebody else has appended (see `commit_in`), and takes it in.
    pub(super) async fn notice(&self) -> Result<(), PortError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(n) FROM im_entry")
            .fetch_one(&self.readers)
            .await
            .map_err(port_error)?;
        let known = self.tail.lock().stamp;
        if last.unwrap_or(0).unsigned_abs() <= known.0 {
            return Ok(());
        }
        // Most likely a commit of our own that is not in the tail yet: behind its lock it is.
        let mut writer = self.writer.lock().await;
        let known = self.tail.lock().stamp;
        if last.unwrap_or(0).unsigned_abs() > known.0 || self.suspect.load(Ordering::Acquire) {
            self.absorb(&mut writer).await?;
        }
        Ok(())
    }

    pub(super) async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        facts::facts(&self.readers, query).await
    }

    pub(super) async fn record(
        &self,
        key: &RecordKey,
        now: Timestamp,
    ) -> Result<Option<String>, PortError> {
        records::read(&self.readers, key, now).await
    }
}
