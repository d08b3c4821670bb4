//! A world that keeps media in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::frame::ErrorCode;
use im_core::model::{BlobFound, BlobId, ConversationId, FactTable, Seq, Timestamp};
use im_core::port::{Content, FactQuery, PortError, Probe, Probed, Store as _};
use im_node::{Media, MediaPorts, MediaSettings, NewUpload};
use im_testkit::memory::{MemoryBlobs, TestInspect};

use crate::service::kit::{World, user};

/// Often enough that no test waits long.
pub(super) const OFTEN: Duration = Duration::from_millis(5);
/// Longer than anything that is due takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Takes a blob for what its first word says.
#[derive(Debug)]
struct FirstWord;

#[async_trait]
impl Probe for FirstWord {
    async fn probe(&self, content: &Content) -> Result<Probed, PortError> {
        let head = content.read(0, 64).await?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut found = BlobFound {
            mime: BlobFound::UNKNOWN.to_owned(),
            ..BlobFound::default()
        };
        match head.split(' ').next() {
            Some("picture") => {
                found.mime = "image/png".to_owned();
                (found.width, found.height) = (Some(3), Some(4));
                found.thumb = Some("image/jpeg".to_owned());
            }
            Some("voice") => {
                found.mime = "audio/ogg".to_owned();
                found.duration_ms = Some(5);
            }
            _ => {}
        }
        let thumb = found.thumb.is_some().then(|| Bytes::from_static(b"small"));
        Ok(Probed { found, thumb })
    }
}

/// A world that keeps media.
pub(super) struct Shelf {
    pub(super) world: World,
    pub(super) media: Media,
    pub(super) blobs: Arc<MemoryBlobs>,
    pub(super) inspect: Arc<TestInspect>,
}

impl Shelf {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(set: impl FnOnce(&mut MediaSettings)) -> Self {
        let (blobs, inspect) = (
            Arc::new(MemoryBlobs::new()),
            Arc::new(TestInspect::default()),
        );
        let ports = ports(&blobs, &inspect);
        let world = World::built(
            |settings| {
                settings.due = OFTEN;
                set(&mut settings.media);
            },
            |builder| builder.media(ports),
        );
        let world = world.await;
        let media = world.node.media().unwrap();
        Self {
            world,
            media,
            blobs,
            inspect,
        }
    }

    pub(super) async fn create(&self, who: &str, size: usize) -> Result<BlobId, ErrorCode> {
        let new = NewUpload {
            size: size as u64,
            name: "../a\0b.bin".to_owned(),
            said: Some("image/png".to_owned()),
            sha256: None,
            by_url: false,
        };
        let created = self.media.create(&user(who), new).await;
        created.map_err(|failure| failure.code)
    }

    /// Sends a piece.
    pub(super) async fn piece(
        &self,
        who: &str,
        id: BlobId,
        offset: usize,
        bytes: &[u8],
    ) -> Result<u64, ErrorCode> {
        piece(&self.media, who, id, offset, bytes).await
    }

    pub(super) async fn finish(&self, who: &str, id: BlobId) -> Result<(), ErrorCode> {
        let finished = self.media.finish(&user(who), id).await;
        finished.map(drop).map_err(|failure| failure.code)
    }

    /// A whole upload.
    pub(super) async fn upload(&self, who: &str, bytes: &[u8]) -> BlobId {
        let id = self.create(who, bytes.len()).await.unwrap();
        self.piece(who, id, 0, bytes).await.unwrap();
        self.finish(who, id).await.unwrap();
        id
    }

    /// What somebody reads.
    pub(super) async fn read(
        &self,
        who: &str,
        id: BlobId,
        conv: Option<&ConversationId>,
    ) -> Result<Bytes, ErrorCode> {
        let opened = self.media.open(&user(who), id, conv, false).await;
        let readable = opened.map_err(|failure| failure.code)?;
        Ok(readable.content.read(0, 1 << 20).await.unwrap())
    }

    pub(super) async fn reads(&self, who: &str, id: BlobId) -> bool {
        match self.read(who, id, None).await {
            Ok(_) => true,
            Err(ErrorCode::NotFound) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Sends a blob to a conversation.
    pub(super) async fn send(
        &self,
        who: &str,
        conv: &ConversationId,
        kind: &str,
        id: BlobId,
    ) -> Result<Seq, ErrorCode> {
        self.world.body(who, conv, &body(kind, id)).await
    }

    /// Waits until nothing of a blob is left: no object, no fact.
    pub(super) async fn gone(&self, id: BlobId) {
        let id = id.to_string();
        until(async || {
            let objects = self.blobs.keys();
            let objects = objects.iter().any(|key| key.as_str().contains(&id));
            !objects
                && self.facts(FactTable::Blob, &id).await
                    + self.facts(FactTable::BlobRef, &id).await
                    == 0
        })
        .await;
    }

    pub(super) async fn facts(&self, table: FactTable, owner: &str) -> usize {
        let query = FactQuery::Of {
            table,
            owner: owner.to_owned(),
            after: None,
            below: None,
            limit: 1_000,
        };
        self.world.store.facts(&query).await.unwrap().len()
    }

    /// What is due in a table, ever.
    pub(super) async fn due(&self, table: FactTable) -> usize {
        let query = FactQuery::Due {
            table,
            until: Timestamp(i64::MAX),
            limit: 100,
        };
        self.world.store.facts(&query).await.unwrap().len()
    }

    /// Bytes and count of a user's uploads.
    pub(super) async fn usage(&self, who: &str) -> (i64, i64) {
        let usage = self.world.call(who, "media.usage", "{}").await.unwrap();
        let field = |name| {
            usage
                .get(name)
                .and_then(im_core::model::Value::as_int)
                .unwrap()
        };
        (field("bytes"), field("count"))
    }
}

pub(super) async fn piece(
    media: &Media,
    who: &str,
    id: BlobId,
    offset: usize,
    bytes: &[u8],
) -> Result<u64, ErrorCode> {
    let code = |failure: im_core::frame::Failure| failure.code;
    let receiving = media.receive(&user(who), id, offset as u64, false).await;
    let mut receiving = receiving.map_err(code)?;
    if let Err(failure) = receiving.push(Bytes::copy_from_slice(bytes)).await {
        receiving.discard().await;
        return Err(failure.code);
    }
    let upload = receiving.commit().await.map_err(code)?;
    Ok(upload.offset())
}

pub(super) fn ports(blobs: &Arc<MemoryBlobs>, inspect: &Arc<TestInspect>) -> MediaPorts {
    MediaPorts {
        blobs: Arc::clone(blobs) as _,
        probe: Some(Arc::new(FirstWord)),
        inspect: Some(Arc::clone(inspect) as _),
    }
}

pub(super) fn body(kind: &str, id: BlobId) -> String {
    format!(r#"{{"kind":"{kind}","blob":"{id}","name":"n","size":1,"mime":"a/b"}}"#)
}

/// Waits until it is so.
pub(super) async fn until(is: impl AsyncFn() -> bool) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}
