//! Chat that lives inside your Rust app: on your own users, your own database, in your own
//! process, with a promise: **what was answered `sent` is in the log for good, once, in order, and
//! every member gets it.**
//!
//! # What to write in your `main`
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Where messages live: one SQLite file, made when missing.
//!     let store = Arc::new(imkit::sql::SqliteStore::connect("sqlite://chat.db").await?);
//!     // Who may connect: your tokens, signed with your secret (32 bytes or more).
//!     let secret = std::env::var("CHAT_SECRET")?;
//!     let auth = imkit::node::auth::JwtAuthenticator::hs256(&secret)?;
//!     let node = imkit::node::Node::builder(store.clone(), Arc::new(auth)).search(store);
//!     let node = node.start().await?;
//!     // Where clients connect: ws://…/chat/v1/ws, and the HTTP API beside it.
//!     let chat = imkit::ws::Transport::new(node.clone()).router();
//!     let app = axum::Router::new().nest("/chat", chat); // … your own routes
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!     imkit::ws::serve(listener, app, async move {
//!         tokio::signal::ctrl_c().await.ok();
//!         node.shutdown().await; // clients are told to reconnect, what was accepted is finished
//!     })
//!     .await?;
//!     Ok(())
//! }
//! ```
//!
//! # Your program acts too
//!
//! [`node::Node::service`] calls whatever a user can do: send, make groups, add members. A message
//! and your own row in one transaction: [`sql::SqliteStore::commit_in`].
//!
//! # Then each port
//!
//! What imkit needs of the world is a trait, each small, each with a conformance suite in the
//! crate `im-testkit` that your own adapter can run:
//!
//! | port | what it is | what comes with imkit |
//! | --- | --- | --- |
//! | [`core::port::Store`] | the truth about every conversation | [`sql`]: three databases |
//! | [`core::port::Authenticator`] | whose token is it | [`node::auth::JwtAuthenticator`] |
//! | [`core::port::Directory`] | your own users: known, banned | everybody is known |
//! | [`core::port::Hooks`] | your word in every message: refuse, rewrite | none |
//! | [`core::port::Bus`] | hints between nodes | [`node::local::LocalBus`], five brokers |
//! | [`core::port::Registry`] | who is where | [`node::local::LocalRegistry`], Redis |
//! | [`core::port::Blobs`] | the bytes of uploads | a disk, S3 (feature `media`) |
//! | [`core::port::Probe`] | what is in a blob | `media::MediaProbe` |
//! | [`core::port::Inspect`] | your word on every upload: refuse, quarantine | none |
//! | [`core::port::Push`] | a way to push to devices that are away | Web Push |
//! | [`core::port::Clock`] | time | [`node::TokioClock`] |
//!
//! # Features
//!
//! | feature | brings | default |
//! | --- | --- | --- |
//! | `ws` | [`ws`]: WebSocket and HTTP as an axum router | yes |
//! | `sqlite` | [`sql::SqliteStore`]: the embedded store, one file | yes |
//! | `postgres` | `sql::PostgresStore`: the store on PostgreSQL | no |
//! | `mysql` | `sql::MySqlStore`: the store on MySQL or MariaDB | no |
//! | `redis` | `bus_redis` and `store_redis`: a cluster's bus and registry on Redis | no |
//! | `nats`, `rabbitmq`, `kafka`, `rocketmq` | `bus_nats` and so on: the bus on that broker | no |
//! | `media` | `media`: uploads on a disk, and what is found in them | no |
//! | `s3` | `media::S3Blobs`: uploads on S3 | no |
//! | `out` | `out`: webhooks, Web Push, and what follows the log for them | no |
//! | `seal` | `store_sealed`: what people write is encrypted before it is stored | no |
//! | `client` | `client`: the Rust client | no |
//!
//! No feature changes what another one does.

pub use im_core as core;
pub use im_moderation as moderation;
pub use im_node as node;

#[cfg(feature = "kafka")]
pub use im_bus_kafka as bus_kafka;
#[cfg(feature = "nats")]
pub use im_bus_nats as bus_nats;
#[cfg(feature = "rabbitmq")]
pub use im_bus_rabbitmq as bus_rabbitmq;
#[cfg(feature = "redis")]
pub use im_bus_redis as bus_redis;
#[cfg(feature = "rocketmq")]
pub use im_bus_rocketmq as bus_rocketmq;
#[cfg(feature = "client")]
pub use im_client as client;
#[cfg(feature = "media")]
pub use im_media as media;
#[cfg(feature = "out")]
pub use im_out as out;
#[cfg(feature = "redis")]
pub use im_store_redis as store_redis;
#[cfg(feature = "seal")]
pub use im_store_sealed as store_sealed;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use im_store_sql as sql;
#[cfg(feature = "ws")]
pub use im_transport_ws as ws;
