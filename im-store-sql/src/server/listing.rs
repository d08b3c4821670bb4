//! What changed: a user's list of conversations, and the sweep over all.
//!
//! The newest stamps are read before the rows: whatever is committed in between is given now *and*
//! again, and nothing is missed. So is what lies above a transaction that is under way and numbered
//! already, until that has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use im_core::model::{Conversation, Epoch, Member, Seq, Stamp, Stamps, UserId};
use im_core::port::{
    Changed, ChangedConversation, Departed, MembershipLine, MembershipPage, PortError,
};

use super::Shared;
use super::dialect::Dialect;
use super::row::{CONVERSATION, ENTRY, MEMBER};
use super::statement::{Arg, Look, Statement};
use crate::error::corrupt;
use crate::mentions::{marks, mentions_sql};
use crate::text::{UNREAD_MAX, say_kinds};

/// Lines whose details one statement looks up.
const LINES_MAX: usize = 64;
/// How often a page is read again that no transaction under way should be above. The call has an
/// end of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How far the changes go.
#[derive(Debug, Clone, Copy)]
struct Newest {
    /// No row that was visible had a stamp above.
    top: Stamp,
    /// Every row up to there is visible.
    safe: Stamp,
}

/// What of a page can be given.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// So many of its rows, and the stamp up to which everything has been given.
    Rows(usize, Stamp),
    /// Nothing yet: there is more than a page above the transactions under way, and who asks could
    /// not go on from any place in it.
    Wait,
}

impl Newest {
    /// Of the rows of a page, by their stamps; `more` follow.
    fn cut(self, since: Stamp, rows: &[Stamp], more: bool) -> Cut {
        if !more {
            return Cut::Rows(rows.len(), self.goes_on(since));
        }
        let count = rows.partition_point(|stamp| *stamp <= self.safe);
        match rows[..count].last() {
            Some(last) => Cut::Rows(count, *last),
            None if rows.is_empty() => Cut::Rows(0, since),
            None => Cut::Wait,
        }
    }

    /// Where who has seen everything goes on from. What was safe once is, though a number that is
    /// not may lie below now. A stamp that was never given is told by one that is behind it.
    fn goes_on(self, since: Stamp) -> Stamp {
        match since <= self.top {
            true => since.max(self.safe),
            false => self.safe,
        }
    }
}

impl<D: Dialect> Shared<D> {
    pub(super) async fn memberships(
        &self,
        user: &UserId,
        since: Stamp,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let (rows, covered, more) = loop {
            let newest = self.newest().await?;
            let rows = self.fetch(lines_of(user, since, limit)).await?;
            let mut lines = Vec::with_capacity(rows.len());
            for mut row in rows {
                let (no, conversation, _) = row.conversation()?;
                let (member, _) = row.member()?;
                lines.push((row.stamp()?, (no, conversation, member)));
            }
            if let Some(page) = page(newest, since, lines, limit) {
                break page;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let line = |(no, conversation, member)| {
            let line = MembershipLine {
                conversation,
                member,
                unread: 0,
                mentions: 0,
                last: None,
            };
            (no, line)
        };
        let mut lines: Vec<_> = rows.into_iter().map(line).collect();
        if detail {
            for some in lines.chunks_mut(LINES_MAX) {
                self.unread(some).await?;
                self.last(some).await?;
            }
        }
        Ok(MembershipPage {
            lines: lines.into_iter().map(|(_, line)| line).collect(),
            stamps: Stamps::one(covered),
            more,
        })
    }

    pub(super) async fn changed(&self, since: Stamp, limit: usize) -> Result<Changed, PortError> {
        let statement = Statement::new(
            "SELECT c.id, c.head, c.epoch, c.stamp FROM im_conversation c \
             WHERE c.stamp > ? ORDER BY c.stamp LIMIT ?",
        );
        let statement = statement.bind(since.0 as i64).bind(limit + 1);
        let (convs, covered, more) = loop {
            let newest = self.newest().await?;
            if limit == 0 || since >= newest.top {
                let stamps = Stamps::one(newest.goes_on(since));
                return Ok(Changed {
                    convs: Vec::new(),
                    left: Vec::new(),
                    stamps,
                    more: false,
                });
            }
            let rows = self.fetch(statement.clone()).await?;
            let mut convs = Vec::with_capacity(rows.len());
            for mut row in rows {
                let changed = ChangedConversation {
                    conv: row.conv()?,
                    head: row.seq()?,
                    epoch: Epoch(row.number()?),
                };
                convs.push((row.stamp()?, changed));
            }
            if let Some(page) = page(newest, since, convs, limit) {
                break page;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        Ok(Changed {
            left: self.left(since, covered).await?,
            convs,
            stamps: Stamps::one(covered),
            more,
        })
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

    /// Every change up to there is visible.
    pub(super) async fn safe(&self) -> Result<Stamp, PortError> {
        Ok(self.newest().await?.safe)
    }

    async fn newest(&self) -> Result<Newest, PortError> {
        let rows = self.fetch(Statement::new(D::NEWEST)).await?;
        let row = rows.into_iter().next();
        let mut row = row.ok_or_else(|| corrupt("there is no stamp"))?;
        Ok(Newest {
            top: row.stamp()?,
            safe: row.stamp()?,
        })
    }

    /// Counts, for lines of which there is something to count.
    async fn unread(&self, lines: &mut [(i64, MembershipLine)]) -> Result<(), PortError> {
        let say = say_kinds();
        let mentioned = mentions_sql(|what, of| format!("POSITION({what} IN {of})"));
        let mut counts = Vec::new();
        for (at, (no, line)) in lines.iter().enumerate() {
            let (from, to) = seen(&line.conversation, &line.member);
            let above = line.member.read.max(Seq(from.0.saturating_sub(1)));
            if above < to {
                let [first, later] = marks(&line.member.user);
                counts.push([
                    at.into(),
                    Arc::<str>::from(first).into(),
                    Arc::<str>::from(later).into(),
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
            "SELECT ?, count(*), count(CASE WHEN t.mentioned THEN 1 END) FROM \
             (SELECT {mentioned} AS mentioned FROM im_entry e WHERE e.conv = ? \
             AND e.seq > ? AND e.seq <= ? AND e.sender <> ? AND e.kind IN ({say}) \
             ORDER BY e.seq LIMIT {UNREAD_MAX}) t"
        );
        let mut statement = Statement::new(vec![one.as_str(); counts.len()].join(" UNION ALL "));
        for values in counts {
            statement.args.extend::<[Arg; 7]>(values);
        }
        for mut row in self.fetch(statement).await? {
            let (at, count, mentions) = (row.int()?, row.int()?, row.int()?);
            if let Some((_, line)) = usize::try_from(at).ok().and_then(|at| lines.get_mut(at)) {
                line.unread = count.unsigned_abs() as u32;
                line.mentions = mentions.unsigned_abs() as u32;
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

/// What can be given of rows with their stamps, one more than asked for: those, how far they cover
/// the changes, and whether there are more. `None`: not yet.
fn page<T>(
    newest: Newest,
    since: Stamp,
    mut rows: Vec<(Stamp, T)>,
    limit: usize,
) -> Option<(Vec<T>, Stamp, bool)> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let stamps: Vec<_> = rows.iter().map(|(stamp, _)| *stamp).collect();
    match newest.cut(since, &stamps, more) {
        Cut::Rows(count, covered) => {
            rows.truncate(count);
            let rows = rows.into_iter().map(|(_, row)| row);
            Some((rows.collect(), covered, more))
        }
        Cut::Wait => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_covered_only_below_what_is_under_way() {
        let newest = |top, safe| Newest {
            top: Stamp(top),
            safe: Stamp(safe),
        };
        let table: [(Newest, u64, &[u64], bool, Cut); 8] = [
            // The last page covers all that is safe, and nothing that lies above.
            (
                newest(90, 90),
                10,
                &[20, 30],
                false,
                Cut::Rows(2, Stamp(90)),
            ),
            (
                newest(90, 25),
                10,
                &[20, 30],
                false,
                Cut::Rows(2, Stamp(25)),
            ),
            // What was covered once stays so.
            (newest(90, 25), 40, &[50], false, Cut::Rows(1, Stamp(40))),
            // A stamp that was never given.
            (newest(90, 25), 99, &[], false, Cut::Rows(0, Stamp(25))),
            // A page goes on from its last row, as far as it is safe.
            (newest(90, 90), 10, &[20, 30], true, Cut::Rows(2, Stamp(30))),
            (newest(90, 25), 10, &[20, 30], true, Cut::Rows(1, Stamp(20))),
            (newest(90, 15), 10, &[20, 30], true, Cut::Wait),
            (newest(90, 90), 10, &[], true, Cut::Rows(0, Stamp(10))),
        ];
        for (newest, since, rows, more, expected) in table {
            let stamps: Vec<_> = rows.iter().copied().map(Stamp).collect();
            let cut = newest.cut(Stamp(since), &stamps, more);
            assert_eq!(cut, expected, "{newest:?} {since} {rows:?}");
        }
    }
}
