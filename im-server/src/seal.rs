//! Encryption at rest: the file of keys, and taking turns of them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use im_core::port::Store;
use im_store_sealed::{FileKeys, SealError, Sealed};
use im_store_sql::Synchronous;

use crate::cli::SealCommand;
use crate::error::ServerError;
use crate::given::Given;
use crate::settings::STORE;
use crate::shards::open_shards;
use crate::store::open_database;

/// How often the file of keys is read again, and data keys are looked for that an older master key
/// wraps.
const EVERY: Duration = Duration::from_secs(10);
/// Steps of 200 data keys at a time.
const STEPS_MAX: usize = 50;

/// A sealed store, and its keys.
pub(crate) struct Sealing {
    pub(crate) store: Arc<Sealed>,
    keys: Arc<FileKeys>,
}

impl Sealing {
    /// Puts sealing before a store.
    ///
    /// # Errors
    /// When the file is none, others may read it (outside a demo), or it lacks a key that the store
    /// was sealed with.
    pub(crate) async fn before(
        store: Arc<dyn Store>,
        path: &Path,
        is_demo: bool,
    ) -> Result<Self, ServerError> {
        let keys = Arc::new(match is_demo {
            true => FileKeys::open_unsafe(path)?,
            false => FileKeys::open(path)?,
        });
        let store = Sealed::open(store, Arc::clone(&keys) as _).await?;
        Ok(Self {
            store: Arc::new(store),
            keys,
        })
    }

    /// Follows the file: a key that is made active there takes over, bit by bit.
    pub(crate) async fn follow(self) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.keys.reload() {
                tracing::error!(%error, "the file of keys is not taken; the keys stay");
            }
            for _ in 0..STEPS_MAX {
                match self.store.rewrap().await {
                    Ok(0) => break,
                    Ok(count) => tracing::info!(count, "data keys are wrapped anew"),
                    Err(error) => {
                        tracing::warn!(%error, "data keys are not wrapped anew");
                        break;
                    }
                }
            }
        }
    }
}

/// `im-server seal …`
///
/// # Errors
/// When the file or the store can't be opened, or written.
pub(crate) fn act(given: &Given, command: SealCommand) -> Result<(), ServerError> {
    let Some(path) = &given.seal_keys else {
        let what = "which file has the keys? --seal-keys FILE";
        return Err(ServerError::setting("seal_keys", what));
    };
    if matches!(command, SealCommand::NewKey) {
        return new_key(path);
    }
    let keys = Arc::new(FileKeys::open(path)?);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let store = open(given).await?;
        let sealed = Sealed::open(store, keys).await?;
        if matches!(command, SealCommand::Rotate) {
            let mut count = 0;
            loop {
                match sealed.rewrap().await? {
                    0 => break,
                    more => count += more,
                }
            }
            writeln!(std::io::stdout(), "{count} data keys were wrapped anew")?;
        }
        let status = sealed.status().await?;
        let needed: Vec<_> = status.needed.iter().map(ToString::to_string).collect();
        let (active, needed) = (status.active, needed.join(", "));
        let text = format!(
            "active: {active}\nneeded: {needed}\ndata keys of older master keys: {}\n",
            status.older
        );
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    })
}

async fn open(given: &Given) -> Result<Arc<dyn Store>, ServerError> {
    if let Some(urls) = &given.shards {
        let (_, sharded) = open_shards(&urls.0).await?;
        return Ok(Arc::new(sharded));
    }
    let url = given.store.as_deref().unwrap_or(STORE);
    Ok(open_database(url, Synchronous::Full).await?.store())
}

/// Adds a random key to the file, made when missing, readable by its owner alone.
fn new_key(path: &Path) -> Result<(), ServerError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    if !text.is_empty() {
        FileKeys::open(path)?;
    }
    let (id, text) = FileKeys::with_new_key(&text)?;
    let beside = path.with_extension("new");
    write_private(&beside, &text)?;
    // Whoever reads it meanwhile has the old one or the new one, whole.
    std::fs::rename(&beside, path)?;
    let is_first = FileKeys::open(path)?.is_active(id);
    let next = match is_first {
        true => "It is active.",
        false => "When every node has the file, make it active there: the line `active`.",
    };
    writeln!(
        std::io::stdout(),
        "key {id} is in {}. {next} Keep a copy where no backup of the database is.",
        path.display()
    )?;
    Ok(())
}

fn write_private(path: &Path, text: &str) -> Result<(), SealError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| SealError::File {
        path: path.display().to_string(),
        what: format!("can't be written: {error}"),
    })
}
