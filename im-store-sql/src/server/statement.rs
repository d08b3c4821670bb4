//! A statement as data: its text, with `?` for every value, and the values.

use std::sync::Arc;

use im_core::model::{ConversationId, Seq};

/// A value to bind. SQL's NULL has a type, too.
#[derive(Debug, Clone)]
pub enum Arg {
    /// A BIGINT.
    Int(Option<i64>),
    /// A text.
    Text(Option<Arc<str>>),
    /// A column of BIGINTs, where the database has arrays.
    Ints(Vec<Option<i64>>),
    /// A column of texts, where the database has arrays.
    Texts(Vec<Option<Arc<str>>>),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<usize> for Arg {
    fn from(value: usize) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<Seq> for Arg {
    fn from(value: Seq) -> Self {
        Self::Int(Some(i64::try_from(value.0).unwrap_or(i64::MAX)))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.into()))
    }
}

impl From<Arc<str>> for Arg {
    fn from(value: Arc<str>) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&ConversationId> for Arg {
    fn from(value: &ConversationId) -> Self {
        Self::Text(Some(value.into()))
    }
}

/// A statement: its text, and the values for its `?`s.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub(super) text: String,
    pub(super) args: Vec<Arg>,
}

impl Statement {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            args: Vec::new(),
        }
    }

    /// Goes on with that text.
    pub(super) fn then(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Binds the next value.
    pub(super) fn bind(mut self, value: impl Into<Arg>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Goes on with another statement.
    pub(super) fn join(mut self, other: Self) -> Self {
        self.text.push_str(&other.text);
        self.args.extend(other.args);
        self
    }
}

/// Rows of a table that are found by a key of it.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What of them is wanted.
    pub(super) what: &'a str,
    /// The table, with its alias.
    pub(super) table: &'static str,
    /// The key's index, as MySQL calls it.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code, reason = "for MySQL"))]
    pub(super) index: &'static str,
    /// The key's columns.
    pub(super) columns: &'static [&'static str],
}

/// A batch that only appends. What there is for each conversation is in the order of their ids.
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "PostgreSQL alone has a statement for it")
)]
#[derive(Debug)]
pub struct Appends {
    /// How many conversations.
    pub(super) conversations: i64,
    /// Their ids.
    pub(super) ids: Arg,
    /// The versions that are expected, where one is.
    pub(super) versions: Arg,
    /// How many entries each gets.
    pub(super) counts: Arg,
    /// The numbers of their stamps, from 1.
    pub(super) stamps: Arg,
    /// Rows of [`ENTRY`], but for two: the conversation's number is its place among the batch's,
    /// and the entry's is counted from the conversation's head; both from 1.
    pub(super) entries: Vec<Vec<Arg>>,
}

/// A conversation that got longer, and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Longer {
    /// Its number.
    pub(super) no: i64,
    /// Its last place.
    pub(super) head: i64,
    /// Its stamp.
    pub(super) stamp: i64,
}

/// Conversations by their ids.
pub(super) const BY_ID: Look<'static> = Look {
    what: "c.no, c.id",
    table: "im_conversation c",
    index: "id",
    columns: &["c.id"],
};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// BIGINTs.
    Ints,
    /// Texts.
    Texts,
}

/// A table, as far as rows are written to it.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Holds)],
    /// The columns whose values make a row another one; empty: a row that is there is an error,
    /// else it is written over.
    pub(super) key: &'static [&'static str],
}

impl Table {
    /// The names of its columns.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The columns that are written over.
    pub(super) fn others(&self) -> impl Iterator<Item = &'static str> {
        self.columns
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !self.key.contains(name))
    }
}

use Holds::{Ints, Texts};

/// Conversations that go on.
pub(super) const CONVERSATION: Table = Table {
    name: "im_conversation",
    columns: &[
        ("no", Ints),
        ("id", Texts),
        ("kind", Texts),
        ("title", Texts),
        ("epoch", Ints),
        ("head", Ints),
        ("version", Ints),
        ("first_seq", Ints),
        ("member_count", Ints),
        ("hide_history", Ints),
        ("speaks", Texts),
        ("erasures", Ints),
        ("holder", Ints),
        ("stamp", Ints),
        ("slot", Ints),
    ],
    key: &["no"],
};

/// Conversations that begin; their numbers are the database's to give.
pub(super) const NEW_CONVERSATION: Table = Table {
    columns: CONVERSATION.columns.split_at(1).1,
    key: &[],
    ..CONVERSATION
};

/// Conversations that arrive from another database.
pub(super) const CONVERSATION_BY_ID: Table = Table {
    key: &["id"],
    ..NEW_CONVERSATION
};

/// Members.
pub(super) const MEMBER: Table = Table {
    name: "im_member",
    columns: &[
        ("conv", Ints),
        ("user_id", Texts),
        ("role", Texts),
        ("first_seq", Ints),
        ("left_seq", Ints),
        ("version", Ints),
        ("muted_until", Ints),
        ("delivered_seq", Ints),
        ("read_seq", Ints),
        ("stamp", Ints),
    ],
    key: &["conv", "user_id"],
};

/// Entries.
pub(super) const ENTRY: Table = Table {
    name: "im_entry",
    columns: &[
        ("conv", Ints),
        ("seq", Ints),
        ("id", Ints),
        ("sender", Texts),
        ("at", Ints),
        ("cm_id", Texts),
        ("digest", Ints),
        ("kind", Texts),
        ("body", Texts),
        ("reply_to", Ints),
        ("mentions", Texts),
        ("expires_at", Ints),
    ],
    key: &[],
};

/// Entries that arrive from another database; what is there is written over.
pub(super) const ENTRY_ANEW: Table = Table {
    key: &["conv", "seq"],
    ..ENTRY
};

/// Answers that are kept: those that nobody has seen yet, and those that have expired.
pub(super) const NEW_ANSWER: Table = Table { key: &[], ..ANSWER };
pub(super) const ANSWER: Table = Table {
    name: "im_answer",
    columns: &[
        ("user_id", Texts),
        ("request_key", Texts),
        ("value", Texts),
        ("expires_at", Ints),
        ("slot", Ints),
    ],
    key: &["user_id", "request_key"],
};

/// Who blocks whom.
pub(super) const BLOCK: Table = Table {
    name: "im_block",
    columns: &[("user_id", Texts), ("other_id", Texts), ("slot", Ints)],
    key: &["user_id", "other_id"],
};

/// Facts that are written over.
pub(super) const FACT: Table = Table {
    name: "im_fact",
    columns: &[
        ("kind", Texts),
        ("owner", Texts),
        ("fact_key", Texts),
        ("value", Texts),
        ("at", Ints),
        ("slot", Ints),
    ],
    key: &["kind", "owner", "fact_key"],
};

/// Facts that nobody has written yet.
pub(super) const NEW_FACT: Table = Table { key: &[], ..FACT };

/// Words of the full-text index.
pub(super) const TEXT: Table = Table {
    name: "im_text",
    columns: &[("conv", Ints), ("seq", Ints), ("words", Texts)],
    key: &["conv", "seq"],
};

/// How far conversations are in the full-text index.
pub(super) const TEXTED: Table = Table {
    name: "im_texted",
    columns: &[("conv", Ints), ("seq", Ints)],
    key: &["conv"],
};

/// The same of those of which nothing may be there.
pub(super) const UNTEXTED: Table = Table {
    columns: TEXTED.columns.split_at(1).0,
    ..TEXTED
};

/// What a database holds that is one of several.
pub(super) const SLOT: Table = Table {
    name: "im_slot",
    columns: &[
        ("slot", Ints),
        ("epoch", Ints),
        ("phase", Texts),
        ("goes_to", Ints),
        ("mover", Ints),
        ("lease_until", Ints),
    ],
    key: &["slot"],
};
