//! Media for imkit: where the bytes of uploads are kept, and what is found in them.
//!
//! - [`DiskBlobs`]: a folder. Nodes that share it must see the same disk.
//! - `S3Blobs` (feature `s3`): a bucket of any storage that speaks S3.
//! - [`MediaProbe`]: types by their bytes, measures, thumbnails and blurhashes of pictures, and how
//!   long voices and videos are.
//!
//! ```no_run
//! use std::sync::Arc;
//! let blobs = Arc::new(im_media::DiskBlobs::open("media").expect("a folder"));
//! let probe: Arc<dyn im_core::port::Probe> = Arc::new(im_media::MediaProbe::default());
//! // MediaPorts { blobs, probe: Some(probe), inspect: None } for the node's builder.
//! ```

mod disk;
mod probe;
#[cfg(feature = "s3")]
mod s3;

pub use disk::DiskBlobs;
pub use probe::{MediaProbe, PictureLimits};
#[cfg(feature = "s3")]
pub use s3::{S3Blobs, S3Error, S3Settings};
