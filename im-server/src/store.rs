//! Opening the store that the settings name.

use im_store_sql::{SqliteOptions, SqliteStore, Synchronous};

use crate::error::ServerError;

/// Opens a store by its URL.
///
/// # Errors
/// When the URL is none, or the store can't be opened; another process has it, for one.
pub(crate) async fn open_store(
    url: &str,
    synchronous: Synchronous,
) -> Result<SqliteStore, ServerError> {
    if url.strip_prefix("sqlite://").is_none_or(str::is_empty) {
        let what = format!("{url} is no store of this version: sqlite://PATH is");
        return Err(ServerError::setting("store", what));
    }
    let options = SqliteOptions {
        synchronous,
        ..SqliteOptions::default()
    };
    SqliteStore::connect_with(url, options)
        .await
        .map_err(|error| ServerError::Store {
            url: url.to_owned(),
            source: Box::new(error),
        })
}
