//! The proof kit of imkit.
//!
//! - [`suite`]: a conformance suite for each port of [`im_core::port`]. An adapter of yours passes
//!   it with one line in its tests, e.g. [`store_suite!`].
//! - [`memory`]: adapters that live in memory, exact and repeatable, and wrappers that fail when
//!   they are told to.
//! - [`proxy`]: a TCP proxy that breaks connections as told.

pub mod memory;
pub mod proxy;
pub mod sim;
pub mod suite;
