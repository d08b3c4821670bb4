//! What the core promises, seen from outside.
//!
//! The machines run against models of the world around them, in virtual time. Every run is made
//! from one seed and a few rates of faults: first chaos, then all faults off, and everything must
//! heal. Of rooms and deliveries the same cases run every time: `PROPTEST_CASES=100000` runs more
//! of them and `PROPTEST_RNG_SEED` others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says so by failing"
)]

mod delivery;
mod inbox;
mod outbox;
mod page;
mod room;
mod vectors;
mod world;

use std::time::Instant;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, always the same ones.
fn config(cases: u32) -> Config {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

/// A moment to start virtual time from.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can't be made otherwise; no test looks at the clock again"
)]
fn start() -> Instant {
    Instant::now()
}
