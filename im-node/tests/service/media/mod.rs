//! Uploads and blobs: how they come, who reads them, when they go.

mod collect;
mod judge;
mod kit;
mod rights;
mod upload;
