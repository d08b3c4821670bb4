//! Opening the store that the settings name.

use std::sync::Arc;

use im_core::port::{PortError, Search, Shard, Store};
use im_node::StartError;
use im_store_sharded::Sharded;
use im_store_sql::{MySqlStore, PostgresStore, SqliteOptions, SqliteStore, Synchronous, redacted};

use crate::error::ServerError;
use crate::settings::Settings;
use crate::shards::open_shards;

/// A store that is open.
#[derive(Debug)]
pub(crate) enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
    MySql(MySqlStore),
    Sharded(Arc<Sharded>, Vec<Self>),
}

impl Opened {
    /// As the node takes it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::MySql(store) => Arc::new(store.clone()),
            Self::Sharded(store, _) => Arc::clone(store) as _,
        }
    }

    /// Search over it.
    pub(crate) fn search(&self) -> Arc<dyn Search> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::MySql(store) => Arc::new(store.clone()),
            Self::Sharded(store, _) => Arc::clone(store) as _,
        }
    }

    /// As one of several; `None` of what can't be.
    pub(crate) fn shard(&self) -> Option<Arc<dyn Shard>> {
        match self {
            Self::Postgres(store) => Some(Arc::new(store.clone())),
            Self::MySql(store) => Some(Arc::new(store.clone())),
            Self::Sqlite(_) | Self::Sharded(..) => None,
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
            Self::Sharded(_, shards) => {
                for shard in shards {
                    Box::pin(shard.close()).await?;
                }
                Ok(())
            }
        }
    }
}

/// Opens the store that the settings name: at `url`, unless it is on several databases.
///
/// # Errors
/// When it can't be opened; another process has it, for one.
pub(crate) async fn open_store(url: &str, settings: &Settings) -> Result<Opened, ServerError> {
    if !settings.shards.is_empty() {
        let (opened, sharded) = open_shards(&settings.shards).await?;
        return Ok(Opened::Sharded(Arc::new(sharded), opened));
    }
    let opened = open_database(url, settings.synchronous).await?;
    if let Some(shard) = opened.shard() {
        let held = shard.holdings(None).await.map_err(StartError::from)?;
        if held.is_some_and(|held| held.place.is_some()) {
            let what = "is one of several databases: name all of them, with --shards";
            return Err(ServerError::setting("store", what));
        }
    }
    Ok(opened)
}

/// Opens one database by its URL.
///
/// # Errors
/// When the URL is none, or it can't be opened.
pub(crate) async fn open_database(
    url: &str,
    synchronous: Synchronous,
) -> Result<Opened, ServerError> {
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
