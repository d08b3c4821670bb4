//! The tokio shell of imkit: it drives the machines of `im-core` over the ports.
//!
//! A [`Node`] is built on a [`Store`](im_core::port::Store) and an
//! [`Authenticator`](im_core::port::Authenticator); a transport gives it connections
//! ([`Node::connect`]), the host program calls its [`Service`].
//!
//! The path of a message: [`Connection::handle_frame`] decides (`service`), queues a commit in a
//! lane (`appender`), the lane commits a batch and hands what was appended to the rooms
//! (`dispatch`, `rooms`), which push it to the connections (`link`), and the sender gets `sent`.

mod appender;
pub mod auth;
mod clock;
mod connection;
mod cursors;
mod dispatch;
mod due;
mod hub;
mod ids;
mod index;
mod joining;
pub mod keys;
mod link;
pub mod local;
mod media;
mod moderation;
mod node;
mod outgoing;
mod presence;
mod rates;
mod rooms;
mod router;
mod service;
mod settings;
mod veil;
mod watchers;

pub use clock::TokioClock;
pub use connection::Connection;
pub use media::{Media, MediaPorts, NewUpload, PART_BYTES, PARTS_MAX, Readable, Receiving};
pub use node::{Node, NodeBuilder, StartError};
pub use outgoing::Output;
pub use rates::Rates;
pub use service::{CustomTypes, METHODS, Method, Route, Service, Verb};
pub use settings::{MediaSettings, Retention, Settings, SettingsError, WriteTo};
