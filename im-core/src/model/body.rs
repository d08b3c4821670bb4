//! The body of an entry: a JSON object with a `kind`.

use std::sync::Arc;

use super::value::{DEPTH_MAX, Value};
use crate::named::named;

/// Which family a kind belongs to, and so who may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// What people say. Counts as unread.
    Say,
    /// A change of an earlier entry, by a client.
    Change,
    /// What happened; written by the server only.
    Server,
}

named! {
    /// What an entry is.
    pub enum Kind {
        /// `text`
        Text = "text",
        /// An uploaded picture.
        Image = "image",
        /// An uploaded video.
        Video = "video",
        /// An uploaded voice message.
        Voice = "voice",
        /// An uploaded file.
        File = "file",
        /// A sticker.
        Sticker = "sticker",
        /// A place.
        Location = "location",
        /// A card.
        Card = "card",
        /// A form to fill.
        Form = "form",
        /// A filled form.
        FormAnswer = "form_answer",
        /// The embedder's own: `type` and `data`.
        Custom = "custom",
        /// Several messages of another conversation, forwarded as one.
        Merged = "merged",
        /// Another text for an earlier entry.
        Edit = "edit",
        /// An earlier entry taken back.
        Recall = "recall",
        /// A reaction to an earlier entry.
        React = "react",
        /// An earlier entry pinned or unpinned.
        Pin = "pin",
        /// A change of the members.
        Member = "member",
        /// A change of the group's own data.
        Group = "group",
        /// An announcement.
        Announce = "announce",
        /// A call.
        Call = "call",
        /// A step of the service desk.
        Desk = "desk",
        /// What a member of the staff did.
        Audit = "audit",
        /// What is left of an erased entry. A `member` entry is never erased by itself: a room that
        /// lags must still read who left.
        Erased = "erased",
    }
}

impl Kind {
    /// Its family.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Text
            | Self::Image
            | Self::Video
            | Self::Voice
            | Self::File
            | Self::Sticker
            | Self::Location
            | Self::Card
            | Self::Form
            | Self::FormAnswer
            | Self::Custom
            | Self::Merged => Family::Say,
            Self::Edit | Self::Recall | Self::React | Self::Pin => Family::Change,
            Self::Member
            | Self::Group
            | Self::Announce
            | Self::Call
            | Self::Desk
            | Self::Audit
            | Self::Erased => Family::Server,
        }
    }
}

/// Why a value is not a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is no object.
    #[error("is not an object")]
    NotObject,
    /// `kind` is missing, no text, or none that this version knows.
    #[error("has no kind that this version knows")]
    Kind,
    /// It nests deeper than [`DEPTH_MAX`].
    #[error("nests deeper than {DEPTH_MAX}")]
    Depth,
}

/// A body: its kind, and its canonical JSON text (which the log keeps and every codec sends).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    kind: Kind,
    json: Arc<str>,
}

impl Body {
    /// Takes a value that has a known `kind`. Its fields are judged by
    /// [`rule::check_body`](crate::rule::check_body), not here.
    ///
    /// # Errors
    /// When the value is no object, its kind is unknown, or it nests too deep.
    pub fn new(value: &Value) -> Result<Self, BodyError> {
        if !matches!(value, Value::Object(_)) {
            return Err(BodyError::NotObject);
        }
        let kind = value
            .get("kind")
            .and_then(Value::as_text)
            .and_then(Kind::parse);
        if value.depth() > DEPTH_MAX {
            return Err(BodyError::Depth);
        }
        Ok(Self {
            kind: kind.ok_or(BodyError::Kind)?,
            json: value.to_json().into(),
        })
    }

    /// A body that the store gave back: canonical JSON text of that kind.
    #[must_use]
    pub const fn from_stored(kind: Kind, json: Arc<str>) -> Self {
        Self { kind, json }
    }

    /// A text message.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Kind::Text, [("text", Value::from(text.into()))])
    }

    /// A body of a kind with the given fields beside it.
    #[must_use]
    pub fn of(kind: Kind, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let fields = fields
            .into_iter()
            .chain([("kind", Value::from(kind.as_str()))]);
        Self {
            kind,
            json: Value::object(fields).to_json().into(),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its canonical JSON text.
    #[must_use]
    pub const fn json(&self) -> &Arc<str> {
        &self.json
    }

    /// The text of a `text` body that has nothing else and is written as it is read, as most are:
    /// so that it can be looked at without reading the value.
    #[must_use]
    pub fn plain_text(&self) -> Option<&str> {
        self.json
            .strip_prefix(r#"{"kind":"text","text":""#)
            .and_then(|rest| rest.strip_suffix(r#""}"#))
            .filter(|text| !text.contains(['"', '\\']))
    }

    /// Its value. `Null` if the store held text that is no value, which no writer of ours leaves.
    #[must_use]
    pub fn value(&self) -> Value {
        Value::from_json(&self.json).unwrap_or(Value::Null)
    }

    /// The text of a `text` body.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        if self.kind != Kind::Text {
            return None;
        }
        self.value()
            .get("text")
            .and_then(Value::as_text)
            .map(str::to_owned)
    }
}
