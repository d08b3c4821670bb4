//! The protocol over real sockets, as a hostile client speaks it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod delivery;
mod doors;
mod frames;
mod groups;
mod handshake;
mod hooks;
mod http;
mod keys;
mod kit;
mod limits;
mod media;
mod peer;
mod sending;
mod signs;
mod slow;
mod staff;
mod store;
mod strangers;
mod tokens;
