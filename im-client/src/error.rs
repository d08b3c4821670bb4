//! Errors, one type per operation; their kinds say what a caller does next.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use im_core::frame::Failure;

/// A cause of any kind.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The connection was closed before `welcome`, with this code.
    #[error("closed by the server with {code}: {reason}")]
    Closed {
        /// The close code, 1006 when there was none.
        code: u16,
        /// The server's own words.
        reason: String,
    },
    /// The server answered the upgrade with this HTTP status.
    #[error("the server answered with HTTP {0}")]
    Http(u16),
    /// What was at the other end does not speak the protocol.
    #[error("not an imkit server: {0}")]
    Protocol(String),
    /// The state file can't be used.
    #[error("the state file can't be used")]
    State(#[from] StateError),
    /// No `welcome` came in time.
    #[error("no welcome in time")]
    TimedOut,
    /// There is no TLS in this build: the URL must begin with `ws://`.
    #[error("no TLS in this build: ws:// only")]
    Tls,
    /// The token provider failed.
    #[error("no token")]
    Token(#[source] Cause),
    /// The server can't be reached.
    #[error("the server can't be reached")]
    Unreachable(#[source] Cause),
    /// The URL is none.
    #[error("not a URL of a server: {0}")]
    Url(String),
}

impl ConnectError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Closed { code, .. } => !matches!(code, 1007 | 1009 | 4400 | 4403 | 4409),
            Self::Http(status) => *status >= 500 || *status == 429,
            Self::TimedOut | Self::Token(_) | Self::Unreachable(_) => true,
            Self::Protocol(_) | Self::State(_) | Self::Tls | Self::Url(_) => false,
        }
    }
}

/// Why a send did not end with `sent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The client has stopped. With a state file the send is kept, and goes on when a client is
    /// started on that file; without, whether it was stored is unknown.
    #[error("the client has stopped")]
    Closed,
    /// It was tried for as long as the server would have recognised it. Whether it was stored is
    /// unknown: sending it again may double it.
    #[error("given up; whether it was stored is unknown")]
    GaveUp,
    /// Another message with this `cm_id` is pending.
    #[error("another message with this cm_id is pending")]
    Pending,
    /// The server refused it for good: nothing was stored.
    #[error("refused: {0}")]
    Refused(Failure),
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The client has stopped.
    #[error("the client has stopped")]
    Closed,
    /// The connection was lost before the answer: whether the request was done is unknown.
    #[error("the connection was lost before the answer")]
    Disconnected,
    /// The server refused it. [`Failure::retry_after_ms`] says whether a retry can succeed.
    #[error("refused: {0}")]
    Refused(Failure),
    /// No answer in time; whether the request was done is unknown.
    #[error("no answer in time")]
    TimedOut,
}

impl RequestError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Closed => false,
            Self::Disconnected | Self::TimedOut => true,
            Self::Refused(failure) => failure.retry_after_ms.is_some(),
        }
    }
}

/// Why a state file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is damaged in its middle: what was lost there can't be told, so nothing of it is used.
    /// A torn end is no damage: it is cut off.
    #[error("{} is damaged at byte {at}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where.
        at: u64,
    },
    /// It can't be read or written.
    #[error("{} can't be read or written", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another client uses it.
    #[error("{} is in use by another client", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// Why a client stopped by itself: it does not reconnect.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The user is banned, or the device revoked (4403).
    #[error("the user is banned or the device revoked")]
    Banned,
    /// The application closed it, or dropped every handle of it.
    #[error("closed")]
    Closed,
    /// The first connection failed, and [`connect`](crate::ClientBuilder::connect) said so.
    #[error("the first connection failed")]
    NotConnected,
    /// The state file belongs to another user than the token.
    #[error("the state file belongs to another user than the token")]
    OtherUser,
    /// The server found what this client sent to be wrong (1007, 1009, 4400): sending it again
    /// would not help.
    #[error("the server refused what was sent, with {code}: {reason}")]
    Refused {
        /// The close code.
        code: u16,
        /// The server's own words.
        reason: String,
    },
    /// The same device connected later elsewhere (4409).
    #[error("the same device connected elsewhere")]
    Replaced,
    /// The state file can't be written any more. Nothing leaves that it does not hold.
    #[error("the state file can't be written")]
    State(#[source] Arc<StateError>),
    /// The token was refused several times in a row (4401), or once when it is a fixed one.
    #[error("the token was refused")]
    Unauthenticated,
}
