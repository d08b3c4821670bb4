//! What a node sends.

use std::sync::Arc;

use super::Limits;
use super::client::{RequestId, mentions, mentions_value};
use super::code::{ErrorCode, Failure};
use super::fields::{FieldError, Fields};
use crate::model::{
    Body, CmId, ConversationId, ConversationKind, DeviceId, Entry, Epoch, MessageId, NewEntry, Seq,
    Timestamp, UserId, Value,
};

/// The first frame of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Who the token says the client is.
    pub user: UserId,
    /// The device that it named.
    pub device: DeviceId,
    /// The connection's own name, for logs.
    pub conn: String,
    /// The node's name.
    pub node: String,
    /// The node's time.
    pub now: Timestamp,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How often the node gives a sign of life, in milliseconds.
    pub heartbeat_ms: u64,
    /// What the client must keep to.
    pub limits: Limits,
}

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

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrFrame {
    /// The `t` that it answers; empty when that can't be told.
    pub re: String,
    /// The request's id.
    pub id: Option<RequestId>,
    /// The message's.
    pub cm_id: Option<CmId>,
    /// What and why.
    pub failure: Failure,
}

/// The node is about to close this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye {
    /// The close code to come.
    pub code: u16,
    /// Reconnect after a random time within these milliseconds.
    pub reconnect_ms: (u64, u64),
}

/// A frame of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    /// Nothing more of this conversation is pushed until the client has pulled to its end.
    Behind {
        /// Which.
        conv: ConversationId,
        /// The last entry now.
        last_seq: Seq,
        /// The log's life.
        epoch: Epoch,
    },
    /// About to close.
    Bye(Bye),
    /// The next entry of a conversation.
    Entry(Arc<Entry>),
    /// A refusal.
    Err(ErrFrame),
    /// A change that is no entry; `kind` and more fields.
    Event(Value),
    /// A page of a log.
    Page(Page),
    /// A sign of life.
    Pong {
        /// The ping's.
        id: Option<RequestId>,
    },
    /// Whether a watched user is here.
    Presence {
        /// Who.
        user: UserId,
        /// `online` or `offline`.
        state: String,
        /// Since when.
        at: Timestamp,
    },
    /// A cursor moved.
    Receipt {
        /// Where.
        conv: ConversationId,
        /// Whose.
        user: UserId,
        /// Up to where entries arrived.
        delivered: Option<Seq>,
        /// Up to where they were read.
        read: Option<Seq>,
    },
    /// A request's answer.
    Res {
        /// The request's id.
        id: RequestId,
        /// What the method gives.
        value: Value,
    },
    /// Stored.
    Sent {
        /// The client's id of it.
        cm_id: CmId,
        /// Where.
        conv: ConversationId,
        /// Its place.
        seq: Seq,
        /// Its own id.
        id: MessageId,
        /// When.
        at: Timestamp,
        /// It was stored by an earlier try.
        dup: bool,
    },
    /// What changed since a token.
    Synced(Synced),
    /// Somebody is typing.
    Typing {
        /// Where.
        conv: ConversationId,
        /// Who.
        user: UserId,
    },
    /// The first frame.
    Welcome(Welcome),
}

type Out = Vec<(&'static str, Value)>;

impl ServerFrame {
    /// The frame's `t`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Behind { .. } => "behind",
            Self::Bye(_) => "bye",
            Self::Entry(_) => "entry",
            Self::Err(_) => "err",
            Self::Event(_) => "event",
            Self::Page(_) => "page",
            Self::Pong { .. } => "pong",
            Self::Presence { .. } => "presence",
            Self::Receipt { .. } => "receipt",
            Self::Res { .. } => "res",
            Self::Sent { .. } => "sent",
            Self::Synced(_) => "synced",
            Self::Typing { .. } => "typing",
            Self::Welcome(_) => "welcome",
        }
    }

    /// The frame as an object: what both codecs carry.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut out = vec![("t", Value::from(self.name()))];
        match self {
            Self::Behind {
                conv,
                last_seq,
                epoch,
            } => {
                out.push(("conv", conv.as_str().into()));
                out.push(("last_seq", last_seq.0.into()));
                out.push(("epoch", epoch.0.into()));
            }
            Self::Bye(bye) => {
                out.push(("code", u64::from(bye.code).into()));
                let (min, max) = bye.reconnect_ms;
                out.push(("reconnect_ms", vec![min.into(), max.into()].into()));
            }
            Self::Entry(entry) => entry_fields(entry, &mut out),
            Self::Err(err) => err_fields(err, &mut out),
            Self::Event(Value::Object(fields)) => {
                let own = fields.iter().filter(|(key, _)| key != "t").cloned();
                return Value::object(own.chain([("t".into(), "event".into())]));
            }
            Self::Event(_) => {}
            Self::Page(page) => page_fields(page, &mut out),
            Self::Pong { id } => out.extend(id.as_ref().map(|id| ("id", id.to_value()))),
            Self::Presence { user, state, at } => {
                out.push(("user", user.as_str().into()));
                out.push(("state", state.as_str().into()));
                out.push(("at", at.0.into()));
            }
            Self::Receipt {
                conv,
                user,
                delivered,
                read,
            } => {
                out.push(("conv", conv.as_str().into()));
                out.push(("user", user.as_str().into()));
                out.extend(delivered.map(|seq| ("delivered", seq.0.into())));
                out.extend(read.map(|seq| ("read", seq.0.into())));
            }
            Self::Res { id, value } => {
                out.push(("id", id.to_value()));
                out.push(("value", value.clone()));
            }
            Self::Sent {
                cm_id,
                conv,
                seq,
                id,
                at,
                dup,
            } => {
                out.push(("cm_id", cm_id.as_str().into()));
                out.push(("conv", conv.as_str().into()));
                out.push(("seq", seq.0.into()));
                out.push(("id", id.to_string().into()));
                out.push(("at", at.0.into()));
                out.extend(dup.then_some(("dup", true.into())));
            }
            Self::Synced(synced) => synced_fields(synced, &mut out),
            Self::Typing { conv, user } => {
                out.push(("conv", conv.as_str().into()));
                out.push(("user", user.as_str().into()));
            }
            Self::Welcome(welcome) => welcome_fields(welcome, &mut out),
        }
        Value::object(out)
    }

    /// Reads the fields of a frame of type `t`; `None` when there is no such type.
    pub(crate) fn from_fields(t: &str, mut f: Fields) -> Result<Option<Self>, FieldError> {
        Ok(Some(match t {
            "behind" => Self::Behind {
                conv: f.id("conv", ConversationId::new)?,
                last_seq: Seq(f.count("last_seq")?),
                epoch: Epoch(f.count("epoch")?),
            },
            "bye" => bye(&mut f)?,
            "entry" => Self::Entry(Arc::new(entry(&mut f)?)),
            "err" => Self::Err(err(&mut f)?),
            "event" => {
                let kind = f.text("kind")?;
                f.into_event(kind)
            }
            "page" => Self::Page(page(&mut f)?),
            "pong" => Self::Pong {
                id: opt_request_id(&mut f)?,
            },
            "presence" => Self::Presence {
                user: f.id("user", UserId::new)?,
                state: f.text("state")?,
                at: Timestamp(f.int("at")?),
            },
            "receipt" => Self::Receipt {
                conv: f.id("conv", ConversationId::new)?,
                user: f.id("user", UserId::new)?,
                delivered: f.opt_count("delivered")?.map(Seq),
                read: f.opt_count("read")?.map(Seq),
            },
            "res" => Self::Res {
                id: RequestId::from_value(f.need("id")?)?,
                value: f.value("value").unwrap_or(Value::Null),
            },
            "sent" => Self::Sent {
                cm_id: f.id("cm_id", CmId::new)?,
                conv: f.id("conv", ConversationId::new)?,
                seq: f.seq("seq")?,
                id: message_id(&mut f)?,
                at: Timestamp(f.int("at")?),
                dup: f.flag("dup")?,
            },
            "synced" => Self::Synced(synced(&mut f)?),
            "typing" => Self::Typing {
                conv: f.id("conv", ConversationId::new)?,
                user: f.id("user", UserId::new)?,
            },
            "welcome" => Self::Welcome(welcome(&mut f)?),
            _ => return Ok(None),
        }))
    }
}

impl Fields {
    fn into_event(mut self, kind: String) -> ServerFrame {
        let mut fields = vec![("kind".into(), Value::from(kind))];
        if let Some(Value::Object(rest)) = self.rest() {
            fields.extend(rest.into_iter().filter(|(key, _)| key != "t"));
        }
        ServerFrame::Event(Value::object(fields))
    }
}

/// An entry as an object, without a `t`: as it stands in pages and in `synced`.
#[must_use]
pub fn entry_value(entry: &Entry) -> Value {
    let mut out = Vec::with_capacity(10);
    entry_fields(entry, &mut out);
    Value::object(out)
}

fn entry_fields(entry: &Entry, out: &mut Out) {
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

fn entry(f: &mut Fields) -> Result<Entry, FieldError> {
    Ok(Entry {
        conv: f.id("conv", ConversationId::new)?,
        seq: f.seq("seq")?,
        new: NewEntry {
            id: message_id(f)?,
            from: f.id("from", UserId::new)?,
            at: Timestamp(f.int("at")?),
            cm_id: f.opt_id("cm_id", CmId::new)?,
            digest: 0,
            body: Body::new(&f.need("body")?).map_err(|error| FieldError::new("body", error))?,
            reply_to: f.opt_seq("reply_to")?,
            mentions: mentions(f)?,
            expires_at: match f.peek("expires_at") {
                None => None,
                Some(_) => Some(Timestamp(f.int("expires_at")?)),
            },
        },
    })
}

fn message_id(f: &mut Fields) -> Result<MessageId, FieldError> {
    let id = f.text("id")?.parse();
    id.map(MessageId)
        .map_err(|_| FieldError::new("id", "must be a decimal text of 64 bits"))
}

fn opt_request_id(f: &mut Fields) -> Result<Option<RequestId>, FieldError> {
    f.value("id").map(RequestId::from_value).transpose()
}

fn err_fields(err: &ErrFrame, out: &mut Out) {
    out.push(("re", err.re.as_str().into()));
    out.extend(err.id.as_ref().map(|id| ("id", id.to_value())));
    out.extend(err.cm_id.as_ref().map(|id| ("cm_id", id.as_str().into())));
    out.push(("code", err.failure.code.as_str().into()));
    out.push(("message", err.failure.message.as_str().into()));
    out.extend(
        err.failure
            .retry_after_ms
            .map(|ms| ("retry_after_ms", ms.into())),
    );
}

fn err(f: &mut Fields) -> Result<ErrFrame, FieldError> {
    let code = f.text("code")?;
    let code = ErrorCode::parse(&code).unwrap_or(ErrorCode::Internal);
    Ok(ErrFrame {
        re: f.opt_text("re")?.unwrap_or_default(),
        id: opt_request_id(f)?,
        cm_id: f.opt_id("cm_id", CmId::new)?,
        failure: Failure {
            code,
            message: f.opt_text("message")?.unwrap_or_default(),
            retry_after_ms: f.opt_count("retry_after_ms")?,
        },
    })
}

fn bye(f: &mut Fields) -> Result<ServerFrame, FieldError> {
    let code = f.count("code")?;
    let code = u16::try_from(code).map_err(|_| FieldError::new("code", "is no close code"))?;
    let range = f.array("reconnect_ms")?;
    let [Value::Int(min), Value::Int(max)] = range[..] else {
        return Err(FieldError::new("reconnect_ms", "must be [min, max]"));
    };
    let reconnect_ms = (min.unsigned_abs(), max.max(min).unsigned_abs());
    Ok(ServerFrame::Bye(Bye { code, reconnect_ms }))
}

fn page_fields(page: &Page, out: &mut Out) {
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

fn page(f: &mut Fields) -> Result<Page, FieldError> {
    let mut entries = Vec::new();
    for value in f.array("entries")? {
        entries.push(Arc::new(entry(&mut Fields::new(value, "entries")?)?));
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
            .ok_or_else(|| FieldError::new("kind", "is no kind of conversation"))?,
        title: f.opt_text("title")?,
        epoch: Epoch(f.count("epoch")?),
        first_seq: Seq(f.count("first_seq")?),
        last_seq: Seq(f.count("last_seq")?),
        read_seq: Seq(f.count("read_seq")?),
        unread: u32::try_from(f.count("unread")?).unwrap_or(u32::MAX),
        last: match f.value("last") {
            None => None,
            Some(value) => Some(Arc::new(entry(&mut Fields::new(value, "last")?)?)),
        },
        left: f.flag("left")?,
    })
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
        line(Fields::new(value, "conv")?)
    }
}

fn synced_fields(synced: &Synced, out: &mut Out) {
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

fn synced(f: &mut Fields) -> Result<Synced, FieldError> {
    let mut convs = Vec::new();
    for value in f.array("convs")? {
        convs.push(ConvLine::from_value(value)?);
    }
    Ok(Synced {
        id: opt_request_id(f)?,
        convs,
        more: f.flag("more")?,
        since: f.text("since")?,
        reset: f.flag("reset")?,
    })
}

fn welcome_fields(welcome: &Welcome, out: &mut Out) {
    out.push(("user", welcome.user.as_str().into()));
    out.push(("device", welcome.device.as_str().into()));
    out.push(("conn", welcome.conn.as_str().into()));
    out.push(("node", welcome.node.as_str().into()));
    out.push(("now", welcome.now.0.into()));
    out.push(("expires_at", welcome.expires_at.0.into()));
    out.push(("heartbeat_ms", welcome.heartbeat_ms.into()));
    let limits = &welcome.limits;
    out.push((
        "limits",
        Value::object([
            ("frame_bytes", Value::from(limits.frame_bytes as u64)),
            ("page_bytes", (limits.page_bytes as u64).into()),
            ("text_chars", (limits.text_chars as u64).into()),
            ("window", (limits.window as u64).into()),
            ("ack_ms", limits.ack_ms.into()),
            ("sends_per_s", u64::from(limits.sends_per_s).into()),
            ("dedupe_ms", limits.dedupe_ms.into()),
        ]),
    ));
}

fn welcome(f: &mut Fields) -> Result<Welcome, FieldError> {
    let mut l = Fields::new(f.need("limits")?, "limits")?;
    let mut size = |field: &str| -> Result<usize, FieldError> {
        usize::try_from(l.count(field)?).map_err(|_| FieldError::new(field, "is too large"))
    };
    let limits = Limits {
        frame_bytes: size("frame_bytes")?,
        page_bytes: size("page_bytes")?,
        text_chars: size("text_chars")?,
        window: size("window")?,
        ack_ms: l.count("ack_ms")?,
        sends_per_s: u32::try_from(l.count("sends_per_s")?).unwrap_or(u32::MAX),
        dedupe_ms: l.count("dedupe_ms")?,
    };
    Ok(Welcome {
        user: f.id("user", UserId::new)?,
        device: f.id("device", DeviceId::new)?,
        conn: f.text("conn")?,
        node: f.text("node")?,
        now: Timestamp(f.int("now")?),
        expires_at: Timestamp(f.int("expires_at")?),
        heartbeat_ms: f.count("heartbeat_ms")?,
        limits,
    })
}
