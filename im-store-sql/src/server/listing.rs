//! What changed: a user's list of conversations, and the sweep over all.
//!
//! The newest stamp is read before the rows: whatever is committed in between is given now *and*
//! again, and nothing is missed.

use std::collections::HashMap;
use std::sync::Arc;

use im_core::model::{Conversation, Epoch, Member, Seq, Stamp, Stamps, UserId};
use im_core::port::{
    Changed, ChangedConversation, Departed, MembershipLine, MembershipPage, PortError,
};

use super::Shared;
use super::dialect::Dialect;
use super::row::{CONVERSATION, ENTRY, MEMBER};
use super::statement::{Arg, Look, Statement};
use crate::error::corrupt;
use crate::text::{UNREAD_MAX, say_kinds};

/// Lines whose details one statement looks up.
const LINES_MAX: usize = 64;

impl<D: Dialect> Shared<D> {
    pub(super) async fn memberships(
        &self,
        user: &UserId,
        since: Stamp,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let newest = self.newest().await?;
        let mut rows = self.fetch(lines_of(user, since, limit)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let mut last = since;
        let mut lines = Vec::with_capacity(rows.len());
        for mut row in rows {
            let (no, conversation, _) = row.conversation()?;
            let (member, _) = row.member()?;
            last = row.stamp()?;
            let line = MembershipLine {
                conversation,
                member,
                unread: 0,
                last: None,
            };
            lines.push((no, line));
        }
        if detail {
            for some in lines.chunks_mut(LINES_MAX) {
                self.unread(some).await?;
                self.last(some).await?;
            }
        }
        Ok(MembershipPage {
            lines: lines.into_iter().map(|(_, line)| line).collect(),
            stamps: Stamps::one(if more { last } else { newest }),
            more,
        })
    }

    pub(super) async fn changed(&self, since: Stamp, limit: usize) -> Result<Changed, PortError> {
        let newest = self.newest().await?;
        let mut changed = Changed {
            convs: Vec::new(),
            left: Vec::new(),
            stamps: Stamps::one(newest),
            more: false,
        };
        if limit == 0 || since >= newest {
            return Ok(changed);
        }
        let statement = Statement::new(
            "SELECT c.id, c.head, c.epoch, c.stamp FROM im_conversation c \
             WHERE c.stamp > ? ORDER BY c.stamp LIMIT ?",
        );
        let statement = statement.bind(since.0 as i64).bind(limit + 1);
        let mut rows = self.fetch(statement).await?;
        changed.more = rows.len() > limit;
        rows.truncate(limit);
        let mut last = newest;
        for mut row in rows {
            changed.convs.push(ChangedConversation {
                conv: row.conv()?,
                head: row.seq()?,
                epoch: Epoch(row.number()?),
            });
            if changed.more {
                last = row.stamp()?;
            }
        }
        changed.stamps = Stamps::one(last);
        changed.left = self.left(since, last).await?;
        Ok(changed)
    }

    /// Who left after one stamp, and up to another.
    async fn left(&self, since: Stamp, to: Stamp) -> Result<Vec<Departed>, PortError> {
        let statement = Statement::new(
            "SELECT c.id, m.user_id, m.left_seq FROM im_member m \
             JOIN im_conversation c ON c.no = m.conv \
             WHERE m.left_seq IS NOT NULL AND m.stamp > ? AND m.stamp <= ?",
        );
        let statement = statement.bind(since.0 as i64).bind(to.0 as i64);
        let rows = self.fetch(statement).await?;
        rows.into_iter()
            .map(|mut row| {
                Ok(Departed {
                    conv: row.conv()?,
                    user: row.user()?,
                    seq: row.seq()?,
                })
            })
            .collect()
    }

    async fn newest(&self) -> Result<Stamp, PortError> {
        let rows = self
            .fetch(Statement::new("SELECT stamp FROM im_meta"))
            .await?;
        let row = rows.into_iter().next();
        row.ok_or_else(|| corrupt("there is no stamp"))?.stamp()
    }

    /// Counts, for lines of which there is something to count.
    async fn unread(&self, lines: &mut [(i64, MembershipLine)]) -> Result<(), PortError> {
        let say = say_kinds();
        let mut counts = Vec::new();
        for (at, (no, line)) in lines.iter().enumerate() {
            let (from, to) = seen(&line.conversation, &line.member);
            let above = line.member.read.max(Seq(from.0.saturating_sub(1)));
            if above < to {
                counts.push([
                    at.into(),
                    (*no).into(),
                    above.into(),
                    to.into(),
                    Arc::<str>::from(&line.member.user).into(),
                ]);
            }
        }
        let Some(last) = counts.last().cloned() else {
            return Ok(());
        };
        // Few texts: what is counted twice is the same twice.
        counts.resize(counts.len().next_power_of_two(), last);
        let one = format!(
            "SELECT ?, (SELECT count(*) FROM (SELECT 1 FROM im_entry e WHERE e.conv = ? \
             AND e.seq > ? AND e.seq <= ? AND e.sender <> ? AND e.kind IN ({say}) \
             LIMIT {UNREAD_MAX}) t)"
        );
        let mut statement = Statement::new(vec![one.as_str(); counts.len()].join(" UNION ALL "));
        for values in counts {
            statement.args.extend::<[Arg; 5]>(values);
        }
        for mut row in self.fetch(statement).await? {
            let (at, count) = (row.int()?, row.int()?);
            if let Some((_, line)) = usize::try_from(at).ok().and_then(|at| lines.get_mut(at)) {
                line.unread = count.unsigned_abs() as u32;
            }
        }
        Ok(())
    }

    /// The last entry that each line's member may see.
    async fn last(&self, lines: &mut [(i64, MembershipLine)]) -> Result<(), PortError> {
        let mut keys = Vec::new();
        for (no, line) in lines.iter() {
            let (from, to) = seen(&line.conversation, &line.member);
            if from <= to {
                keys.push(vec![(*no).into(), to.into()]);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let look = Look {
            what: &format!("e.conv, {ENTRY}"),
            table: "im_entry e",
            index: "PRIMARY",
            columns: &["e.conv", "e.seq"],
        };
        let statement = D::look_up(&look, keys);
        let mut found = HashMap::new();
        for mut row in self.fetch(statement).await? {
            found.insert(row.int()?, row);
        }
        for (no, line) in lines {
            if let Some(mut row) = found.remove(no) {
                line.last = Some(row.entry(&line.conversation.id)?);
            }
        }
        Ok(())
    }
}

/// What a member may see: from a place to a place.
fn seen(conversation: &Conversation, member: &Member) -> (Seq, Seq) {
    let from = member.first_seq.max(conversation.first_seq);
    (from, member.left_seq.unwrap_or(conversation.head))
}

/// A user's lines in the order of change, one more than asked for. One who has left hears of their
/// leaving, and of nothing that happens later.
fn lines_of(user: &UserId, since: Stamp, limit: usize) -> Statement {
    Statement::new(format!(
        "SELECT {CONVERSATION}, {MEMBER}, CASE WHEN m.left_seq IS NULL AND c.stamp > m.stamp \
         THEN c.stamp ELSE m.stamp END AS last_change \
         FROM im_member m JOIN im_conversation c ON c.no = m.conv \
         WHERE m.user_id = ? AND (m.stamp > ? OR (m.left_seq IS NULL AND c.stamp > ?)) \
         ORDER BY last_change LIMIT ?"
    ))
    .bind(Arc::<str>::from(user))
    .bind(since.0 as i64)
    .bind(since.0 as i64)
    .bind(limit + 1)
}
