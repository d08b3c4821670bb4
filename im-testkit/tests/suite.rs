//! The in-memory adapters pass the suites that everybody's adapters pass.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;
mod proxy;
mod sim;
