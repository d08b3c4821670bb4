//! The node's own adapters pass the suites that everybody's adapters pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod local;
mod nodes;
