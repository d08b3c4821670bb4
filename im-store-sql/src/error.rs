//! What sqlx says, as the port says it.

use im_core::port::{PortError, PortErrorKind};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one of this store.
    #[error("not a store's address: {0}")]
    Address(String),
    /// Another process has it open.
    #[error("{0} is open in another process")]
    InUse(String),
    /// A newer version of the library wrote it.
    #[error("the store has schema version {found}, this library knows up to {known}")]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest that this library knows.
        known: i64,
    },
    /// What it holds is not what was written; it is left as it is.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The database server gave no answer in time.
    #[error("no answer in {0:?}")]
    Silent(std::time::Duration),
    /// The file can't be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("the database refused")]
    Sql(#[from] sqlx::Error),
}

/// SQLite's primary result codes, <https://sqlite.org/rescode.html>.
mod code {
    pub(super) const PERM: u32 = 3;
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const INTERRUPT: u32 = 9;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const TOOBIG: u32 = 18;
    pub(super) const NOTADB: u32 = 26;
}

/// The error of a port.
pub(crate) fn port_error(error: sqlx::Error) -> PortError {
    let kind = match &error {
        sqlx::Error::Database(database) => {
            let extended: Option<u32> = database.code().and_then(|code| code.parse().ok());
            match extended.map(|code| code & 0xff) {
                Some(code::FULL) => PortErrorKind::Exhausted,
                Some(code::TOOBIG) => PortErrorKind::TooLarge,
                Some(code::CORRUPT | code::NOTADB) => PortErrorKind::Corrupt,
                Some(
                    code::PERM
                    | code::BUSY
                    | code::LOCKED
                    | code::READONLY
                    | code::INTERRUPT
                    | code::IOERR
                    | code::CANTOPEN,
                ) => PortErrorKind::Unavailable,
                _ => PortErrorKind::Internal,
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => PortErrorKind::Unavailable,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => PortErrorKind::Corrupt,
        _ => PortErrorKind::Internal,
    };
    PortError::with_source(kind, error)
}

/// A value that no writer of ours leaves.
pub(crate) fn corrupt(what: &str) -> PortError {
    PortError::with_source(PortErrorKind::Corrupt, what.to_owned())
}
