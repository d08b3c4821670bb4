//! Entries, pages of a log and lines of `synced`: what shows the log to a client.

use std::sync::Arc;

use super::client::{RequestId, mentions, mentions_value};
use super::fields::{FieldError, Fields, Out};
use crate::model::{
    CmId, ConversationId, ConversationKind, Entry, Epoch, MessageId, NewEntry, Seq, Timestamp,
    UserId, Value,
};

/// Entries, encoded when the frame is: shared with everybody who gets the same.
pub type Entries = Vec<Arc<Entry>>;

/// A page of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The request's id.
    pub id: RequestId,
    /// Whose log.
    pub conv: ConversationId,
    /// The log's life.
    pub epoch: Epoch,
    /// The first entry that the user may see.
    pub first_seq: Seq,
    /// The entries, ascending.
    pub entries: Entries,
    /// Whether there are more in the direction asked.
    pub more: bool,
}

/// A conversation in `synced`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvLine {
    /// Its id.
    pub conv: ConversationId,
    /// What it is.
    pub kind: ConversationKind,
    /// Its title.
    pub title: Option<String>,
    /// The log's life.
    pub epoch: Epoch,
    /// The first entry that the user may see.
    pub first_seq: Seq,
    /// The last one; of a conversation left, the removal's own.
    pub last_seq: Seq,
    /// Up to where the user has read.
    pub read_seq: Seq,
    /// *Say* entries of others above that, to 999.
    pub unread: u32,
    /// Those of them that mention the user, by name or with everybody.
    pub mentions: u32,
    /// The last entry.
    pub last: Option<Arc<Entry>>,
    /// The user is no member any more.
    pub left: bool,
}

/// What changed since a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The request's id; none when unasked.
    pub id: Option<RequestId>,
    /// The conversations that changed.
    pub convs: Vec<ConvLine>,
    /// Ask again with `since`.
    pub more: bool,
    /// The next token.
    pub since: String,
    /// The token was not good: this starts from the beginning.
    pub reset: bool,
}

impl ConvLine {
    /// The line as an object, as it stands in `synced` and in the `conv` event.
    #[must_use]
    pub fn to_value(&self) -> Value {
        line_value(self)
    }

    /// Reads a line, for clients.
    ///
    /// # Errors
    /// When a field is missing or misshapen.
    pub fn from_value(value: Value) -> Result<Self, FieldError> {
        match Fields::of_frame(value) {
            Some(fields) => line(fields),
            None => Err(FieldError::new("conv", "must be an object")),
        }
    }
}

/// An entry as an object, without a `t`: as it stands in pages and in `synced`.
#[must_use]
pub fn entry_value(entry: &Entry) -> Value {
    let mut out = Vec::with_capacity(10);
    entry_fields(entry, &mut out);
    Value::object(out)
}

pub(super) fn entry_fields(entry: &Entry, out: &mut Out) {
    out.push(("conv", entry.conv.as_str().into()));
    out.push(("seq", entry.seq.0.into()));
    out.push(("id", entry.id.to_string().into()));
    out.push(("from", entry.from.as_str().into()));
    out.push(("at", entry.at.0.into()));
    out.extend(entry.cm_id.as_ref().map(|id| ("cm_id", id.as_str().into())));
    out.push(("body", entry.body.value()));
    out.extend(entry.reply_to.map(|seq| ("reply_to", seq.0.into())));
    out.extend(mentions_value(&entry.mentions).map(|value| ("mentions", value)));
    out.extend(entry.expires_at.map(|at| ("expires_at", at.0.into())));
}

pub(super) fn entry(f: &mut Fields) -> Result<Entry, FieldError> {
    Ok(Entry {
        conv: f.id("conv", ConversationId::new)?,
        seq: f.seq("seq")?,
        new: NewEntry {
            id: message_id(f)?,
            from: f.id("from", UserId::new)?,
            at: Timestamp(f.int("at")?),
            cm_id: f.opt_id("cm_id", CmId::new)?,
            digest: 0,
            body: f.body("body")?,
            reply_to: f.opt_seq("reply_to")?,
            mentions: mentions(f)?,
            expires_at: f.opt_int("expires_at")?.map(Timestamp),
        },
    })
}

pub(super) fn message_id(f: &mut Fields) -> Result<MessageId, FieldError> {
    let text = f.text("id")?;
    match text.parse().map(MessageId) {
        // Other spellings of the same number (`+1`, `01`) would be other ids to other clients.
        Ok(id) if id.to_string() == text => Ok(id),
        _ => Err(f.error("id", "must be a decimal text of 64 bits")),
    }
}

pub(super) fn page_fields(page: &Page, out: &mut Out) {
    out.push(("id", page.id.to_value()));
    out.push(("conv", page.conv.as_str().into()));
    out.push(("epoch", page.epoch.0.into()));
    out.push(("first_seq", page.first_seq.0.into()));
    let entries: Vec<Value> = page
        .entries
        .iter()
        .map(|entry| entry_value(entry))
        .collect();
    out.push(("entries", entries.into()));
    out.push(("more", page.more.into()));
}

pub(super) fn page(f: &mut Fields) -> Result<Page, FieldError> {
    let mut entries = Vec::new();
    for value in f.array("entries")? {
        entries.push(Arc::new(entry(&mut f.inner("entries", value)?)?));
    }
    Ok(Page {
        id: RequestId::from_value(f.need("id")?)?,
        conv: f.id("conv", ConversationId::new)?,
        epoch: Epoch(f.count("epoch")?),
        first_seq: Seq(f.count("first_seq")?),
        entries,
        more: f.flag("more")?,
    })
}

fn line_value(line: &ConvLine) -> Value {
    let mut out: Out = vec![
        ("conv", line.conv.as_str().into()),
        ("kind", line.kind.as_str().into()),
        ("epoch", line.epoch.0.into()),
        ("first_seq", line.first_seq.0.into()),
        ("last_seq", line.last_seq.0.into()),
        ("read_seq", line.read_seq.0.into()),
        ("unread", u64::from(line.unread).into()),
    ];
    let mentions = u64::from(line.mentions);
    out.extend((mentions > 0).then(|| ("mentions", mentions.into())));
    out.extend(line.title.as_deref().map(|title| ("title", title.into())));
    out.extend(line.last.as_ref().map(|entry| ("last", entry_value(entry))));
    out.extend(line.left.then_some(("left", true.into())));
    Value::object(out)
}

fn line(mut f: Fields) -> Result<ConvLine, FieldError> {
    let kind = f.text("kind")?;
    Ok(ConvLine {
        conv: f.id("conv", ConversationId::new)?,
        kind: ConversationKind::parse(&kind)
            .ok_or_else(|| f.error("kind", "is no kind of conversation"))?,
        title: f.opt_text("title")?,
        epoch: Epoch(f.count("epoch")?),
        first_seq: Seq(f.count("first_seq")?),
        last_seq: Seq(f.count("last_seq")?),
        read_seq: Seq(f.count("read_seq")?),
        unread: u32::try_from(f.count("unread")?).unwrap_or(u32::MAX),
        mentions: u32::try_from(f.opt_count("mentions")?.unwrap_or(0)).unwrap_or(u32::MAX),
        last: match f.value("last") {
            None => None,
            Some(value) => Some(Arc::new(entry(&mut f.inner("last", value)?)?)),
        },
        left: f.flag("left")?,
    })
}

pub(super) fn synced_fields(synced: &Synced, out: &mut Out) {
    out.extend(synced.id.as_ref().map(|id| ("id", id.to_value())));
    out.push((
        "convs",
        synced
            .convs
            .iter()
            .map(line_value)
            .collect::<Vec<_>>()
            .into(),
    ));
    out.push(("more", synced.more.into()));
    out.push(("since", synced.since.as_str().into()));
    out.extend(synced.reset.then_some(("reset", true.into())));
}

pub(super) fn synced(f: &mut Fields) -> Result<Synced, FieldError> {
    let mut convs = Vec::new();
    for value in f.array("convs")? {
        convs.push(line(f.inner("convs", value)?)?);
    }
    Ok(Synced {
        id: RequestId::optional(f)?,
        convs,
        more: f.flag("more")?,
        since: f.text("since")?,
        reset: f.flag("reset")?,
    })
}
