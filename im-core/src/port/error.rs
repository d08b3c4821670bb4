//! The one error of all ports: what the caller does next, and the cause.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PortErrorKind {
    /// The backend is away or slow: try again later. Whether a write took place is unknown.
    Unavailable,
    /// The backend has no room (disk full, quota): reads may work, writes will when there is.
    Exhausted,
    /// The backend has too much in hand and wrote nothing: try again a little later.
    Busy,
    /// What was asked is larger than the backend takes.
    TooLarge,
    /// The caller is no longer the owner of what it writes (its lease or epoch is over).
    Fenced,
    /// What was asked for is kept in another database now: ask there.
    Moved,
    /// What the backend holds is not what was written.
    Corrupt,
    /// A bug, of the adapter's or the caller's.
    Internal,
}

/// An error of a port.
#[derive(Debug, Clone)]
pub struct PortError {
    kind: PortErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl PortError {
    /// An error without a cause.
    #[must_use]
    pub const fn new(kind: PortErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// An error with its cause.
    pub fn with_source(
        kind: PortErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(Arc::from(source.into())),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(&self) -> PortErrorKind {
        self.kind
    }

    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            PortErrorKind::Unavailable | PortErrorKind::Exhausted | PortErrorKind::Busy
        )
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PortErrorKind::Unavailable => "the backend is unavailable",
            PortErrorKind::Exhausted => "the backend has no room",
            PortErrorKind::Busy => "the backend has too much in hand",
            PortErrorKind::TooLarge => "larger than the backend takes",
            PortErrorKind::Fenced => "no longer the owner",
            PortErrorKind::Moved => "kept in another database",
            PortErrorKind::Corrupt => "the backend holds something else than was written",
            PortErrorKind::Internal => "an internal error",
        })
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
