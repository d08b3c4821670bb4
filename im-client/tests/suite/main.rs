//! A client against a scripted server over a real socket, and against the real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says so by failing"
)]

mod entries;
mod link;
mod mock;
mod real;
mod sends;
mod state;
