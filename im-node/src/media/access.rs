//! Who may read a blob: its uploader, and who may read a message that names it.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Blob, BlobId, BlobState, CmId, ConversationId, Fact, FactKey, FactTable, Seq, Timestamp,
    UserId, Value,
};
use im_core::port::{Content, FactQuery, LogQuery, ObjectKey, Signed};
use im_core::rule::{Action, ActorView, authorize, is_shown, names_blob};
use sha2::{Digest as _, Sha256};

use super::{Media, blob_key, hex, no_blob};
use crate::appender::port_failure;
use crate::node::Inner;

/// Messages looked at to find one that lets a user read a blob; who knows the conversation names
/// it and is found sooner.
const LOOKED_MAX: usize = 200;
/// What stands between the parts of a key: no id has it.
const BETWEEN: char = '\n';
/// Above that, so that a range has all keys which begin the same.
const ABOVE_BETWEEN: char = '\u{b}';

/// Where a blob was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) conv: ConversationId,
    pub(super) from: UserId,
    pub(super) cm_id: CmId,
    /// Until then the message may be on its way.
    pub(super) until: Timestamp,
}

impl Named {
    /// Under which key it is kept. Of a message that is sent again it is the same.
    pub(super) fn key(&self, id: BlobId) -> FactKey {
        let mut hash = Sha256::new();
        hash.update(self.from.as_str().as_bytes());
        hash.update([0]);
        hash.update(self.cm_id.as_str().as_bytes());
        let message = hex(&hash.finalize()[..16]);
        let key = format!("{}{BETWEEN}{message}", self.conv.as_str());
        FactKey::new(FactTable::BlobRef, id.to_string(), key)
    }

    pub(super) fn to_json(&self) -> String {
        let value = Value::object([
            ("from", Value::from(self.from.as_str())),
            ("cm_id", self.cm_id.as_str().into()),
            ("until", self.until.0.into()),
        ]);
        value.to_json()
    }

    pub(super) fn read(fact: &Fact) -> Option<Self> {
        let (conv, _) = fact.key.key.split_once(BETWEEN)?;
        let value = Value::from_json(&fact.value).ok()?;
        let text = |field| value.get(field).and_then(Value::as_text);
        Some(Self {
            conv: conv.parse().ok()?,
            from: text("from")?.parse().ok()?,
            cm_id: text("cm_id")?.parse().ok()?,
            until: Timestamp(value.get("until").and_then(Value::as_int)?),
        })
    }
}

/// What became of a message that was to name a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is not there, or not yet.
    Nothing,
    /// It was there, and was taken back or has ended.
    Gone,
    /// It is there, at that place.
    Names(Seq),
}

/// A blob that a user may read.
#[derive(Debug, Clone)]
pub struct Readable {
    /// What is known of it.
    pub blob: Blob,
    /// The bytes, of the blob or of its thumbnail.
    pub content: Content,
    /// Their type.
    pub mime: String,
    /// Whether a browser may show it by itself; else it is saved.
    pub is_shown: bool,
}

impl Media {
    /// Opens a blob, or its thumbnail, for a user. `conv` is where they have it from, if known.
    ///
    /// # Errors
    /// `not_found` when there is no such blob, no thumbnail, or this user may not read it.
    pub async fn open(
        &self,
        user: &UserId,
        id: BlobId,
        conv: Option<&ConversationId>,
        is_thumb: bool,
    ) -> Result<Readable, Failure> {
        let inner = &self.inner;
        let blob = inner.readable(user, id, conv).await?;
        let blobs = std::sync::Arc::clone(&inner.media()?.ports.blobs);
        if !is_thumb {
            return Ok(Readable {
                content: Content::new(blobs, ObjectKey::blob(id), blob.size),
                mime: blob.found.mime.clone(),
                is_shown: is_shown(&blob),
                blob,
            });
        }
        let mime = blob.found.thumb.clone().ok_or_else(no_blob)?;
        let key = ObjectKey::thumb(id);
        let size = blobs.size(&key).await;
        let size = size.map_err(|error| port_failure(&error))?;
        Ok(Readable {
            content: Content::new(blobs, key, size.ok_or_else(no_blob)?),
            mime,
            is_shown: true,
            blob,
        })
    }
}

impl Inner {
    /// What is known of a blob.
    pub(crate) async fn blob(&self, id: BlobId) -> Result<Option<(Fact, Blob)>, Failure> {
        let fact = self.fact(&blob_key(id)).await?;
        Ok(fact.and_then(|fact| Blob::read(&fact.value).map(|blob| (fact, blob))))
    }

    /// A blob that a user may read.
    pub(crate) async fn readable(
        &self,
        user: &UserId,
        id: BlobId,
        conv: Option<&ConversationId>,
    ) -> Result<Blob, Failure> {
        self.media()?;
        let (_, blob) = self.blob(id).await?.ok_or_else(no_blob)?;
        self.may_read(user, id, &blob, conv).await?;
        Ok(blob)
    }

    pub(super) async fn may_read(
        &self,
        user: &UserId,
        id: BlobId,
        blob: &Blob,
        conv: Option<&ConversationId>,
    ) -> Result<(), Failure> {
        match &blob.state {
            BlobState::Good if blob.owner == *user => return Ok(()),
            BlobState::Good => {}
            // Only the uploader is told that there is one.
            BlobState::Quarantined(why) if blob.owner == *user => {
                return Err(Failure::new(ErrorCode::Rejected, why));
            }
            BlobState::Quarantined(_) | BlobState::Gone => return Err(no_blob()),
        }
        let query = FactQuery::Of {
            table: FactTable::BlobRef,
            owner: id.to_string(),
            after: conv.map(|conv| format!("{}{BETWEEN}", conv.as_str())),
            below: conv.map(|conv| format!("{}{ABOVE_BETWEEN}", conv.as_str())),
            limit: LOOKED_MAX,
        };
        let facts = self.facts(&query).await?;
        // They stand by conversation, so each is looked up once.
        let mut last: Option<(ConversationId, Option<(Seq, Seq)>)> = None;
        for named in facts.iter().filter_map(Named::read) {
            let seen = match &last {
                Some((conv, seen)) if *conv == named.conv => *seen,
                _ => self.seen_by(user, &named.conv).await?,
            };
            last = Some((named.conv.clone(), seen));
            let Some((first, end)) = seen else { continue };
            let said = self.said(id, &named).await?;
            if matches!(said, Said::Names(seq) if (first..=end).contains(&seq)) {
                return Ok(());
            }
        }
        Err(no_blob())
    }

    /// The part of a log that a user may read, also after they left.
    async fn seen_by(
        &self,
        user: &UserId,
        conv: &ConversationId,
    ) -> Result<Option<(Seq, Seq)>, Failure> {
        let view = self.view(conv, std::slice::from_ref(user)).await?;
        let Some(view) = view else { return Ok(None) };
        let Some(member) = view.members.first() else {
            return Ok(None);
        };
        let there = &view.conversation;
        let actor = ActorView::of(there, Some(member), self.clock.timestamp());
        if authorize(Action::Pull, actor).is_err() {
            return Ok(None);
        }
        // What is said after the view was read is no less theirs, unless they left.
        let end = member.left_seq.unwrap_or(Seq(u64::MAX));
        Ok(Some((member.first_seq.max(there.first_seq), end)))
    }

    /// What became of a message that was to name a blob.
    pub(super) async fn said(&self, id: BlobId, named: &Named) -> Result<Said, Failure> {
        let query = LogQuery::Sent {
            sender: named.from.clone(),
            cm_id: named.cm_id.clone(),
        };
        let found = self.store.log(&named.conv, query).await;
        let entry = found.map_err(|error| port_failure(&error))?.pop();
        let now = self.clock.timestamp();
        Ok(match entry {
            None => Said::Nothing,
            // What has ended is gone, also before it was erased.
            Some(entry) if entry.expires_at.is_some_and(|at| at <= now) => Said::Gone,
            Some(entry) if names_blob(&entry.body, id) => Said::Names(entry.seq),
            Some(_) => Said::Gone,
        })
    }

    /// A URL by which a user may read a blob for a short time; `None` when the storage signs none.
    pub(crate) async fn link(
        &self,
        user: &UserId,
        id: BlobId,
        conv: Option<&ConversationId>,
    ) -> Result<Option<String>, Failure> {
        self.readable(user, id, conv).await?;
        let blobs = &self.media()?.ports.blobs;
        let ttl = self.settings.media.link;
        let signed = blobs.sign(&ObjectKey::blob(id), Signed::Get, ttl).await;
        signed.map_err(|error| port_failure(&error))
    }
}
