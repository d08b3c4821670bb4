//! Error codes, close codes, and the one type that carries a refusal to a client.

use serde::{Deserialize, Serialize};

use crate::named::named;

named! {
    /// Why a frame was refused.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ErrorCode {
        /// A field is missing or misshapen; the message names it.
        BadFrame = "bad_frame",
        /// Either side's block refuses both ways in a direct conversation.
        Blocked = "blocked",
        /// Too much in flight.
        Busy = "busy",
        /// The `cm_id` already stands for another message in this conversation.
        CmIdReused = "cm_id_reused",
        /// The state is not one in which this can be done.
        Conflict = "conflict",
        /// The user may not.
        Forbidden = "forbidden",
        /// A bug of the server's.
        Internal = "internal",
        /// The user may not speak here now.
        Muted = "muted",
        /// No such thing, or none that a stranger may know of.
        NotFound = "not_found",
        /// The user once was a member.
        NotMember = "not_member",
        /// Too many in too short a time.
        RateLimited = "rate_limited",
        /// A word list or a hook refused it.
        Rejected = "rejected",
        /// Larger than a limit.
        TooLarge = "too_large",
        /// The token is bad.
        Unauthenticated = "unauthenticated",
        /// A backend is away; the outcome may be unknown.
        Unavailable = "unavailable",
        /// No such frame or method in this version.
        Unsupported = "unsupported",
    }
}

impl ErrorCode {
    /// The HTTP status of the same refusal.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadFrame => 400,
            Self::Unauthenticated => 401,
            Self::Blocked | Self::Forbidden | Self::Muted | Self::NotMember => 403,
            Self::NotFound => 404,
            Self::CmIdReused | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Rejected => 422,
            Self::Busy | Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Unavailable => 503,
        }
    }
}

/// A refusal: what `err` tells a client, without the frame that it answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct Failure {
    /// The kind of refusal.
    pub code: ErrorCode,
    /// In words, for a developer; no internal text.
    pub message: String,
    /// Present exactly when a retry can succeed: after so many milliseconds. A refusal without it
    /// is final, and nothing was stored.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A final refusal: nothing was stored.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A refusal after which a retry can succeed.
    pub fn retry(code: ErrorCode, message: impl Into<String>, after_ms: u64) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: Some(after_ms),
        }
    }
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// 1000: the client said so.
    Normal = 1000,
    /// 1001: the node is going away.
    GoingAway = 1001,
    /// 1007: invalid UTF-8.
    InvalidUtf8 = 1007,
    /// 1009: a frame larger than `limits.frame_bytes`.
    TooLarge = 1009,
    /// 1012: the node restarts.
    Restart = 1012,
    /// 4400: garbage.
    Garbage = 4400,
    /// 4401: no hello in time, another frame before it, or a token that is bad or expired.
    Unauthenticated = 4401,
    /// 4403: the user is banned or the device revoked.
    Banned = 4403,
    /// 4408: silent.
    Silent = 4408,
    /// 4409: the same device connected later elsewhere.
    Replaced = 4409,
    /// 4429: flooding.
    Flooding = 4429,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }
}
