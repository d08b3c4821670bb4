//! What a client sends.

use super::fields::{FieldError, Fields, Out};
use crate::model::{CmId, ConversationId, DeviceId, Draft, Mentions, Seq, Target, UserId, Value};

/// The most characters of a request's `id` and of an idempotency `key`.
const REQUEST_ID_CHARS_MAX: usize = 64;
/// The most bytes of a `since` token.
const SINCE_BYTES_MAX: usize = 256;
/// The most characters of a client's own name.
const CLIENT_CHARS_MAX: usize = 128;
/// The most characters of a `t` that an `err` repeats.
const RE_CHARS_MAX: usize = 64;
/// The longest life of an entry, 100 years: beyond that its end is no number that a client can
/// hold, and an entry that none can read would stay in the log.
const EXPIRES_MS_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000;

/// A request's own id, given back as it came: an integer or a text of 1–64 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

impl RequestId {
    pub(crate) fn from_value(value: Value) -> Result<Self, FieldError> {
        match value {
            Value::Int(int) => Ok(Self::Int(int)),
            Value::Text(text)
                if !text.is_empty() && text.chars().count() <= REQUEST_ID_CHARS_MAX =>
            {
                Ok(Self::Text(text.into_owned()))
            }
            _ => Err(FieldError::new(
                "id",
                "must be an integer or a text of 1 to 64 characters",
            )),
        }
    }

    pub(super) fn optional(f: &mut Fields) -> Result<Option<Self>, FieldError> {
        f.value("id").map(Self::from_value).transpose()
    }

    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Int(int) => Value::Int(*int),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// The first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The token, unless it came with the upgrade.
    pub token: Option<String>,
    /// Which device this is.
    pub device: DeviceId,
    /// The client's own name and version, for logs.
    pub client: Option<String>,
    /// A token of an earlier `synced`: answered by an unasked `synced`.
    pub since: Option<String>,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullRange {
    /// Entries above a place, ascending.
    After(Seq),
    /// The last entries below a place.
    Before(Seq),
}

/// A page of a log is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The request's id.
    pub id: RequestId,
    /// Whose log.
    pub conv: ConversationId,
    /// Which part.
    pub range: PullRange,
    /// The most entries, already cut to 1–200.
    pub limit: usize,
}

/// How far a client has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMark {
    /// Where.
    pub conv: ConversationId,
    /// Up to where.
    pub seq: Seq,
}

/// A frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Everything up to `seq` has arrived on this device.
    Ack(ReadMark),
    /// Renew the token.
    Auth {
        /// The request's id.
        id: RequestId,
        /// The new token.
        token: String,
    },
    /// The first frame.
    Hello(Hello),
    /// A sign of life.
    Ping {
        /// Given back in the `pong`.
        id: Option<RequestId>,
    },
    /// Read a page of a log.
    Pull(Pull),
    /// The user has read up to `seq`.
    Read(ReadMark),
    /// Call a method.
    Req {
        /// The request's id.
        id: RequestId,
        /// The method's name.
        method: String,
        /// Its parameters, an object.
        params: Value,
        /// Makes a retry safe for 24 hours.
        key: Option<String>,
    },
    /// Store and deliver.
    Send(Draft),
    /// What changed since a token?
    Sync {
        /// The request's id.
        id: RequestId,
        /// A token of an earlier `synced`.
        since: Option<String>,
    },
    /// The user is typing.
    Typing {
        /// Where.
        conv: ConversationId,
    },
}

/// What an `err` can still say of a frame that could not be read: its type and its ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetRef {
    /// The frame's `t`, if it had one of at most 64 characters.
    pub re: Option<String>,
    /// Its `id`, if it had a good one.
    pub id: Option<RequestId>,
    /// Its `cm_id`, if it had a good one.
    pub cm_id: Option<CmId>,
}

impl TargetRef {
    pub(crate) fn of(fields: &Fields) -> Self {
        Self {
            re: fields
                .peek("t")
                .and_then(Value::as_text)
                .filter(|t| t.chars().count() <= RE_CHARS_MAX)
                .map(str::to_owned),
            id: fields
                .peek("id")
                .cloned()
                .and_then(|id| RequestId::from_value(id).ok()),
            cm_id: fields
                .peek("cm_id")
                .and_then(Value::as_text)
                .and_then(|id| id.parse().ok()),
        }
    }
}

impl ClientFrame {
    /// The frame's `t`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ack(_) => "ack",
            Self::Auth { .. } => "auth",
            Self::Hello(_) => "hello",
            Self::Ping { .. } => "ping",
            Self::Pull(_) => "pull",
            Self::Read(_) => "read",
            Self::Req { .. } => "req",
            Self::Send(_) => "send",
            Self::Sync { .. } => "sync",
            Self::Typing { .. } => "typing",
        }
    }

    /// Reads the fields of a frame of type `t`; `None` when there is no such type.
    pub(crate) fn from_fields(t: &str, mut f: Fields) -> Result<Option<Self>, FieldError> {
        Ok(Some(match t {
            "ack" => Self::Ack(read_mark(&mut f)?),
            "auth" => Self::Auth {
                id: request_id(&mut f)?,
                token: f.text("token")?,
            },
            "hello" => Self::Hello(Hello {
                token: f.opt_text("token")?,
                device: f.id("device", DeviceId::new)?,
                client: f.opt_short_text("client", 0..=CLIENT_CHARS_MAX)?,
                since: since(&mut f)?,
            }),
            "ping" => Self::Ping {
                id: RequestId::optional(&mut f)?,
            },
            "pull" => Self::Pull(pull(&mut f)?),
            "read" => Self::Read(read_mark(&mut f)?),
            "req" => req(&mut f)?,
            "send" => Self::Send(draft(&mut f)?),
            "sync" => Self::Sync {
                id: request_id(&mut f)?,
                since: since(&mut f)?,
            },
            "typing" => Self::Typing {
                conv: f.id("conv", ConversationId::new)?,
            },
            _ => return Ok(None),
        }))
    }

    /// The frame as an object, as a client sends it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut out = vec![("t", Value::from(self.name()))];
        match self {
            Self::Ack(mark) | Self::Read(mark) => {
                out.push(("conv", mark.conv.as_str().into()));
                out.push(("seq", mark.seq.0.into()));
            }
            Self::Auth { id, token } => {
                out.push(("id", id.to_value()));
                out.push(("token", token.as_str().into()));
            }
            Self::Hello(hello) => {
                out.push(("device", hello.device.as_str().into()));
                push_text(&mut out, "token", hello.token.as_deref());
                push_text(&mut out, "client", hello.client.as_deref());
                push_text(&mut out, "since", hello.since.as_deref());
            }
            Self::Ping { id } => out.extend(id.as_ref().map(|id| ("id", id.to_value()))),
            Self::Pull(pull) => pull_fields(pull, &mut out),
            Self::Req {
                id,
                method,
                params,
                key,
            } => {
                out.push(("id", id.to_value()));
                out.push(("method", method.as_str().into()));
                out.push(("params", params.clone()));
                push_text(&mut out, "key", key.as_deref());
            }
            Self::Send(draft) => draft_fields(draft, &mut out),
            Self::Sync { id, since } => {
                out.push(("id", id.to_value()));
                push_text(&mut out, "since", since.as_deref());
            }
            Self::Typing { conv } => out.push(("conv", conv.as_str().into())),
        }
        Value::object(out)
    }
}

fn push_text(out: &mut Out, field: &'static str, text: Option<&str>) {
    out.extend(text.map(|text| (field, text.into())));
}

fn pull_fields(pull: &Pull, out: &mut Out) {
    out.push(("id", pull.id.to_value()));
    out.push(("conv", pull.conv.as_str().into()));
    out.push(match pull.range {
        PullRange::After(seq) => ("after", seq.0.into()),
        PullRange::Before(seq) => ("before", seq.0.into()),
    });
    out.push(("limit", (pull.limit as u64).into()));
}

fn draft_fields(draft: &Draft, out: &mut Out) {
    out.push(("cm_id", draft.cm_id.as_str().into()));
    out.push((
        "to",
        match &draft.to {
            Target::User(user) => Value::object([("user", user.as_str().into())]),
            Target::Conversation(conv) => Value::object([("conv", conv.as_str().into())]),
        },
    ));
    out.push(("body", draft.body.value()));
    out.extend(draft.reply_to.map(|seq| ("reply_to", seq.0.into())));
    out.extend(draft.expires_ms.map(|ms| ("expires_ms", ms.into())));
    out.extend(mentions_value(&draft.mentions).map(|value| ("mentions", value)));
}

pub(super) fn mentions_value(mentions: &Mentions) -> Option<Value> {
    match mentions {
        Mentions::None => None,
        Mentions::All => Some("*".into()),
        Mentions::Users(users) => Some(
            users
                .iter()
                .map(|user| user.as_str().into())
                .collect::<Vec<Value>>()
                .into(),
        ),
    }
}

const MENTIONS: &str = "must be an array of user ids, or \"*\"";

pub(super) fn mentions(f: &mut Fields) -> Result<Mentions, FieldError> {
    let items = match f.value("mentions") {
        None => return Ok(Mentions::None),
        Some(Value::Text(text)) if text == "*" => return Ok(Mentions::All),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(f.error("mentions", MENTIONS)),
    };
    if items.len() > Mentions::USERS_MAX {
        return Err(f.error("mentions", "has more than 100 users"));
    }
    let mut users = Vec::with_capacity(items.len());
    let mut is_all = false;
    for item in items {
        let text = item
            .as_text()
            .ok_or_else(|| f.error("mentions", MENTIONS))?;
        is_all |= text == "*";
        users.push(UserId::new(text).map_err(|error| f.error("mentions", error))?);
    }
    Ok(match users.is_empty() {
        _ if is_all => Mentions::All,
        true => Mentions::None,
        false => Mentions::Users(users),
    })
}

fn request_id(f: &mut Fields) -> Result<RequestId, FieldError> {
    RequestId::from_value(f.need("id")?)
}

fn read_mark(f: &mut Fields) -> Result<ReadMark, FieldError> {
    Ok(ReadMark {
        conv: f.id("conv", ConversationId::new)?,
        seq: f.seq("seq")?,
    })
}

fn since(f: &mut Fields) -> Result<Option<String>, FieldError> {
    let since = f.opt_text("since")?;
    if since
        .as_ref()
        .is_some_and(|token| token.len() > SINCE_BYTES_MAX)
    {
        return Err(FieldError::new("since", "has more than 256 bytes"));
    }
    Ok(since)
}

fn pull(f: &mut Fields) -> Result<Pull, FieldError> {
    let id = request_id(f)?;
    let conv = f.id("conv", ConversationId::new)?;
    let range = match (f.opt_count("after")?, f.opt_seq("before")?) {
        (Some(after), None) => PullRange::After(Seq(after)),
        (None, Some(before)) => PullRange::Before(before),
        _ => {
            return Err(FieldError::new(
                "after",
                "exactly one of after and before is needed",
            ));
        }
    };
    let limit = match f.opt_from_1("limit")? {
        None => super::Limits::PAGE_ENTRIES,
        Some(limit) => usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .min(super::Limits::PAGE_ENTRIES_MAX),
    };
    Ok(Pull {
        id,
        conv,
        range,
        limit,
    })
}

fn req(f: &mut Fields) -> Result<ClientFrame, FieldError> {
    let params = f
        .value("params")
        .unwrap_or_else(|| Value::Object(Vec::new()));
    if !matches!(params, Value::Object(_)) {
        return Err(FieldError::new("params", "must be an object"));
    }
    let key = f.opt_short_text("key", 1..=REQUEST_ID_CHARS_MAX)?;
    Ok(ClientFrame::Req {
        id: request_id(f)?,
        method: f.text("method")?,
        params,
        key,
    })
}

fn draft(f: &mut Fields) -> Result<Draft, FieldError> {
    let cm_id = f.id("cm_id", CmId::new)?;
    let mut to = f.object("to")?;
    let user = to.opt_id("user", UserId::new)?;
    let conv = to.opt_id("conv", ConversationId::new)?;
    let to = match (user, conv) {
        (Some(user), None) => Target::User(user),
        (None, Some(conv)) => Target::Conversation(conv),
        _ => {
            return Err(FieldError::new(
                "to",
                "exactly one of user and conv is needed",
            ));
        }
    };
    let expires_ms = f.opt_from_1("expires_ms")?;
    if expires_ms.is_some_and(|ms| ms > EXPIRES_MS_MAX) {
        return Err(FieldError::new("expires_ms", "is more than 100 years"));
    }
    Ok(Draft {
        cm_id,
        to,
        body: f.body("body")?,
        reply_to: f.opt_seq("reply_to")?,
        mentions: mentions(f)?,
        expires_ms,
    })
}
