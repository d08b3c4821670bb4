//! The outbox, webhooks and pushes: crashes at every step, hostile endpoints, a browser's own side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod http;
mod kit;
mod nodes;
mod push;
mod reach;
mod slow;
mod webhook;
