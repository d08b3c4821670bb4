//! Bytes in and out over HTTP.

mod download;
mod kit;
mod tus;
