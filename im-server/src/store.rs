//! Opening the store that the settings name.

use std::sync::Arc;

use im_core::port::{PortError, Store};
use im_store_sql::{MySqlStore, PostgresStore, SqliteOptions, SqliteStore, Synchronous, redacted};

use crate::error::ServerError;

/// A store that is open.
#[derive(Debug)]
pub(crate) enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
    MySql(MySqlStore),
}

impl Opened {
    /// As the node takes it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::MySql(store) => Arc::new(store.clone()),
        }
    }

    /// Leaves it tidy.
    ///
    /// # Errors
    /// When it can't be; the next start does it then.
    pub(crate) async fn close(&self) -> Result<(), PortError> {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => {
                store.close().await;
                Ok(())
            }
            Self::MySql(store) => {
                store.close().await;
                Ok(())
            }
        }
    }
}

/// Opens a store by its URL.
///
/// # Errors
/// When the URL is none, or the store can't be opened; another process has it, for one.
pub(crate) async fn open_store(url: &str, synchronous: Synchronous) -> Result<Opened, ServerError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let opened = match scheme {
        Some("sqlite") if url != "sqlite://" => {
            let options = SqliteOptions {
                synchronous,
                ..SqliteOptions::default()
            };
            let store = SqliteStore::connect_with(url, options).await;
            store.map(Opened::Sqlite)
        }
        Some("postgres" | "postgresql" | "mysql" | "mariadb")
            if synchronous != Synchronous::Full =>
        {
            let what = "is a setting of SQLite's; a database server has its own";
            return Err(ServerError::setting("synchronous", what.to_owned()));
        }
        Some("postgres" | "postgresql") => PostgresStore::connect(url).await.map(Opened::Postgres),
        Some("mysql" | "mariadb") => MySqlStore::connect(url).await.map(Opened::MySql),
        _ => {
            let what = format!(
                "{} is no store: sqlite://PATH, postgres://USER:PASSWORD@HOST/DATABASE and \
                 mysql://USER:PASSWORD@HOST/DATABASE are",
                redacted(url)
            );
            return Err(ServerError::setting("store", what));
        }
    };
    opened.map_err(|error| ServerError::Store {
        url: redacted(url),
        source: Box::new(error),
    })
}
