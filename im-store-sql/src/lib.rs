//! The SQL store of imkit, on sqlx: SQLite in the process (`sqlite/`), PostgreSQL and MySQL/MariaDB
//! on their servers (`server/`). What needs no SQL is in the core (`im_core::rule::commit`).
//!
//! ```no_run
//! # async fn open() -> Result<(), im_store_sql::OpenError> {
//! let store = im_store_sql::SqliteStore::connect("sqlite://chat.db").await?;
//! # Ok(()) }
//! ```

mod address;
mod clock;
mod error;
mod fact;
mod mentions;
mod migrate;
mod page;
mod search;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;
mod text;

pub use address::redacted;
pub use error::OpenError;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub use server::{Dialect, Durability, ServerOptions, ServerStore, parts};
#[cfg(feature = "mysql")]
pub use server::{MySqlDialect, MySqlStore};
#[cfg(feature = "postgres")]
pub use server::{PostgresDialect, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore, Synchronous};
