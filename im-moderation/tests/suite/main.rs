//! What the crate promises, by its public face alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod evasions;
mod lists;
mod masks;
mod properties;
mod verdicts;
