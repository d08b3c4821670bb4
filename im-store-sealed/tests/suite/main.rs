//! A sealed store does what any store does, and what lies below it holds no words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod keys;
mod kit;
mod person;
mod stores;
mod words;
