//! Why nothing can be sealed or opened.

use im_core::port::{PortError, PortErrorKind};

use crate::keyring::MasterId;

/// Why a store is not opened, or a key can't be used. No error holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// What is stored was sealed with a master key that the ring has not.
    #[error(
        "the master key {0} is missing, and data keys are sealed with it: put it back, or finish \
         the rotation first"
    )]
    MissingMaster(MasterId),
    /// The master key of that number is not the one that the store knows by it.
    #[error("the master key {0} is another one than what is stored was sealed with")]
    WrongMaster(MasterId),
    /// The file of keys.
    #[error("{path}: {what}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it. A line is told by its number, never by what it holds.
        what: String,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A data key's fact holds something else than a data key.
    #[error("a stored data key is none")]
    NoDataKey,
    /// A keyring that is not here (a key management service) did not do it.
    #[error("the keyring is unavailable")]
    Keyring(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] PortError),
}

impl From<SealError> for PortError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store(error) => error,
            SealError::Keyring(_) | SealError::Random => {
                Self::with_source(PortErrorKind::Unavailable, error)
            }
            _ => Self::with_source(PortErrorKind::Corrupt, error),
        }
    }
}
