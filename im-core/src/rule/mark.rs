//! What was done to a message later, as it is kept beside the log: so that who reads an old page
//! need not replay everything after it.

use crate::model::{Body, FactKey, FactTable, Kind, MessageId, Seq, Timestamp, UserId, Value};

/// A change of an earlier entry, as its body says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another text.
    Edit(String),
    /// Taken back.
    Recall,
    /// A reaction, or one taken back.
    React {
        /// Which.
        emoji: String,
        /// Whether it is there from then on.
        on: bool,
    },
    /// Pinned, or no longer.
    Pin(bool),
}

impl Change {
    /// What a body changes, and of which entry; `None` when it is no change.
    #[must_use]
    pub fn of(body: &Body) -> Option<(Seq, Self)> {
        if !matches!(
            body.kind(),
            Kind::Edit | Kind::Recall | Kind::React | Kind::Pin
        ) {
            return None;
        }
        let value = body.value();
        let target = value.get("target").and_then(Value::as_int)?;
        let target = Seq(u64::try_from(target).ok()?);
        let text = |field| value.get(field).and_then(Value::as_text).map(str::to_owned);
        let on = !matches!(value.get("on"), Some(Value::Bool(false)));
        let change = match body.kind() {
            Kind::Edit => Self::Edit(text("text")?),
            Kind::Recall => Self::Recall,
            Kind::React => Self::React {
                emoji: text("emoji")?,
                on,
            },
            _ => Self::Pin(on),
        };
        Some((target, change))
    }
}

/// A mark of a message. Its key is the message's place, then what it is: so one range has all the
/// marks of a run of messages, and one all reactions of a user to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It was edited.
    Edit(EditMark),
    /// It was recalled.
    Recall {
        /// By whom.
        by: UserId,
        /// When.
        at: Timestamp,
    },
    /// A user's reaction.
    React {
        /// Whose.
        by: UserId,
        /// Which.
        emoji: String,
        /// Since when.
        at: Timestamp,
    },
}

/// The last edit of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditMark {
    /// What it says now.
    pub text: String,
    /// By whom.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// The entries of all its edits: the id of each, and a place that it stands above, a little.
    pub entries: Vec<(MessageId, Seq)>,
}

/// What stands between the parts of a key: no id has it, and an emoji stands last.
const BETWEEN: char = '\n';

/// The key of a mark of that message in a conversation.
#[must_use]
pub fn mark_key(conv: &str, seq: Seq, what: &str) -> FactKey {
    FactKey::new(
        FactTable::Mark,
        conv,
        format!("{:016x}{BETWEEN}{what}", seq.0),
    )
}

/// A key below all marks of a message and above those of the ones before it.
#[must_use]
pub fn marks_from(seq: Seq) -> String {
    format!("{:016x}", seq.0)
}

/// A key above all marks of a message and below those of the ones after it.
#[must_use]
pub fn marks_below(seq: Seq) -> String {
    format!("{:016x}", seq.0.saturating_add(1))
}

impl Mark {
    /// The part of the key of what took a message away: a [`Mark::Recall`], or nothing that is
    /// shown, for one that ended by itself.
    pub const GONE: &'static str = "x";

    /// When it was done; of an edit, the last one.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Edit(EditMark { at, .. }) | Self::Recall { at, .. } | Self::React { at, .. } => {
                *at
            }
        }
    }

    /// The part of the key that says what it is.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Edit(_) => "e".to_owned(),
            Self::Recall { .. } => Self::GONE.to_owned(),
            Self::React { by, emoji, .. } => Self::reaction(by, emoji),
        }
    }

    /// The same of a user's reaction.
    #[must_use]
    pub fn reaction(by: &UserId, emoji: &str) -> String {
        format!("r{BETWEEN}{}{BETWEEN}{emoji}", by.as_str())
    }

    /// The beginning of the keys of all reactions of a user.
    #[must_use]
    pub fn reactions_of(by: &UserId) -> String {
        format!("r{BETWEEN}{}{BETWEEN}", by.as_str())
    }

    /// What is kept under the key.
    #[must_use]
    pub fn value(&self) -> String {
        let value = match self {
            Self::Edit(edit) => {
                let entry = |(id, above): &(MessageId, Seq)| {
                    let id = Value::from(id.0.to_string());
                    Value::from(vec![id, above.0.into()])
                };
                let entries: Vec<Value> = edit.entries.iter().map(entry).collect();
                Value::object([
                    ("text", Value::from(edit.text.as_str())),
                    ("by", edit.by.as_str().into()),
                    ("at", edit.at.0.into()),
                    ("entries", entries.into()),
                ])
            }
            Self::Recall { by, at } => {
                Value::object([("by", Value::from(by.as_str())), ("at", at.0.into())])
            }
            Self::React { at, .. } => Value::object([("at", Value::from(at.0))]),
        };
        value.to_json()
    }

    /// Reads a mark, and of which message it is; `None` when it is none.
    #[must_use]
    pub fn read(key: &str, value: &str) -> Option<(Seq, Self)> {
        let (seq, what) = key.split_once(BETWEEN)?;
        let seq = Seq(u64::from_str_radix(seq, 16).ok()?);
        let value = Value::from_json(value).ok()?;
        let at = Timestamp(value.get("at").and_then(Value::as_int)?);
        let by = || value.get("by").and_then(Value::as_text)?.parse().ok();
        let mut parts = what.splitn(3, BETWEEN);
        let mark = match parts.next()? {
            "e" => Self::Edit(EditMark {
                text: value.get("text").and_then(Value::as_text)?.to_owned(),
                by: by()?,
                at,
                entries: entries(value.get("entries")?),
            }),
            "x" => Self::Recall { by: by()?, at },
            "r" => Self::React {
                by: parts.next()?.parse().ok()?,
                emoji: parts.next()?.to_owned(),
                at,
            },
            _ => return None,
        };
        Some((seq, mark))
    }
}

fn entries(value: &Value) -> Vec<(MessageId, Seq)> {
    let Value::Array(items) = value else {
        return Vec::new();
    };
    let entry = |item: &Value| {
        let Value::Array(pair) = item else {
            return None;
        };
        let [id, above] = pair.as_slice() else {
            return None;
        };
        let id = MessageId(id.as_text()?.parse().ok()?);
        Some((id, Seq(u64::try_from(above.as_int()?).ok()?)))
    };
    items.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let by = UserId::new("a/b c").unwrap();
        let at = Timestamp(7);
        let marks = [
            Mark::Edit(EditMark {
                text: "x\ny".to_owned(),
                by: by.clone(),
                at,
                entries: vec![(MessageId(u64::MAX), Seq(4)), (MessageId(2), Seq(9))],
            }),
            Mark::Recall { by: by.clone(), at },
            Mark::React {
                by,
                emoji: "👍\n/".to_owned(),
                at,
            },
        ];
        for mark in marks {
            let key = mark_key("g", Seq(0xab), &mark.what());
            assert!(key.key > marks_from(Seq(0xab)) && key.key < marks_below(Seq(0xab)));
            assert!(key.key < marks_from(Seq(0xac)));
            let read = Mark::read(&key.key, &mark.value());
            assert_eq!(read, Some((Seq(0xab), mark)));
        }
        for (key, value) in [
            ("", "{}"),
            ("zz\ne", "{}"),
            ("01\ne", "{}"),
            ("01\nq", "{\"at\":1}"),
        ] {
            assert_eq!(Mark::read(key, value), None);
        }
    }
}
