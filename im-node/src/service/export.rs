//! Everything of one person, in pages of lines: what is kept of them, their conversations, and what
//! they said. For themselves (`me.export`), and for the host program on their behalf.

use im_core::frame::{Failure, entry_value};
use im_core::model::{
    ConversationId, Entry, Fact, FactOwner, FactTable, Seq, Stamps, UserId, Value,
};
use im_core::port::{FactQuery, LogQuery, MembershipLine};

use super::keep::is_old;
use super::params::{Params, bad};
use super::table::Call;
use crate::appender::port_failure;
use crate::node::Inner;

/// Facts read at once.
const FACTS: usize = 20;
/// Entries of a log read at once.
const ENTRIES: usize = 200;
/// Bytes of bodies read at once.
const ENTRY_BYTES: usize = 1 << 18;
/// A page ends when its lines have so many bytes; the last one may go over it.
const PAGE_BYTES: usize = 1 << 18;
/// A page ends after so many reads, however little they gave.
const READS_MAX: usize = 50;

/// `me.export`: a page of everything that is the caller's, and where the next one begins.
pub(super) async fn export(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let after = params.opt_text("after")?;
    call.inner.export(&call.caller.user, after.as_deref()).await
}

/// Where a page begins. A client gives it back, so nothing in it is believed: whatever it says,
/// only what is the user's own is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Facts of a table, by its place in [`FactTable::ALL`], above a key.
    Facts(usize, Option<String>),
    /// The conversation after these stamps, above a place of its log.
    Logs(Stamps, Seq),
}

impl Place {
    fn to_text(&self) -> String {
        match self {
            Self::Facts(table, None) => format!("f.{table}"),
            Self::Facts(table, Some(key)) => format!("f.{table}.{key}"),
            Self::Logs(stamps, seq) => format!("l.{}.{stamps}", seq.0),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let (form, number, rest) = (parts.next()?, parts.next()?, parts.next());
        match form {
            "f" => Some(Self::Facts(number.parse().ok()?, rest.map(str::to_owned))),
            "l" => {
                let seq = Seq(number.parse().ok()?);
                Some(Self::Logs(rest?.parse().ok()?, seq))
            }
            _ => None,
        }
    }
}

/// Whether facts of a table are one person's, and theirs to have.
fn is_own(table: FactTable) -> bool {
    let is_a_persons = matches!(table.owner(), FactOwner::User | FactOwner::Pair);
    is_a_persons && !matches!(table, FactTable::DataKey | FactTable::Erasure)
}

fn fact_line(fact: &Fact) -> Value {
    let mut fields = vec![
        ("kind", Value::from("fact")),
        ("table", fact.key.table.as_str().into()),
        ("key", fact.key.key.as_str().into()),
        (
            "value",
            Value::from_json(&fact.value).unwrap_or(Value::Null),
        ),
    ];
    fields.extend(fact.at.map(|at| ("at", at.0.into())));
    Value::object(fields)
}

fn conversation_line(line: &MembershipLine) -> Value {
    let (conversation, member) = (&line.conversation, &line.member);
    let mut fields = vec![
        ("kind", Value::from("conversation")),
        ("conv", conversation.id.as_str().into()),
        ("type", conversation.kind.as_str().into()),
        ("role", member.role.as_str().into()),
        ("first_seq", member.first_seq.0.into()),
        ("read_seq", member.read.0.into()),
    ];
    let title = conversation.title.as_deref();
    fields.extend(title.map(|title| ("title", title.into())));
    fields.extend(member.left_seq.map(|seq| ("left_seq", seq.0.into())));
    Value::object(fields)
}

/// Lines in the making.
#[derive(Debug, Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, value: &Value) {
        value.write_json(&mut self.0);
        self.0.push('\n');
    }

    fn is_full(&self) -> bool {
        self.0.len() >= PAGE_BYTES
    }
}

impl Inner {
    /// A page of a user's export.
    pub(crate) async fn export(
        &self,
        user: &UserId,
        after: Option<&str>,
    ) -> Result<Value, Failure> {
        let first = match after {
            None => Place::Facts(0, None),
            Some(text) => Place::read(text).ok_or_else(|| bad("after", "is no `next`"))?,
        };
        let (mut place, mut lines) = (Some(first), Lines::default());
        for _ in 0..READS_MAX {
            place = match place {
                Some(Place::Facts(table, above)) => {
                    self.export_facts(user, table, above, &mut lines).await?
                }
                Some(Place::Logs(stamps, seq)) => {
                    self.export_log(user, stamps, seq, &mut lines).await?
                }
                None => break,
            };
            if lines.is_full() {
                break;
            }
        }
        let mut out = vec![("ndjson", Value::from(lines.0))];
        out.extend(place.map(|place| ("next", place.to_text().into())));
        Ok(Value::object(out))
    }

    async fn export_facts(
        &self,
        user: &UserId,
        at: usize,
        above: Option<String>,
        lines: &mut Lines,
    ) -> Result<Option<Place>, Failure> {
        let Some(table) = FactTable::ALL.get(at).copied() else {
            return Ok(Some(Place::Logs(Stamps::START, Seq(0))));
        };
        if !is_own(table) {
            return Ok(Some(Place::Facts(at + 1, None)));
        }
        let query = FactQuery::Of {
            table,
            owner: user.as_str().to_owned(),
            after: above,
            below: None,
            limit: FACTS,
        };
        let facts = self.facts(&query).await?;
        facts.iter().for_each(|fact| lines.add(&fact_line(fact)));
        let last = facts.last().filter(|_| facts.len() == FACTS);
        Ok(Some(match last {
            Some(last) => Place::Facts(at, Some(last.key.key.clone())),
            None => Place::Facts(at + 1, None),
        }))
    }

    /// What the user said in the next of their conversations, above a place. One that changes
    /// meanwhile comes again.
    async fn export_log(
        &self,
        user: &UserId,
        stamps: Stamps,
        seq: Seq,
        lines: &mut Lines,
    ) -> Result<Option<Place>, Failure> {
        let list = self.store.memberships(user, &stamps, 1, false).await;
        let list = list.map_err(|error| port_failure(&error))?;
        let Some(line) = list.lines.first() else {
            return Ok(list.more.then_some(Place::Logs(list.stamps, Seq(0))));
        };
        if seq == Seq(0) {
            lines.add(&conversation_line(line));
        }
        let conv = &line.conversation.id;
        let end = line.member.left_seq.unwrap_or(line.conversation.head);
        let page = self.page_of(conv, seq).await?;
        let now = self.clock.timestamp();
        let oldest = self.oldest(line.conversation.kind);
        let own = page.iter().filter(|entry| {
            let is_there = entry.expires_at.is_none_or(|at| at > now);
            entry.from == *user && entry.seq <= end && is_there && !is_old(entry, oldest)
        });
        for entry in own {
            lines.add(&Value::object([
                ("kind", Value::from("message")),
                ("entry", entry_value(entry)),
            ]));
        }
        let last = page.last().map(|entry| entry.seq);
        Ok(Some(match last.filter(|last| *last < end) {
            Some(last) => Place::Logs(stamps, last),
            None => Place::Logs(list.stamps, Seq(0)),
        }))
    }

    async fn page_of(&self, conv: &ConversationId, seq: Seq) -> Result<Vec<Entry>, Failure> {
        let query = LogQuery::After {
            seq,
            limit: ENTRIES,
            bytes: ENTRY_BYTES,
        };
        let page = self.store.log(conv, query).await;
        page.map_err(|error| port_failure(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_page_begins_is_read_as_it_was_given() {
        for place in [
            Place::Facts(0, None),
            Place::Facts(3, Some(String::new())),
            Place::Facts(3, Some("a.b\nc".to_owned())),
            Place::Logs(Stamps::one(im_core::model::Stamp(9)), Seq(4)),
        ] {
            assert_eq!(Place::read(&place.to_text()), Some(place));
        }
        for bad in [
            "", "x", "f", "f.", "f.x", "f.-1", "l.1", "l.x.1", "l.1.x", "é",
        ] {
            assert_eq!(Place::read(bad), None, "{bad}");
        }
    }
}
