//! What users can do: one door for frames, HTTP and embedders.

mod admin;
mod announcements;
mod bans;
mod barrier;
mod blocks;
mod call;
mod caught;
mod change;
mod channels;
mod clear;
mod configure;
mod custom;
mod decide;
mod erasure;
mod expiry;
mod export;
mod facts;
mod forward;
mod friends;
mod groups;
mod invites;
mod joining;
mod keep;
mod media;
mod members;
mod messages;
mod notify;
mod own;
mod params;
mod privacy;
mod profile;
mod push;
mod read;
mod reports;
mod requests;
mod rules;
mod schedule;
mod search;
mod send;
mod state;
mod stickers;
mod table;
mod watch;

use std::sync::Arc;

use im_core::model::UserId;
use im_core::rule::Staff;

use crate::link::Link;

pub use call::Service;
pub use custom::CustomTypes;
pub(crate) use facts::{put_on, remove, set};
pub(crate) use send::{Decided, HookLocks, Prepared};
pub use table::{METHODS, Method, Route, Verb};

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// The roles that their token gives.
    pub(crate) staff: Staff,
    /// The connection that the call came by, if it did.
    pub(crate) link: Option<Arc<Link>>,
}
