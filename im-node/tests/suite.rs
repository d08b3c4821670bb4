//! The node: its own adapters pass the suites that everybody's pass, clusters of it, its service.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod local;
mod nodes;
mod service;
