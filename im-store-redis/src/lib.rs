//! imkit on Redis: the [`Registry`](im_core::port::Registry) of a cluster.
//!
//! ```no_run
//! # async fn start() -> Result<(), im_store_redis::ConnectError> {
//! use im_store_redis::{Options, RedisRegistry};
//!
//! let options = Options::default();
//! let registry = RedisRegistry::connect("redis://127.0.0.1:6379", options).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Redis 6 or newer. With `rediss://`, the program has installed rustls' provider, or `connect`
//! says so. All keys of a cluster begin with `{PREFIX}`: one slot, so that each change is one
//! script.

mod hot;
mod link;
mod registry;
mod scripts;

pub use im_link::ConnectError;

pub use self::hot::{HotOptions, RedisHot};
pub use self::registry::{Options, RedisRegistry};
