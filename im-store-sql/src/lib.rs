//! The SQL store of imkit, on sqlx. SQLite today; the dialects keep to a folder each, and what
//! needs no SQL is in the core (`im_core::rule::commit`).
//!
//! ```no_run
//! # async fn open() -> Result<(), im_store_sql::OpenError> {
//! let store = im_store_sql::SqliteStore::connect("sqlite://chat.db").await?;
//! # Ok(()) }
//! ```

mod error;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use error::OpenError;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore, Synchronous};
