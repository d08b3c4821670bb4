//! Uploads and blobs: how they come, who may read them, and when they go.
//!
//! An upload is a fact of its user, and its bytes are objects. When all of them are there, the
//! upload is looked at and becomes a blob, which is a fact of its own. Who may read a blob is in
//! the log: its uploader, and who may read a message that names it. So what is recalled or ends
//! takes the right with it. Beside each blob stands where it was named, to find those messages.

mod access;
mod attach;
mod collect;
mod finish;
mod receive;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    BlobId, ConversationId, FactKey, FactTable, Upload, UploadState, UserId, place_of,
};
use im_core::port::{Blobs, Commit, Inspect, Probe, Rejected, Write};
use im_core::rule::harmless_name;
use parking_lot::Mutex;

use crate::appender::failure;
use crate::node::{Inner, Node};

pub use access::Readable;
pub(crate) use attach::gone_with;
pub use receive::Receiving;

/// How often a change is tried again because another one came between.
const TRIES_MAX: u32 = 8;
/// The most parts of an upload. An upload is larger only in larger pieces.
pub const PARTS_MAX: usize = 1_000;
/// Bytes of a part, but for the last of each piece that a client sends.
pub const PART_BYTES: usize = 4 << 20;
/// SHA-256 in hexadecimal.
const SHA256_CHARS: usize = 64;
/// The longest type that a client may call an upload.
const SAID_CHARS_MAX: usize = 127;
/// How many uploads of one user come at once on a node; further ones are `busy`.
const UPLOADS_OF_USER_MAX: usize = 8;

/// What media need of the world.
#[derive(Debug, Clone)]
pub struct MediaPorts {
    /// Where the bytes are.
    pub blobs: Arc<dyn Blobs>,
    /// What looks into them. Without it every blob is a file of an unknown type.
    pub probe: Option<Arc<dyn Probe>>,
    /// What judges them. Without it all are good.
    pub inspect: Option<Arc<dyn Inspect>>,
}

impl MediaPorts {
    /// A storage, and nothing that looks into what it holds.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>) -> Self {
        Self {
            blobs,
            probe: None,
            inspect: None,
        }
    }
}

/// The media part of a node.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) ports: MediaPorts,
    /// How many uploads of each user come now.
    coming: Mutex<BTreeMap<UserId, usize>>,
    /// Those that are looked at now.
    finishing: Mutex<BTreeSet<BlobId>>,
}

impl Parts {
    pub(crate) fn new(ports: MediaPorts) -> Self {
        Self {
            ports,
            coming: Mutex::default(),
            finishing: Mutex::default(),
        }
    }
}

/// The uploads and blobs of a node, for transports: see [`Node::media`].
#[derive(Debug, Clone)]
pub struct Media {
    pub(crate) inner: Arc<Inner>,
}

impl Node {
    /// Uploads and blobs, if the node [has a storage](crate::NodeBuilder::media).
    #[must_use]
    pub fn media(&self) -> Option<Media> {
        self.inner.media.as_ref()?;
        let inner = Arc::clone(&self.inner);
        Some(Media { inner })
    }
}

/// An upload to begin.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Its size in bytes.
    pub size: u64,
    /// Its name, whatever it holds.
    pub name: String,
    /// What its sender calls its type.
    pub said: Option<String>,
    /// SHA-256 of the whole in hexadecimal, to be checked.
    pub sha256: Option<String>,
    /// It goes to the storage itself, by a signed URL.
    pub by_url: bool,
}

impl Media {
    /// Begins an upload: takes the room for it.
    ///
    /// # Errors
    /// `too_large` over the largest size or what a user may have; `bad_frame` for a checksum or a
    /// type that is none.
    pub async fn create(&self, user: &UserId, new: NewUpload) -> Result<BlobId, Failure> {
        let (id, upload) = self.inner.new_upload(new)?;
        self.inner.take_room(user, id, &upload, None).await?;
        Ok(id)
    }

    /// An upload of this user's.
    ///
    /// # Errors
    /// `not_found` when there is none, or it is another's.
    pub async fn upload(&self, user: &UserId, id: BlobId) -> Result<Upload, Failure> {
        Ok(self.inner.upload(user, id).await?.1)
    }

    /// Ends an upload, or removes a blob that no message names.
    ///
    /// # Errors
    /// `not_found` when there is none, or it is another's; `conflict` when a message names it.
    pub async fn remove(&self, user: &UserId, id: BlobId) -> Result<(), Failure> {
        self.inner.remove_upload(user, id).await
    }
}

impl Inner {
    /// The media part, or that there is none.
    pub(crate) fn media(&self) -> Result<&Parts, Failure> {
        let none = || Failure::new(ErrorCode::Unsupported, "this server keeps no media");
        self.media.as_ref().ok_or_else(none)
    }

    /// Checks what an upload is to be.
    pub(crate) fn new_upload(&self, new: NewUpload) -> Result<(BlobId, Upload), Failure> {
        let settings = &self.settings.media;
        if new.size > settings.bytes_max {
            let words = format!("size: more than {} bytes", settings.bytes_max);
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let bad = |words| Failure::new(ErrorCode::BadFrame, words);
        let said = new.said.filter(|said| !said.is_empty());
        if said.as_ref().is_some_and(|said| !is_type(said)) {
            return Err(bad("mime: is no type"));
        }
        let sha256 = new.sha256.map(|sum| sum.to_ascii_lowercase());
        if sha256.as_ref().is_some_and(|sum| !is_sum(sum)) {
            return Err(bad("sha256: must be 64 hexadecimal digits"));
        }
        let upload = Upload {
            size: new.size,
            name: harmless_name(&new.name),
            said,
            sha256,
            parts: Vec::new(),
            by_url: new.by_url,
            at: self.clock.timestamp(),
            state: UploadState::Open,
        };
        Ok((BlobId::of(self.ids.next().0), upload))
    }

    /// Writes where facts of a user are. `None` when something is not what it was.
    async fn commit_own(&self, user: &UserId, writes: Vec<Write>) -> Result<Option<()>, Rejected> {
        let place = place_of(FactTable::Upload, user.as_str());
        let place = place.ok_or(Rejected::NotFound)?;
        self.commit_at(place, writes).await
    }

    /// Writes where a blob's facts are. `None` when something is not what it was.
    async fn commit_blob(&self, id: BlobId, writes: Vec<Write>) -> Result<Option<()>, Failure> {
        let committed = self.commit_at(id.place(), writes).await;
        committed.map_err(|rejected| failure(&rejected))
    }

    async fn commit_at(
        &self,
        conv: ConversationId,
        writes: Vec<Write>,
    ) -> Result<Option<()>, Rejected> {
        let commit = Commit {
            conv,
            expect_version: None,
            actor: None,
            writes,
        };
        match self.appender.commit(commit).await {
            Ok(_) => Ok(Some(())),
            Err(Rejected::Conflict) => Ok(None),
            Err(rejected) => Err(rejected),
        }
    }
}

pub(crate) fn upload_key(user: &UserId, id: BlobId) -> FactKey {
    FactKey::new(FactTable::Upload, user.as_str(), id.to_string())
}

pub(crate) fn blob_key(id: BlobId) -> FactKey {
    FactKey::new(FactTable::Blob, id.to_string(), "")
}

pub(crate) fn no_blob() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such blob")
}

fn busy_changing() -> Failure {
    crate::appender::busy()
}

fn is_sum(sum: &str) -> bool {
    sum.len() == SHA256_CHARS && sum.bytes().all(|c| c.is_ascii_hexdigit())
}

fn is_type(said: &str) -> bool {
    let plain = |c: u8| c.is_ascii_graphic() || c == b' ';
    said.len() <= SAID_CHARS_MAX && said.contains('/') && said.bytes().all(plain)
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
