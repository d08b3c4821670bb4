//! An upload that is whole becomes a blob: it is joined, summed, judged, looked into, and noted.
//! Every step can be done again, so whoever finds one half-way goes on.

use std::time::Duration;

use bytes::Bytes;
use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Blob, BlobId, BlobState, Fact, Upload, UploadState, UserId};
use im_core::port::{
    Content, Judgement, ObjectKey, PortError, PortErrorKind, Probed, Put, READ_BYTES_MAX, Suspect,
    Was, Write,
};
use sha2::{Digest as _, Sha256};

use super::{Media, Parts, blob_key, busy_changing, millis, no_blob};
use crate::appender::{busy, port_failure};
use crate::node::Inner;
use crate::service::put_on;

/// How long it may take to find out what is in a blob.
const PROBE_DEADLINE: Duration = Duration::from_secs(60);
/// The longest reason kept, in characters.
const WHY_CHARS_MAX: usize = 200;
/// Objects removed at once.
const CLEAR_PAGE: usize = 500;
/// How often a page of objects is removed: more than an upload can have.
const CLEAR_PAGES_MAX: usize = 10;

/// Keeps a second look at the same upload away, on this node.
struct Looking<'a> {
    parts: &'a Parts,
    id: BlobId,
}

impl<'a> Looking<'a> {
    fn enter(parts: &'a Parts, id: BlobId) -> Result<Self, Failure> {
        if !parts.finishing.lock().insert(id) {
            return Err(busy());
        }
        Ok(Self { parts, id })
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.parts.finishing.lock().remove(&self.id);
    }
}

impl Media {
    /// Makes a blob of an upload whose bytes are all there. Done before: that blob.
    ///
    /// # Errors
    /// `conflict` when bytes are missing; `rejected` when it is not what was said or was judged
    /// bad; with `retry_after_ms` when something is away: the node tries again by itself as well.
    pub async fn finish(&self, user: &UserId, id: BlobId) -> Result<Blob, Failure> {
        self.inner.finish(user, id).await
    }
}

impl Inner {
    pub(crate) async fn finish(&self, user: &UserId, id: BlobId) -> Result<Blob, Failure> {
        let parts = self.media()?;
        let (fact, upload) = self.upload(user, id).await?;
        match &upload.state {
            UploadState::Refused(why) => return Err(Failure::new(ErrorCode::Rejected, why)),
            UploadState::Done => return Ok(self.blob(id).await?.ok_or_else(no_blob)?.1),
            UploadState::Open => {}
        }
        let _looking = Looking::enter(parts, id)?;
        if let Some((_, blob)) = self.blob(id).await? {
            self.done(user, &fact, &upload, id).await?;
            return Ok(blob);
        }
        self.join(parts, id, &fact, &upload).await?;
        let key = ObjectKey::blob(id);
        let content = Content::new(std::sync::Arc::clone(&parts.ports.blobs), key, upload.size);
        let sha256 = sum(&content).await.map_err(|error| port_failure(&error))?;
        if upload.sha256.as_ref().is_some_and(|said| *said != sha256) {
            return self
                .refuse(&fact, &upload, id, "its checksum is another")
                .await;
        }
        let suspect = Suspect {
            id,
            owner: user,
            name: &upload.name,
            sha256: &sha256,
        };
        let state = match self.inspected(parts, suspect, &content).await? {
            Judgement::Allow => BlobState::Good,
            Judgement::Quarantine(why) => BlobState::Quarantined(shortened(&why)),
            Judgement::Refuse(why) => return self.refuse(&fact, &upload, id, &why).await,
        };
        let probed = self.look_into(parts, &content).await?;
        if let Some(thumb) = probed.thumb {
            let put = parts.ports.blobs.put(&ObjectKey::thumb(id), thumb).await;
            put.map_err(|error| port_failure(&error))?;
        }
        let blob = Blob {
            owner: user.clone(),
            size: upload.size,
            name: upload.name.clone(),
            found: probed.found,
            sha256,
            state,
            named: 0,
            at: self.clock.timestamp(),
        };
        let blob = self.note_blob(id, blob).await?;
        self.done(user, &fact, &upload, id).await?;
        metrics::counter!("im_blobs_total").increment(1);
        Ok(blob)
    }

    /// One object of all parts, if they are what was said.
    async fn join(
        &self,
        parts: &Parts,
        id: BlobId,
        fact: &Fact,
        upload: &Upload,
    ) -> Result<(), Failure> {
        let blobs = &parts.ports.blobs;
        let missing = || Failure::new(ErrorCode::Conflict, "bytes are missing");
        let pieces = if upload.by_url {
            let key = ObjectKey::by_url(id);
            let size = blobs
                .size(&key)
                .await
                .map_err(|error| port_failure(&error))?;
            match size {
                None => return Err(missing()),
                Some(size) if size != upload.size => {
                    let refused = self.refuse(fact, upload, id, "its size is another").await;
                    return refused.map(drop);
                }
                Some(_) => vec![key],
            }
        } else {
            if upload.offset() != upload.size {
                return Err(missing());
            }
            let key = |part: &im_core::model::UploadPart| ObjectKey::part(id, part.number);
            upload.parts.iter().map(key).collect()
        };
        let key = ObjectKey::blob(id);
        let made = if pieces.is_empty() {
            blobs.put(&key, Bytes::new()).await
        } else {
            blobs.join(&key, &pieces).await
        };
        made.map_err(|error| {
            tracing::warn!(%error, "an upload can't be joined now");
            port_failure(&error)
        })
    }

    async fn inspected(
        &self,
        parts: &Parts,
        suspect: Suspect<'_>,
        content: &Content,
    ) -> Result<Judgement, Failure> {
        let Some(inspect) = &parts.ports.inspect else {
            return Ok(Judgement::Allow);
        };
        let deadline = self.settings.media.inspect_deadline;
        let judged = tokio::time::timeout(deadline, inspect.inspect(suspect, content)).await;
        let late = || PortError::new(PortErrorKind::Unavailable);
        judged.unwrap_or_else(|_| Err(late())).map_err(|error| {
            tracing::warn!(%error, "an upload can't be judged now");
            port_failure(&error)
        })
    }

    async fn look_into(&self, parts: &Parts, content: &Content) -> Result<Probed, Failure> {
        let mut probed = Probed::default();
        if let Some(probe) = &parts.ports.probe {
            let looked = tokio::time::timeout(PROBE_DEADLINE, probe.probe(content)).await;
            // What takes too long to look into is a file like any other.
            if let Ok(found) = looked {
                probed = found.map_err(|error| port_failure(&error))?;
            }
        }
        if probed.found.mime.is_empty() {
            im_core::model::BlobFound::UNKNOWN.clone_into(&mut probed.found.mime);
        }
        Ok(probed)
    }

    /// Notes a blob; if somebody did before, that one.
    async fn note_blob(&self, id: BlobId, blob: Blob) -> Result<Blob, Failure> {
        let settings = &self.settings.media;
        let wait = match blob.state {
            BlobState::Quarantined(_) => settings.quarantine,
            _ => settings.unnamed,
        };
        let put = Write::Put(Put {
            key: blob_key(id),
            to: Some((blob.to_json(), Some(blob.at.plus_ms(millis(wait))))),
            was: Was::Absent,
        });
        if self.commit_blob(id, vec![put]).await?.is_some() {
            return Ok(blob);
        }
        Ok(self.blob(id).await?.ok_or_else(no_blob)?.1)
    }

    /// The upload is a blob now: its parts go.
    async fn done(
        &self,
        user: &UserId,
        fact: &Fact,
        upload: &Upload,
        id: BlobId,
    ) -> Result<(), Failure> {
        self.clear_upload(id).await?;
        let done = Upload {
            parts: Vec::new(),
            state: UploadState::Done,
            ..upload.clone()
        };
        let writes = vec![put_on(fact, Some((done.to_json(), None)))];
        // Somebody else noted it if it is not what was read.
        let committed = self.commit_own(user, writes).await;
        committed
            .map(drop)
            .map_err(|rejected| crate::appender::failure(&rejected))
    }

    /// The upload becomes no blob, and takes no room.
    async fn refuse(
        &self,
        fact: &Fact,
        upload: &Upload,
        id: BlobId,
        why: &str,
    ) -> Result<Blob, Failure> {
        let why = shortened(why);
        let owner = UserId::new(fact.key.owner.clone());
        let owner = owner.map_err(|_| busy_changing())?;
        let refused = Upload {
            parts: Vec::new(),
            state: UploadState::Refused(why.clone()),
            ..upload.clone()
        };
        let wait = millis(self.settings.media.upload);
        let at = Some(self.clock.timestamp().plus_ms(wait));
        let to = Some((refused.to_json(), at));
        self.clear_upload(id).await?;
        self.clear_blob(id).await?;
        self.give_room(&owner, fact, upload.size, to).await?;
        metrics::counter!("im_blobs_refused_total").increment(1);
        Err(Failure::new(ErrorCode::Rejected, why))
    }

    /// Removes all that an upload has brought.
    pub(super) async fn clear_upload(&self, id: BlobId) -> Result<(), Failure> {
        let blobs = &self.media()?.ports.blobs;
        let below = ObjectKey::upload(id);
        for _ in 0..CLEAR_PAGES_MAX {
            let listed = blobs.list(&below, CLEAR_PAGE).await;
            let keys = listed.map_err(|error| port_failure(&error))?;
            for key in &keys {
                let removed = blobs.remove(key).await;
                removed.map_err(|error| port_failure(&error))?;
            }
            if keys.len() < CLEAR_PAGE {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Removes a blob's objects.
    pub(super) async fn clear_blob(&self, id: BlobId) -> Result<(), Failure> {
        let blobs = &self.media()?.ports.blobs;
        for key in [ObjectKey::thumb(id), ObjectKey::blob(id)] {
            let removed = blobs.remove(&key).await;
            removed.map_err(|error| port_failure(&error))?;
        }
        Ok(())
    }
}

/// SHA-256 of the whole, in hexadecimal.
async fn sum(content: &Content) -> Result<String, PortError> {
    let mut hash = Sha256::new();
    let mut from = 0;
    while from < content.size() {
        let bytes = content.read(from, READ_BYTES_MAX).await?;
        hash.update(&bytes);
        from += bytes.len() as u64;
    }
    Ok(super::hex(&hash.finalize()))
}

fn shortened(why: &str) -> String {
    why.chars().take(WHY_CHARS_MAX).collect()
}
