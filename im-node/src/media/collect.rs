//! What nobody needs goes: uploads that were not finished, blobs that no message names.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Blob, BlobId, BlobState, Fact, FactTable, Timestamp, Upload, UploadState, UserId,
};
use im_core::port::{FactQuery, Write};

use super::access::{Named, Said};
use super::attach::gone_blob;
use super::{TRIES_MAX, busy_changing, upload_key};
use crate::node::Inner;
use crate::service::{put_on, remove};

/// Notes of messages looked at, and forgotten, at once; the rest a little later.
const NAMED_PAGE: usize = 100;

/// What the notes of a blob came to.
#[derive(Debug)]
enum Need {
    /// A message names it.
    Named,
    /// A message that does may be on its way until then.
    Until(Timestamp),
    /// None does, of those looked at. All were.
    None,
}

impl Inner {
    /// An upload whose time has come: one that is whole is finished, any other ends.
    pub(crate) async fn upload_due(&self, fact: &Fact) -> Result<(), Failure> {
        let id = BlobId::parse(&fact.key.key);
        let owner = UserId::new(fact.key.owner.clone()).ok();
        let (Some(id), Some(owner), Some(upload)) = (id, owner, Upload::read(&fact.value)) else {
            return self.end(fact, Vec::new()).await;
        };
        match upload.state {
            UploadState::Open if upload.size == upload.offset() && !upload.by_url => {
                match self.finish(&owner, id).await {
                    // It was told to whoever asks, and is refused from now on.
                    Err(failure) if failure.code == ErrorCode::Rejected => Ok(()),
                    finished => finished.map(drop),
                }
            }
            UploadState::Open => {
                self.clear_upload(id).await?;
                self.give_room(&owner, fact, upload.size, None).await?;
                Ok(())
            }
            UploadState::Done => self.end_keeping(fact).await,
            UploadState::Refused(_) => self.end(fact, Vec::new()).await,
        }
    }

    /// The fact stays, and nothing is due with it.
    async fn end_keeping(&self, fact: &Fact) -> Result<(), Failure> {
        let kept = put_on(fact, Some((fact.value.clone(), None)));
        self.commit_due(fact, vec![kept]).await.map(drop)
    }

    /// A message that named a blob is gone: is the blob needed still?
    pub(crate) async fn blob_gone(&self, fact: &Fact) -> Result<(), Failure> {
        if let Some(id) = gone_blob(&fact.key.key) {
            self.look_again(id).await?;
        }
        self.end(fact, Vec::new()).await
    }

    async fn look_again(&self, id: BlobId) -> Result<(), Failure> {
        for _ in 0..TRIES_MAX {
            let Some((fact, blob)) = self.blob(id).await? else {
                return Ok(());
            };
            if blob.state != BlobState::Good {
                return Ok(());
            }
            let now = self.clock.timestamp();
            let writes = vec![put_on(&fact, Some((fact.value.clone(), Some(now))))];
            if self.commit_blob(id, writes).await?.is_some() {
                return Ok(());
            }
        }
        Err(busy_changing())
    }

    /// A blob at which somebody must look.
    pub(crate) async fn blob_due(&self, fact: &Fact) -> Result<(), Failure> {
        let (Some(id), Some(blob)) = (BlobId::parse(&fact.key.owner), Blob::read(&fact.value))
        else {
            return self.end(fact, Vec::new()).await;
        };
        if blob.state == BlobState::Good {
            let (need, dead) = self.need(id).await?;
            let at = match need {
                Need::Named => None,
                Need::Until(at) => Some(at),
                Need::None => {
                    return self.take_away(id, fact, blob).await;
                }
            };
            let mut writes: Vec<Write> = dead;
            writes.push(put_on(fact, Some((fact.value.clone(), at))));
            return self.commit_due(fact, writes).await.map(drop);
        }
        self.take_away(id, fact, blob).await
    }

    /// Whether a message names a blob, and the notes that say nothing more.
    async fn need(&self, id: BlobId) -> Result<(Need, Vec<Write>), Failure> {
        let query = FactQuery::Of {
            table: FactTable::BlobRef,
            owner: id.to_string(),
            after: None,
            below: None,
            limit: NAMED_PAGE,
        };
        let facts = self.facts(&query).await?;
        let now = self.clock.timestamp();
        let (mut need, mut dead) = (Need::None, Vec::new());
        for fact in &facts {
            let Some(named) = Named::read(fact) else {
                dead.push(remove(fact.key.clone()));
                continue;
            };
            match self.said(id, &named).await? {
                Said::Names(_) => return Ok((Need::Named, dead)),
                Said::Nothing if named.until > now => need = Need::Until(named.until),
                Said::Nothing | Said::Gone => dead.push(remove(fact.key.clone())),
            }
        }
        if facts.len() == NAMED_PAGE && matches!(need, Need::None) {
            need = Need::Until(now);
        }
        Ok((need, dead))
    }

    /// Removes a blob: first nobody reads or names it, then it goes, then its upload, then the
    /// note. Whoever finds it half-way goes on.
    async fn take_away(&self, id: BlobId, fact: &Fact, mut blob: Blob) -> Result<(), Failure> {
        let mut read = fact.clone();
        if blob.state != BlobState::Gone {
            blob.state = BlobState::Gone;
            let to = (blob.to_json(), Some(self.clock.timestamp()));
            let marked = put_on(fact, Some(to.clone()));
            if !self.commit_due(fact, vec![marked]).await? {
                return Ok(());
            }
            (read.value, read.at) = to;
        }
        self.clear_blob(id).await?;
        let key = upload_key(&blob.owner, id);
        if let Some(upload) = self.fact(&key).await? {
            self.give_room(&blob.owner, &upload, blob.size, None)
                .await?;
        }
        let (_, dead) = self.need(id).await?;
        metrics::counter!("im_blobs_collected_total").increment(1);
        self.end(&read, dead).await
    }

    /// Ends an upload of this user's, or removes a blob that no message names.
    pub(crate) async fn remove_upload(&self, user: &UserId, id: BlobId) -> Result<(), Failure> {
        let (fact, upload) = self.upload(user, id).await?;
        if let Some((read, blob)) = self.blob(id).await? {
            if blob.state == BlobState::Gone {
                return Ok(());
            }
            if let Need::Named | Need::Until(_) = self.need(id).await?.0 {
                return Err(Failure::new(ErrorCode::Conflict, "a message names it"));
            }
            return self.take_away(id, &read, blob).await;
        }
        self.clear_upload(id).await?;
        match upload.state {
            UploadState::Refused(_) => self.end(&fact, Vec::new()).await,
            _ => {
                self.give_room(user, &fact, upload.size, None).await?;
                self.clear_blob(id).await
            }
        }
    }

    /// An operator has decided on a blob in quarantine: it is good, or it goes.
    pub(crate) async fn decide_blob(&self, id: BlobId, is_good: bool) -> Result<(), Failure> {
        let (fact, mut blob) = self.blob(id).await?.ok_or_else(super::no_blob)?;
        if !matches!(blob.state, BlobState::Quarantined(_)) {
            let words = "it is not in quarantine";
            return Err(Failure::new(ErrorCode::Conflict, words));
        }
        if !is_good {
            return self.take_away(id, &fact, blob).await;
        }
        blob.state = BlobState::Good;
        let wait = super::millis(self.settings.media.unnamed);
        let at = self.clock.timestamp().plus_ms(wait);
        let writes = vec![put_on(&fact, Some((blob.to_json(), Some(at))))];
        let committed = self.commit_blob(id, writes).await?;
        committed.ok_or_else(busy_changing)
    }
}

impl super::Media {
    /// An operator's word on a blob in quarantine: it is good, or it goes.
    ///
    /// # Errors
    /// `not_found` when there is no such blob, `conflict` when it is not in quarantine.
    pub async fn decide(&self, id: BlobId, is_good: bool) -> Result<(), Failure> {
        self.inner.decide_blob(id, is_good).await
    }
}
