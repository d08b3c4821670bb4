//! The domain of imkit.
//!
//! Plain data ([`model`]), the wire ([`frame`]), state machines ([`machine`]), pure decisions
//! ([`rule`]) and the traits that the world must provide ([`port`]). Nothing here opens a socket,
//! reads a clock, spawns a task or draws a random number: time comes in as an argument and
//! randomness as a seed, so an hour of retries is tested in a millisecond and every failure
//! replays from its seed.

pub mod frame;
pub mod machine;
pub mod model;
pub mod port;
pub mod rule;
