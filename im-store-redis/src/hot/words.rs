//! How entries, ids and answers are written in Redis, and read.

use std::fmt::Write as _;
use std::sync::Arc;

use im_core::model::{
    Body, CmId, ConversationId, Entry, Holder, Kind, Mentions, MessageId, NewEntry, Seq, Timestamp,
    UserId, Value as Json,
};
use im_core::port::{CursorMove, HotAnswer, HotView, Lag, Pending, PortError, PortErrorKind, Run};
use im_core::rule::commit::Stored;
use redis::Value;

/// An entry as a text. What scripts look for stands first. No field but the last, which is JSON,
/// can have a newline.
pub(super) fn write_entry(text: &mut String, entry: &NewEntry) {
    let body = entry.body.json();
    text.reserve(body.len() + 160);
    let kind = entry.body.kind().as_str();
    let cm_id = entry.cm_id.as_ref().map_or("", CmId::as_str);
    let _ = write!(
        text,
        "{}\n{cm_id}\n{}\n{}\n{}\n{kind}\n",
        entry.from, entry.id.0, entry.at.0, entry.digest
    );
    if let Some(seq) = entry.reply_to {
        let _ = write!(text, "{seq}");
    }
    text.push('\n');
    if let Some(at) = entry.expires_at {
        let _ = write!(text, "{at}");
    }
    text.push('\n');
    match &entry.mentions {
        Mentions::None => {}
        Mentions::All => text.push('*'),
        Mentions::Users(users) => {
            let users: Vec<Json> = users.iter().map(|user| user.as_str().into()).collect();
            text.push_str(&Json::from(users).to_json());
        }
    }
    text.push('\n');
    text.push_str(body);
}

/// `None` for what nobody wrote here.
pub(super) fn read_entry(text: &str) -> Option<NewEntry> {
    let mut fields = text.splitn(10, '\n');
    let mut next = || fields.next();
    let from = UserId::new(next()?).ok()?;
    let cm_id = optional(next()?, |it| CmId::new(it).ok())?;
    let id = MessageId(next()?.parse().ok()?);
    let at = Timestamp(next()?.parse().ok()?);
    let digest = next()?.parse().ok()?;
    let kind = Kind::parse(next()?)?;
    let reply_to = optional(next()?, |it| it.parse().ok().map(Seq))?;
    let expires_at = optional(next()?, |it| it.parse().ok().map(Timestamp))?;
    let mentions = match next()? {
        "" => Mentions::None,
        "*" => Mentions::All,
        users => read_users(users)?,
    };
    let body = Body::from_stored(kind, Arc::from(next()?));
    Some(NewEntry {
        id,
        from,
        at,
        cm_id,
        digest,
        body,
        reply_to,
        mentions,
        expires_at,
    })
}

/// Nothing for an empty text; `None` for one that can't be read.
fn optional<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() {
        return Some(None);
    }
    read(text).map(Some)
}

fn read_users(text: &str) -> Option<Mentions> {
    let Json::Array(users) = Json::from_json(text).ok()? else {
        return None;
    };
    let users = users.iter().map(|user| user.as_text()?.parse().ok());
    users.collect::<Option<Vec<UserId>>>().map(Mentions::Users)
}

/// Under what an entry is found again; nothing when it is not.
pub(super) fn write_id(text: &mut String, entry: &NewEntry) {
    if let Some(cm_id) = &entry.cm_id {
        let _ = write!(text, "{}\n{cm_id}", entry.from);
    }
}

/// What stands under that, but for its place.
pub(super) fn write_stored(text: &mut String, entry: &NewEntry) {
    let _ = write!(text, "{} {} {}", entry.id.0, entry.at.0, entry.digest);
}

fn read_stored(text: &str) -> Option<Stored> {
    let mut words = text.split(' ');
    Some(Stored {
        seq: Seq(words.next()?.parse().ok()?),
        id: MessageId(words.next()?.parse().ok()?),
        at: Timestamp(words.next()?.parse().ok()?),
        digest: words.next()?.parse().ok()?,
    })
}

/// An answer to a commit that is a few words.
fn read_answer(text: &str) -> Option<HotAnswer> {
    let mut words = text.split(' ');
    let answer = words.next()?;
    let mut number = || words.next()?.parse().ok();
    Some(match answer {
        "done" => HotAnswer::Done {
            first: Seq(number()?),
            version: Seq(number()?),
            holder: Holder(number()?),
        },
        "ask" => HotAnswer::Ask {
            first: Seq(number()?),
        },
        "version" => HotAnswer::Version(Seq(number()?)),
        "conflict" => HotAnswer::Conflict,
        "closed" => HotAnswer::Closed,
        "doubtful" => HotAnswer::Doubtful,
        "cold" => HotAnswer::Cold,
        "busy" => HotAnswer::Busy,
        "later" => HotAnswer::Later,
        _ => return None,
    })
}

/// What a script gave, taken piece by piece.
pub(super) struct Answer(std::vec::IntoIter<Value>);

impl Answer {
    pub(super) fn new(value: Value) -> Result<Self, PortError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(bad()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(super) fn list(&mut self) -> Result<Self, PortError> {
        match self.0.next() {
            // An empty table of Lua's.
            Some(Value::Map(pairs)) if pairs.is_empty() => Ok(Self(Vec::new().into_iter())),
            Some(value) => Self::new(value),
            None => Err(bad()),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, PortError> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => String::from_utf8(bytes).map_err(|_| bad()),
            Some(Value::SimpleString(text)) => Ok(text),
            Some(Value::Int(number)) => Ok(number.to_string()),
            _ => Err(bad()),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, PortError> {
        self.text()?.parse().map_err(|_| bad())
    }

    fn seq(&mut self) -> Result<Seq, PortError> {
        self.number().map(Seq)
    }

    /// What came of a commit.
    pub(super) fn answer(&mut self) -> Result<HotAnswer, PortError> {
        if !matches!(self.0.as_slice().first(), Some(Value::Array(_))) {
            return read_answer(&self.text()?).ok_or_else(bad);
        }
        let mut sent = self.list()?;
        if sent.text()? != "sent" {
            return Err(bad());
        }
        let (version, mut found) = (sent.seq()?, Vec::new());
        while !sent.is_empty() {
            let text = sent.text()?;
            found.push(optional(&text, read_stored).ok_or_else(bad)?);
        }
        Ok(HotAnswer::Sent { found, version })
    }

    fn cursors(&mut self) -> Result<Vec<CursorMove>, PortError> {
        let (mut list, mut cursors) = (self.list()?, Vec::new());
        while !list.is_empty() {
            let user = UserId::new(list.text()?).map_err(|_| bad())?;
            let text = list.text()?;
            let places = text.split_once(' ').ok_or_else(bad)?;
            let seq = |text: &str| text.parse().map(Seq).map_err(|_| bad());
            cursors.push(CursorMove {
                user,
                delivered: Some(seq(places.0)?),
                read: Some(seq(places.1)?),
            });
        }
        Ok(cursors)
    }

    fn entries(&mut self) -> Result<Vec<NewEntry>, PortError> {
        let (mut list, mut entries) = (self.list()?, Vec::new());
        while !list.is_empty() {
            entries.push(read_entry(&list.text()?).ok_or_else(bad)?);
        }
        Ok(entries)
    }

    /// What waits of a log.
    pub(super) fn pending(&mut self) -> Result<Pending, PortError> {
        let conv = ConversationId::new(self.text()?).map_err(|_| bad())?;
        let holder = Holder(self.number()?);
        let cold = self.seq()?;
        let as_of = self.number()?;
        let is_idle = self.number()? == 1;
        let cursors = self.cursors()?;
        let entries = self.entries()?;
        let closing = self.number()?;
        let is_doubtful = self.number()? == 1;
        Ok(Pending {
            conv,
            holder,
            run: Run {
                first: cold.next(),
                entries,
            },
            cursors,
            as_of,
            closing,
            is_idle,
            is_doubtful,
        })
    }

    /// What waits in a lane.
    pub(super) fn lag(&mut self) -> Result<Lag, PortError> {
        let (now, oldest) = (self.number()?, self.text()?);
        Ok(Lag {
            now,
            oldest: oldest.parse().ok(),
            entries: self.number()?,
        })
    }

    /// A log.
    pub(super) fn view(&mut self, conv: &ConversationId) -> Result<HotView, PortError> {
        let holder = Holder(self.number()?);
        let is_closed = self.number()? > 0;
        let (head, cold, first, from) = (self.seq()?, self.seq()?, self.seq()?, self.seq()?);
        let cursors = self.cursors()?;
        let entries = self.entries()?;
        let places = (from.0..).map(Seq);
        let entries = places.zip(entries);
        Ok(HotView {
            holder,
            is_closed,
            head,
            cold,
            first,
            entries: entries
                .map(|(seq, new)| Entry {
                    conv: conv.clone(),
                    seq,
                    new,
                })
                .collect(),
            cursors,
        })
    }
}

pub(super) const fn bad() -> PortError {
    PortError::new(PortErrorKind::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let plain = NewEntry {
            id: MessageId(u64::MAX),
            from: UserId::new("al á").unwrap(),
            at: Timestamp(-1),
            cm_id: None,
            digest: u64::MAX,
            body: Body::text("a\nb\n\u{2028}"),
            reply_to: None,
            mentions: Mentions::None,
            expires_at: None,
        };
        let users = ["b", "\" ]"].map(|id| UserId::new(id).unwrap()).to_vec();
        let full = NewEntry {
            cm_id: Some(CmId::new("m 1").unwrap()),
            reply_to: Some(Seq(7)),
            mentions: Mentions::Users(users),
            expires_at: Some(Timestamp(9)),
            ..plain.clone()
        };
        let all = NewEntry {
            mentions: Mentions::All,
            ..plain.clone()
        };
        for entry in [plain, full, all] {
            let mut text = String::new();
            write_entry(&mut text, &entry);
            assert_eq!(read_entry(&text), Some(entry.clone()));
            let mut stored = "3 ".to_owned();
            write_stored(&mut stored, &entry);
            let expected = Stored::from(&entry.at(ConversationId::new("c").unwrap(), Seq(3)));
            assert_eq!(read_stored(&stored), Some(expected));
        }
        for text in [
            "",
            "1",
            "al\n\n1\n2\n3\ntext\n\n\n",
            "al\n\nx\n2\n3\ntext\n\n\n\n{}",
        ] {
            assert_eq!(read_entry(text), None, "{text:?}");
        }
    }
}
