//! imkit as an app embeds it: the SQLite store, a node and the WebSocket transport in one process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod full;
mod one_transaction;
mod staff;
