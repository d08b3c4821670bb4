//! The Rust client of imkit: the `outbox` and `inbox` machines of [`im_core`] over a WebSocket.
//!
//! ```no_run
//! use im_client::{Client, Event};
//! use im_core::model::{Body, DeviceId, Target, UserId};
//!
//! # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut events) = Client::builder("ws://127.0.0.1:8080")
//!     .token(token)
//!     .device(DeviceId::new("laptop")?)
//!     .state_file("chat.state")
//!     .connect()
//!     .await?;
//!
//! let sent = client.send(Target::User(UserId::new("bo")?), Body::text("hi")).await?;
//! println!("stored at {} in {}", sent.seq, sent.conv);
//!
//! while let Some(event) = events.next().await {
//!     if let Event::Entry(entry) = event {
//!         println!("{}: {:?}", entry.from, entry.body.as_text());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//! - A send is stored once, or its future says why not; whatever crashes in between, except this
//!   process, which needs a [state file](ClientBuilder::state_file) for that. What is unknown is
//!   said to be unknown ([`SendError::GaveUp`], [`SendError::Closed`]).
//! - [`Event::Entry`] comes for each entry of the user's conversations: in order, without a hole,
//!   once. With a state file also over restarts; after a crash, those that the application had not
//!   dealt with come again (see [`Events`]).
//! - It reconnects by itself: after a wait that the server named, or one that doubles, drawn at
//!   random either way. It stops when reconnecting would not help ([`Stopped`]).
//! - It always reads while it writes, and holds no more than its bounds when the application takes
//!   no events: then it stops acking and pulling, and the server's log is the buffer.
//!
//! # What it does not
//! TLS: `ws://` only, as behind a proxy or on one machine. A text can't be read twice from it: it
//! keeps cursors, not copies of entries.

mod addresses;
mod builder;
mod client;
mod driver;
mod error;
mod event;
mod requests;
mod socket;
mod state;
mod token;

pub use builder::ClientBuilder;
pub use client::{Client, Sending, Sent};
pub use error::{ConnectError, RequestError, SendError, StateError, Stopped};
pub use event::{Event, Events};
