//! Where the bytes of uploads are kept, what is found in them, and who judges them.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::{PortError, PortErrorKind};
use crate::model::{BlobFound, BlobId, UserId};

/// The name of an object: parts of small letters, digits and `-` with `/` between them. So it is
/// a path that leads nowhere else, on every disk and in every storage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 200;

    /// Checks and takes a text; `None` when it is no key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_plain);
        let good = text.len() <= Self::BYTES_MAX && text.split('/').all(is_part);
        good.then(|| Self(text.to_owned()))
    }

    /// A blob, whole.
    #[must_use]
    pub fn blob(id: BlobId) -> Self {
        Self(format!("blob/{id}"))
    }

    /// The thumbnail of a blob.
    #[must_use]
    pub fn thumb(id: BlobId) -> Self {
        Self(format!("thumb/{id}"))
    }

    /// A part of an upload.
    #[must_use]
    pub fn part(id: BlobId, number: u64) -> Self {
        Self(format!("upload/{id}/{number:016x}"))
    }

    /// An upload that comes by a signed URL, in one piece.
    #[must_use]
    pub fn by_url(id: BlobId) -> Self {
        Self(format!("upload/{id}/url"))
    }

    /// What all of an upload's objects stand below.
    #[must_use]
    pub fn upload(id: BlobId) -> Self {
        Self(format!("upload/{id}"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a signed URL lets its holder do with one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// Read it: `GET`.
    Get,
    /// Write it: `PUT`.
    Put,
}

/// Keeps objects. What a write answered is there for good, after a restart too.
#[async_trait]
pub trait Blobs: Debug + Send + Sync + 'static {
    /// Keeps an object of at most [`PUT_BYTES_MAX`] bytes, in place of what was there. Readers see
    /// the old one or the new one, whole.
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), PortError>;

    /// Makes one object of others, in their order. Those stay. One that is missing is
    /// [`Corrupt`](PortErrorKind::Corrupt), and nothing is made.
    async fn join(&self, key: &ObjectKey, parts: &[ObjectKey]) -> Result<(), PortError>;

    /// At most `len` bytes, itself at most [`READ_BYTES_MAX`], from `from` on; fewer only at the
    /// object's end. `None` when there is no such object.
    async fn read(
        &self,
        key: &ObjectKey,
        from: u64,
        len: usize,
    ) -> Result<Option<Bytes>, PortError>;

    /// How many bytes an object has; `None` when there is no such object.
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, PortError>;

    /// Removes an object; one that is not there is passed over.
    async fn remove(&self, key: &ObjectKey) -> Result<(), PortError>;

    /// Some objects whose keys stand below this one (`a/b` below `a`), at most `limit`.
    async fn list(&self, below: &ObjectKey, limit: usize) -> Result<Vec<ObjectKey>, PortError>;

    /// A URL that lets its holder do that with an object for so long; `None` when this storage
    /// signs none.
    async fn sign(
        &self,
        key: &ObjectKey,
        what: Signed,
        ttl: Duration,
    ) -> Result<Option<String>, PortError>;
}

/// The most bytes written at once.
pub const PUT_BYTES_MAX: usize = 8 << 20;
/// The most bytes read at once.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// An object that is read from where one likes.
#[derive(Debug, Clone)]
pub struct Content {
    blobs: Arc<dyn Blobs>,
    key: ObjectKey,
    size: u64,
}

impl Content {
    /// An object of that size.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>, key: ObjectKey, size: u64) -> Self {
        Self { blobs, key, size }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// At most `len` bytes from `from` on, and at most [`READ_BYTES_MAX`]; fewer only at the end.
    ///
    /// # Errors
    /// As the storage's; [`Corrupt`](PortErrorKind::Corrupt) when the object is not there.
    pub async fn read(&self, from: u64, len: usize) -> Result<Bytes, PortError> {
        if from >= self.size || len == 0 {
            return Ok(Bytes::new());
        }
        let left = usize::try_from(self.size - from).unwrap_or(usize::MAX);
        let len = len.min(left).min(READ_BYTES_MAX);
        let read = self.blobs.read(&self.key, from, len).await?;
        let gone = || PortError::new(PortErrorKind::Corrupt);
        read.filter(|bytes| bytes.len() == len).ok_or_else(gone)
    }
}

/// What was found in a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    /// What is kept of it.
    pub found: BlobFound,
    /// The thumbnail, of the type in [`BlobFound::thumb`].
    pub thumb: Option<Bytes>,
}

/// Looks into blobs: what they are, whatever their sender said. Never fails for what is in a blob:
/// what it can't read is [`BlobFound::UNKNOWN`].
#[async_trait]
pub trait Probe: Debug + Send + Sync + 'static {
    /// Looks into a blob.
    async fn probe(&self, content: &Content) -> Result<Probed, PortError>;
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Suspect<'a> {
    /// Its id.
    pub id: BlobId,
    /// Who uploaded it.
    pub owner: &'a UserId,
    /// Its name.
    pub name: &'a str,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: &'a str,
}

/// What an inspection came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It may be read by those who may.
    Allow,
    /// It is removed at once. Its sender is told these words.
    Refuse(String),
    /// It is kept and read by nobody, until an operator decides. Its sender is told these words.
    Quarantine(String),
}

/// The embedder's word on every upload, before anybody can read it: a virus scanner, for example.
/// While it fails, the upload waits and is tried again.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// Judges an upload.
    async fn inspect(
        &self,
        suspect: Suspect<'_>,
        content: &Content,
    ) -> Result<Judgement, PortError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_nowhere_else() {
        for good in ["a", "a/b-0", "blob/b-00000000000000ab"] {
            assert_eq!(ObjectKey::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(ObjectKey::BYTES_MAX + 1);
        for bad in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "A", "a\0", "a b", "é", &long,
        ] {
            assert_eq!(ObjectKey::parse(bad), None, "{bad:?}");
        }
        let id = BlobId::of(u64::MAX);
        for key in [
            ObjectKey::blob(id),
            ObjectKey::thumb(id),
            ObjectKey::part(id, 1),
            ObjectKey::by_url(id),
            ObjectKey::upload(id),
        ] {
            assert_eq!(ObjectKey::parse(key.as_str()), Some(key));
        }
    }
}
