//! Messages that name blobs: may their sender, and what is noted beside the blob.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Blob, BlobId, BlobState, Body, CmId, ConversationId, Entry, FactKey, FactTable, Kind, Seq,
    Timestamp, UserId,
};
use im_core::port::{Put, Was, Write};
use im_core::rule::{BLOBS_MAX, named_blobs, suits, with_found};

use super::access::Named;
use super::{TRIES_MAX, busy_changing, no_blob};
use crate::node::Inner;
use crate::service::{put_on, set};

/// How long a message may be on its way after its blobs were noted, in milliseconds. Commits give
/// up far sooner.
pub(super) const ON_ITS_WAY_MS: u64 = 10 * 60_000;

impl Inner {
    /// The body of a message to be sent, with the server's word on the blobs that it names. That
    /// it names them is noted before it is sent: so no blob is collected that a message names.
    /// `until` is when it is sent at the latest.
    pub(crate) async fn attach(
        &self,
        user: &UserId,
        conv: &ConversationId,
        cm_id: &CmId,
        body: Body,
        until: Timestamp,
    ) -> Result<Body, Failure> {
        // Without a storage, ids of blobs are the app's own.
        if self.media.is_none() {
            return Ok(body);
        }
        let named_there = named_blobs(&body);
        if named_there.len() > BLOBS_MAX {
            let words = format!("body: names more than {BLOBS_MAX} blobs");
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let mut out = body;
        for (at, (name, kind)) in named_there.into_iter().enumerate() {
            let id = BlobId::parse(&name).ok_or_else(no_blob)?;
            let named = Named {
                conv: conv.clone(),
                from: user.clone(),
                cm_id: cm_id.clone(),
                until: until.plus_ms(ON_ITS_WAY_MS),
            };
            let blob = self.refer(user, id, kind, &named).await?;
            if at == 0 {
                out = with_found(&out, &blob);
            }
        }
        Ok(out)
    }

    async fn refer(
        &self,
        user: &UserId,
        id: BlobId,
        kind: Kind,
        named: &Named,
    ) -> Result<Blob, Failure> {
        for _ in 0..TRIES_MAX {
            let (fact, mut blob) = self.blob(id).await?.ok_or_else(no_blob)?;
            if blob.state != BlobState::Good {
                return Err(no_blob());
            }
            self.may_read(user, id, &blob, None).await?;
            if !suits(&blob, kind) {
                let words = format!("body.blob: is no {}", kind.as_str());
                return Err(Failure::new(ErrorCode::BadFrame, words));
            }
            // Who decides meanwhile that nobody needs it sees another number, and looks again.
            blob.named = blob.named.saturating_add(1);
            let writes = vec![
                put_on(&fact, Some((blob.to_json(), fact.at))),
                set(named.key(id), named.to_json()),
            ];
            if self.commit_blob(id, writes).await?.is_some() {
                return Ok(blob);
            }
        }
        Err(busy_changing())
    }
}

/// What finds the blobs of a message that is taken away, in the same commit.
pub(crate) fn gone_with(entry: &Entry, now: Timestamp) -> Vec<Write> {
    let note = |(name, _): (String, Kind)| {
        BlobId::parse(&name)?;
        Some(Write::Put(Put {
            key: gone_key(&entry.conv, &name, entry.seq),
            to: Some(("true".to_owned(), Some(now))),
            was: Was::Any,
        }))
    };
    let names = named_blobs(&entry.body);
    names.into_iter().filter_map(note).collect()
}

fn gone_key(conv: &ConversationId, blob: &str, seq: Seq) -> FactKey {
    let key = format!("{blob}\n{:016x}", seq.0);
    FactKey::new(FactTable::BlobGone, conv.as_str(), key)
}

/// Which blob such a note is about.
pub(super) fn gone_blob(key: &str) -> Option<BlobId> {
    key.split_once('\n')
        .and_then(|(blob, _)| BlobId::parse(blob))
}
