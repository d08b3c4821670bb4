//! Where uploads are kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use im_core::port::Blobs;
use im_media::{DiskBlobs, MediaProbe};
use im_node::{MediaPorts, NodeBuilder};

use crate::error::ServerError;

/// Where they are when nobody says.
const FOLDER: &str = "imkit-media";
/// Where a demo's are, in its own folder.
const DEMO_FOLDER: &str = "media";

/// Where uploads are kept.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Nowhere: there are none.
    Nowhere,
    /// In the demo's folder.
    Demo,
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    #[cfg(feature = "s3")]
    Bucket(im_media::S3Settings),
}

impl Place {
    /// A place as it was given.
    ///
    /// # Errors
    /// When it is a bucket without its keys, or a URL of another kind.
    pub(crate) fn new(given: Option<&str>, demo: bool) -> Result<Self, ServerError> {
        match given {
            None if demo => Ok(Self::Demo),
            None => Ok(Self::Folder(FOLDER.into())),
            Some("none") => Ok(Self::Nowhere),
            Some(url) if url.starts_with("s3://") => Self::bucket(url),
            Some(url) if url.contains("://") || url.is_empty() => {
                let what = "must be a folder, s3://BUCKET/PREFIX, or none";
                Err(ServerError::setting("media", what))
            }
            Some(folder) => Ok(Self::Folder(folder.into())),
        }
    }

    #[cfg(feature = "s3")]
    fn bucket(url: &str) -> Result<Self, ServerError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = im_media::S3Settings::from_url(url, variable);
        let settings = settings.map_err(wrong)?;
        Ok(Self::Bucket(settings))
    }

    #[cfg(not(feature = "s3"))]
    fn bucket(_: &str) -> Result<Self, ServerError> {
        let what = "this server was built without S3 (feature s3)";
        Err(ServerError::setting("media", what))
    }

    /// The node with media, if there are any; `folder` is the demo's own.
    ///
    /// # Errors
    /// When the place can't be read, or its settings make no sense.
    pub(crate) fn of(
        &self,
        node: NodeBuilder,
        folder: Option<&Path>,
    ) -> Result<NodeBuilder, ServerError> {
        Ok(match self.open(folder)? {
            Some(ports) => node.media(ports),
            None => node,
        })
    }

    /// What the node needs of it; `folder` is the demo's own.
    fn open(&self, folder: Option<&Path>) -> Result<Option<MediaPorts>, ServerError> {
        let disk = |path: &Path| -> Result<Arc<dyn Blobs>, ServerError> {
            let opened = DiskBlobs::open(path);
            let opened = opened.map_err(|error| {
                let what = format!("{} can't be read: {error}", path.display());
                ServerError::setting("media", what)
            });
            Ok(Arc::new(opened?))
        };
        let blobs = match self {
            Self::Nowhere => return Ok(None),
            Self::Demo => match folder {
                Some(folder) => disk(&folder.join(DEMO_FOLDER))?,
                // A demo on a store that was given keeps its uploads as a server does.
                None => disk(Path::new(FOLDER))?,
            },
            Self::Folder(path) => disk(path)?,
            #[cfg(feature = "s3")]
            Self::Bucket(settings) => {
                Arc::new(im_media::S3Blobs::new(settings.clone()).map_err(wrong)?)
            }
        };
        Ok(Some(MediaPorts {
            blobs,
            probe: Some(Arc::new(MediaProbe::default())),
            inspect: None,
        }))
    }
}

#[cfg(feature = "s3")]
fn wrong(error: im_media::S3Error) -> ServerError {
    ServerError::setting("media", error.to_string())
}

/// As a file would name it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::Demo => f.write_str("(a folder of the demo's own)"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "s3")]
            Self::Bucket(settings) => write!(f, "s3://{}/{}", settings.bucket, settings.prefix),
        }
    }
}
