//! Who has the master keys: the port that a key management service implements.

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::cipher::KEY_BYTES;
use crate::error::SealError;

/// Bytes of a data key.
pub const DATA_KEY_BYTES: usize = KEY_BYTES;

/// The number of a master key, from 1. A rotation goes from lower numbers to the active one, so
/// a newer key has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterId(pub u32);

impl fmt::Display for MasterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which master key opens it.
    pub master: MasterId,
    /// The sealed bytes, with whatever the ring needs to open them.
    pub bytes: Vec<u8>,
}

/// Master keys. [`FileKeys`](crate::FileKeys) has them in a file; a key management service would
/// wrap and unwrap by calls, and never give a master key away.
#[async_trait]
pub trait Keyring: fmt::Debug + Send + Sync + 'static {
    /// The one that new data keys are wrapped with. May change while the service runs.
    fn active(&self) -> MasterId;

    /// Whether it has the master key of that number.
    fn has(&self, master: MasterId) -> bool;

    /// Seals a data key with the active master key. `bound` must be given again to unwrap it.
    async fn wrap(&self, key: &[u8; DATA_KEY_BYTES], bound: &[u8]) -> Result<Wrapped, SealError>;

    /// Opens a data key. Never gives another key than was wrapped.
    ///
    /// # Errors
    /// [`SealError::MissingMaster`] when it has no such master key, [`SealError::WrongMaster`] when
    /// that is another one, or what is wrapped was changed or bound to something else.
    async fn unwrap(
        &self,
        wrapped: &Wrapped,
        bound: &[u8],
    ) -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, SealError>;
}
