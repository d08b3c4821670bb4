//! What the core promises, seen from outside.
//!
//! The machines run against models of the world around them, in virtual time. Every run is made
//! from one seed and a few rates of faults: first chaos, then all faults off, and everything must
//! heal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says so by failing"
)]

mod outbox;
mod page;
mod vectors;
mod world;
