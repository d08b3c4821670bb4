//! Bytes of an upload as they come: gathered into parts, each an object, and noted in the upload.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use im_core::frame::{ErrorCode, Failure};
use im_core::model::{BlobId, Fact, Upload, UploadPart, UploadState, UserId};
use im_core::port::ObjectKey;

use super::{
    Media, PART_BYTES, PARTS_MAX, Parts, UPLOADS_OF_USER_MAX, millis, no_blob, upload_key,
};
use crate::appender::{busy, failure, port_failure};
use crate::node::Inner;
use crate::service::put_on;

/// How long an upload that is whole may wait before it is looked at again by whoever finds it.
const WHOLE_MS: u64 = 60_000;

/// A user's place among those whose uploads come now.
#[derive(Debug)]
struct Coming {
    inner: Arc<Inner>,
    user: UserId,
}

impl Coming {
    fn enter(inner: &Arc<Inner>, parts: &Parts, user: &UserId) -> Result<Self, Failure> {
        let mut coming = parts.coming.lock();
        let all: usize = coming.values().sum();
        let own = coming.get(user).copied().unwrap_or(0);
        if all >= inner.settings.media.uploads_max || own >= UPLOADS_OF_USER_MAX {
            return Err(busy());
        }
        coming.insert(user.clone(), own + 1);
        Ok(Self {
            inner: Arc::clone(inner),
            user: user.clone(),
        })
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let Some(parts) = &self.inner.media else {
            return;
        };
        let mut coming = parts.coming.lock();
        match coming.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                coming.remove(&self.user);
            }
        }
    }
}

/// A piece of an upload that comes now.
#[derive(Debug)]
pub struct Receiving {
    inner: Arc<Inner>,
    user: UserId,
    id: BlobId,
    fact: Fact,
    upload: Upload,
    /// Written and not noted yet.
    staged: Vec<UploadPart>,
    buffer: BytesMut,
    /// Nothing is noted before the end.
    is_whole: bool,
    _place: Coming,
}

impl Media {
    /// Begins to receive a piece. With `is_whole` it counts as a whole or not at all; else what has
    /// come is kept when the rest does not.
    ///
    /// # Errors
    /// `not_found` when there is no such upload of this user's; `conflict` when it does not go on
    /// at `offset`, or is over; `busy` when too many come at once.
    pub async fn receive(
        &self,
        user: &UserId,
        id: BlobId,
        offset: u64,
        is_whole: bool,
    ) -> Result<Receiving, Failure> {
        let inner = &self.inner;
        let place = Coming::enter(inner, inner.media()?, user)?;
        let (fact, upload) = inner.upload(user, id).await?;
        let conflict = |words: &str| Err(Failure::new(ErrorCode::Conflict, words));
        if upload.state != UploadState::Open || upload.by_url {
            return conflict("this upload takes no pieces");
        }
        if upload.offset() != offset {
            return conflict("the upload goes on elsewhere");
        }
        Ok(Receiving {
            inner: Arc::clone(inner),
            user: user.clone(),
            id,
            fact,
            upload,
            staged: Vec::new(),
            buffer: BytesMut::new(),
            is_whole,
            _place: place,
        })
    }
}

impl Receiving {
    /// How many bytes may still come.
    #[must_use]
    pub fn left(&self) -> u64 {
        let staged: u64 = self.staged.iter().map(|part| part.size).sum();
        let have = self.upload.offset() + staged + self.buffer.len() as u64;
        self.upload.size.saturating_sub(have)
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// `too_large` when there are more than were said; what the storage says; `conflict` when
    /// another piece came between.
    pub async fn push(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        if bytes.len() as u64 > self.left() {
            let words = "more bytes than were said";
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        while !bytes.is_empty() {
            let room = PART_BYTES.saturating_sub(self.buffer.len());
            let now = bytes.split_to(room.min(bytes.len()));
            self.buffer.extend_from_slice(&now);
            if self.buffer.len() >= PART_BYTES {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Writes what was gathered as a part.
    async fn write(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.upload.parts.len() + self.staged.len() >= PARTS_MAX {
            let words = "in too many small pieces";
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let part = UploadPart {
            // No other piece has this number, so none that comes at the same time is overwritten.
            number: self.inner.ids.next().0,
            size: bytes.len() as u64,
        };
        // Noted before it is there, so that it is removed if it fails half-way.
        self.staged.push(part);
        let key = ObjectKey::part(self.id, part.number);
        let put = self.inner.media()?.ports.blobs.put(&key, bytes).await;
        if let Err(error) = put {
            tracing::warn!(%error, "a part of an upload can't be written");
            self.staged.pop();
            return Err(port_failure(&error));
        }
        if self.is_whole {
            return Ok(());
        }
        self.note().await
    }

    /// Notes what was written.
    async fn note(&mut self) -> Result<(), Failure> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut upload = self.upload.clone();
        upload.parts.extend(&self.staged);
        let wait = if upload.offset() == upload.size {
            WHOLE_MS
        } else {
            millis(self.inner.settings.media.upload)
        };
        let at = Some(self.inner.clock.timestamp().plus_ms(wait));
        let json = upload.to_json();
        let writes = vec![put_on(&self.fact, Some((json.clone(), at)))];
        let committed = self.inner.commit_own(&self.user, writes).await;
        if committed.is_err() {
            // It may have been noted all the same, so the objects stay. What is not noted goes
            // with the upload.
            self.staged.clear();
        }
        if committed.map_err(|rejected| failure(&rejected))?.is_none() {
            let words = "another piece came between";
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        self.fact.value = json;
        self.fact.at = at;
        self.upload = upload;
        self.staged.clear();
        Ok(())
    }

    /// The piece has ended: what has come is kept.
    ///
    /// # Errors
    /// As for [`push`](Self::push). Nothing of it is kept then that was not kept before.
    pub async fn commit(mut self) -> Result<Upload, Failure> {
        let kept = match self.write().await {
            Ok(()) => self.note().await,
            Err(failure) => Err(failure),
        };
        match kept {
            Ok(()) => Ok(self.upload),
            Err(failure) => {
                self.discard().await;
                Err(failure)
            }
        }
    }

    /// The piece does not count, but for what was kept already.
    pub async fn discard(self) {
        for part in &self.staged {
            let key = ObjectKey::part(self.id, part.number);
            self.inner.forget(&key).await;
        }
    }
}

impl Inner {
    /// An upload of this user's.
    pub(crate) async fn upload(
        &self,
        user: &UserId,
        id: BlobId,
    ) -> Result<(Fact, Upload), Failure> {
        self.media()?;
        let fact = self.fact(&upload_key(user, id)).await?;
        let fact = fact.ok_or_else(no_blob)?;
        let upload = Upload::read(&fact.value).ok_or_else(no_blob)?;
        Ok((fact, upload))
    }

    /// Removes an object that nothing names. If that fails, its upload's end removes it.
    pub(super) async fn forget(&self, key: &ObjectKey) {
        let Some(parts) = &self.media else { return };
        if let Err(error) = parts.ports.blobs.remove(key).await {
            tracing::warn!(%error, "an object can't be removed now");
        }
    }
}
