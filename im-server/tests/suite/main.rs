//! The binary as an operator and a person at a browser meet it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod cluster;
mod disk;
mod faults;
mod hot;
mod http;
mod life;
mod memory;
mod out;
mod page;
mod process;
mod seal;
mod shards;
mod start;
mod webdriver;
