//! Storages on a disk and on S3, and what is found in blobs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;
mod pictures;
#[cfg(feature = "s3")]
mod s3;
