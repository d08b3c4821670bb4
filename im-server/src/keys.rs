//! Keys of programs, from the command line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::UNIX_EPOCH;

use im_core::model::Timestamp;
use im_core::port::Store;
use im_node::keys::{self, ApiKey, NewKey};

use crate::cli::KeysCommand;
use crate::error::ServerError;
use crate::settings::Settings;
use crate::store::open_store;

/// `im-server keys …`
///
/// # Errors
/// When the store can't be opened, or the key not be made.
pub(crate) fn act(settings: &Settings, command: KeysCommand) -> Result<(), ServerError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let url = settings.store.as_deref().unwrap_or_default();
        let opened = open_store(url, settings).await?;
        let said = on(&*opened.store(), command).await;
        opened.close().await?;
        Ok(std::io::stdout().write_all(said?.as_bytes())?)
    })
}

async fn on(store: &dyn Store, command: KeysCommand) -> Result<String, ServerError> {
    match command {
        KeysCommand::Add {
            name,
            user,
            methods,
            ttl,
        } => {
            let since = UNIX_EPOCH.elapsed().unwrap_or_default();
            let now = Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            let ttl = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            let new = NewKey {
                name,
                user,
                methods,
                expires_at: ttl.map(|ms| now.plus_ms(ms)),
            };
            let (_, text) = keys::make(store, new, now).await?;
            Ok(format!("{text}\n"))
        }
        KeysCommand::List => {
            let keys = keys::all(store).await?;
            Ok(keys.iter().map(line).collect())
        }
        KeysCommand::Revoke { id } => match keys::revoke(store, &id).await? {
            true => Ok(String::new()),
            false => Err(ServerError::setting("id", "there is no such key")),
        },
    }
}

fn line(key: &ApiKey) -> String {
    let mut out = format!("{}  {:?}  as {}", key.id, key.name, key.user.as_str());
    let _ = write!(out, "  for {}", key.methods.join(","));
    if let Some(at) = key.expires_at {
        let _ = write!(out, "  until {} ms", at.0);
    }
    out.push('\n');
    out
}
