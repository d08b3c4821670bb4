//! How much a user's uploads take. It stands beside them, and changes with them in one commit.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{BlobId, Fact, FactKey, FactTable, Timestamp, Upload, UserId, Value};
use im_core::port::{Put, Rejected, Was, Write};

use super::{TRIES_MAX, busy_changing, upload_key};
use crate::appender::failure;
use crate::node::Inner;
use crate::service::put_on;

/// What a user's uploads and blobs take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes, of unfinished uploads as they were said.
    pub(crate) bytes: u64,
    /// How many.
    pub(crate) count: u64,
}

impl Usage {
    fn read(fact: Option<&Fact>) -> Self {
        let value = fact.and_then(|fact| Value::from_json(&fact.value).ok());
        let field = |name: &str| {
            let number = value.as_ref()?.get(name)?.as_int()?;
            u64::try_from(number).ok()
        };
        Self {
            bytes: field("bytes").unwrap_or(0),
            count: field("count").unwrap_or(0),
        }
    }

    fn put(self, key: FactKey, read: Option<Fact>) -> Write {
        let value = Value::object([
            ("bytes", Value::from(self.bytes)),
            ("count", self.count.into()),
        ]);
        Write::Put(Put {
            key,
            to: Some((value.to_json(), None)),
            was: read.map_or(Was::Absent, |fact| Was::Value(fact.value)),
        })
    }
}

fn usage_key(user: &UserId) -> FactKey {
    FactKey::new(FactTable::Usage, user.as_str(), "")
}

impl Inner {
    pub(crate) async fn usage(&self, user: &UserId) -> Result<Usage, Failure> {
        let fact = self.fact(&usage_key(user)).await?;
        Ok(Usage::read(fact.as_ref()))
    }

    /// Keeps a new upload and takes the room for it, beside the answer if the call has a key.
    /// Gives the answer that an earlier call with that key got.
    pub(crate) async fn take_room(
        &self,
        user: &UserId,
        id: BlobId,
        upload: &Upload,
        record: Option<&Write>,
    ) -> Result<Option<String>, Failure> {
        let settings = &self.settings.media;
        for _ in 0..TRIES_MAX {
            let fact = self.fact(&usage_key(user)).await?;
            let usage = Usage::read(fact.as_ref());
            let usage = Usage {
                bytes: usage.bytes.saturating_add(upload.size),
                count: usage.count.saturating_add(1),
            };
            if usage.bytes > settings.user_bytes_max || usage.count > settings.user_count_max {
                let words = "your uploads would take more than they may";
                return Err(Failure::new(ErrorCode::TooLarge, words));
            }
            let at = upload.at.plus_ms(crate::media::millis(settings.upload));
            let mut writes = vec![
                usage.put(usage_key(user), fact),
                Write::Put(Put {
                    key: upload_key(user, id),
                    to: Some((upload.to_json(), Some(at))),
                    was: Was::Absent,
                }),
            ];
            writes.extend(record.cloned());
            match self.commit_own(user, writes).await {
                Ok(Some(())) => return Ok(None),
                Ok(None) => {}
                Err(Rejected::Done(value)) => return Ok(Some(value)),
                Err(rejected) => return Err(failure(&rejected)),
            }
        }
        Err(busy_changing())
    }

    /// Gives the room of an upload back, and changes or removes it. False when it is no longer
    /// what was read: then somebody else did it.
    pub(super) async fn give_room(
        &self,
        user: &UserId,
        read: &Fact,
        size: u64,
        to: Option<(String, Option<Timestamp>)>,
    ) -> Result<bool, Failure> {
        for _ in 0..TRIES_MAX {
            if self.fact(&read.key).await?.map(|fact| fact.value) != Some(read.value.clone()) {
                return Ok(false);
            }
            let fact = self.fact(&usage_key(user)).await?;
            let usage = Usage::read(fact.as_ref());
            let usage = Usage {
                bytes: usage.bytes.saturating_sub(size),
                count: usage.count.saturating_sub(1),
            };
            let writes = vec![usage.put(usage_key(user), fact), put_on(read, to.clone())];
            let committed = self.commit_own(user, writes).await;
            if committed.map_err(|rejected| failure(&rejected))?.is_some() {
                return Ok(true);
            }
        }
        Err(busy_changing())
    }
}
