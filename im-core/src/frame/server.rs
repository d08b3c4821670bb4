//! What a node sends.

use std::sync::Arc;

use super::client::RequestId;
use super::code::{ErrorCode, Failure};
use super::fields::{FieldError, Fields, Out};
use super::log::{
    Page, Synced, entry, entry_fields, message_id, page, page_fields, synced, synced_fields,
};
use super::welcome::{Welcome, welcome, welcome_fields};
use crate::model::{CmId, ConversationId, Entry, Epoch, MessageId, Seq, Timestamp, UserId, Value};

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
            "event" => event(f)?,
            "page" => Self::Page(page(&mut f)?),
            "pong" => Self::Pong {
                id: RequestId::optional(&mut f)?,
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

fn event(mut f: Fields) -> Result<ServerFrame, FieldError> {
    let mut fields = vec![("kind".into(), Value::from(f.text("kind")?))];
    if let Value::Object(rest) = f.rest() {
        fields.extend(rest);
    }
    Ok(ServerFrame::Event(Value::object(fields)))
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
        id: RequestId::optional(f)?,
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
    match range[..] {
        [Value::Int(min @ 0..), Value::Int(max)] if min <= max => Ok(ServerFrame::Bye(Bye {
            code,
            reconnect_ms: (min.unsigned_abs(), max.unsigned_abs()),
        })),
        _ => Err(f.error("reconnect_ms", "must be [min, max]")),
    }
}
