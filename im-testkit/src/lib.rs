//! The proof kit of imkit.
//!
//! - [`memory`]: adapters that live in memory, exact and repeatable.

pub mod memory;
