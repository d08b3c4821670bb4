//! What imkit tells the world.
//!
//! The log itself is the outbox: a [`Follower`] reads the store as the nodes' sweep does, and keeps
//! for each conversation how far it has told a [`Sink`]. So `sent` costs nothing more, and nothing
//! that is in the log is skipped, whatever crashes: `docs/decisions/0020-outbox.md`.
//!
//! - [`Webhook`] is a sink that posts every entry to an endpoint, signed as the Standard Webhooks
//!   specification says.
//! - [`Pusher`] is a sink that tells those who are away, by a [`Push`](im_core::port::Push):
//!   [`WebPush`] is built in.
//! - [`Reach`] is how both go out: to no private address unless that is allowed, without
//!   redirects, with a bound on everything that the other side could make long.

mod follow;
mod push;
mod reach;
mod text;
mod webhook;

pub use follow::{Dead, Failed, FollowSettings, Follower, Sink, Taken, dead_letters, replay};
pub use push::{PushSettings, Pusher, VapidError, VapidKey, WebPush};
pub use reach::{Address, AddressError, Allow, Answer, Reach, ReachError, Resolve, is_public};
pub use webhook::{Endpoint, SecretError, Signer, Webhook};
