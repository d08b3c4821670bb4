//! The wire, protocol version 1: frames, their two codecs, error and close codes.
//!
//! Each frame is described once, as a [`Value`](crate::model::Value) object; both codecs carry
//! that object. What every entry pays is written by hand (see [`encode`]) and tested to be the
//! same. `docs/protocol.md` is the contract, `docs/vectors/` its examples.

mod client;
mod code;
mod codec;
mod fields;
mod log;
mod messagepack;
mod server;
mod welcome;

pub use client::{ClientFrame, Hello, Pull, PullRange, ReadMark, RequestId, TargetRef};
pub use code::{CloseCode, ErrorCode, Failure};
pub use codec::{Codec, DecodeError, decode_client, decode_server, encode, encode_client};
pub use fields::FieldError;
pub use log::{ConvLine, Entries, Page, Synced, entry_value};
pub use server::{Bye, ErrFrame, ServerFrame};
pub use welcome::Welcome;

use serde::{Deserialize, Serialize};

/// The limits that `welcome` tells a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest frame that a client may send, in bytes.
    pub frame_bytes: usize,
    /// The most bytes of entries in one page (a page holds at least one entry).
    pub page_bytes: usize,
    /// The most characters (Unicode scalar values) of a text.
    pub text_chars: usize,
    /// How many pushed entries of one connection may be un-acked.
    pub window: usize,
    /// How long a pushed entry may stay un-acked, in milliseconds.
    pub ack_ms: u64,
    /// How many messages a user may send per second; twice that at once.
    pub sends_per_s: u32,
    /// How long a `cm_id` is recognised at least, in milliseconds.
    pub dedupe_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 65_536,
            page_bytes: 262_144,
            text_chars: 4_000,
            window: 256,
            ack_ms: 30_000,
            sends_per_s: 50,
            dedupe_ms: 7 * 24 * 3_600 * 1_000,
        }
    }
}

impl Limits {
    /// The most entries of one page.
    pub const PAGE_ENTRIES_MAX: usize = 200;
    /// The entries of a page when the client names no limit.
    pub const PAGE_ENTRIES: usize = 50;
    /// The most `pull`, `sync` and `req` in flight on one connection.
    pub const REQUESTS_MAX: usize = 32;
    /// The most users that one connection watches.
    pub const WATCHED_MAX: usize = 200;
    /// Misshapen frames before a connection is closed: the fifth closes it.
    pub const BAD_FRAMES_MAX: u32 = 5;
}
