//! The bus and the registry that the settings name.

use std::error::Error;
use std::sync::Arc;

use im_core::port::{Bus, Registry};
use im_link::bus::Options as BusOptions;
use im_store_redis::{Options, RedisRegistry};
use im_store_sql::redacted;

use crate::bus;
use crate::error::ServerError;
use crate::given::Given;

/// What the process itself has.
const LOCAL: &str = "local";

/// Whether there are other nodes, and by what they are reached.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// One process.
    Alone,
    /// Many, on one database.
    Many {
        /// The bus's URL.
        bus: String,
        /// The registry's.
        registry: String,
        /// The authorities that are trusted where one of them is reached by TLS; the web's, if
        /// none are given.
        ca_pem: Option<String>,
    },
}

impl Cluster {
    /// A bus and a registry go together; a registry that is not named is where the bus is, if it
    /// can be one.
    ///
    /// # Errors
    /// When one of them is unknown, or they can't go together, or the store is this process's own.
    pub(crate) fn new(given: &Given, store: Option<&str>) -> Result<Self, ServerError> {
        let bus = given.bus.as_deref().unwrap_or(LOCAL);
        if bus != LOCAL && !bus::is_known(bus) {
            let what = format!(
                "{} is no bus of this build: local, {}… are",
                redacted(bus),
                bus::known()
            );
            return Err(ServerError::setting("bus", what));
        }
        let registry = match given.registry.as_deref() {
            None if bus != LOCAL && !is_redis(bus) => {
                let what = "is needed beside this bus: redis://[USER:PASSWORD@]HOST";
                return Err(ServerError::setting("registry", what));
            }
            given => given.unwrap_or(bus),
        };
        if registry != LOCAL && !is_redis(registry) {
            let what = format!(
                "{} is none of this version: local and redis://[USER:PASSWORD@]HOST are",
                redacted(registry)
            );
            return Err(ServerError::setting("registry", what));
        }
        if bus == LOCAL && registry == LOCAL {
            return Ok(Self::Alone);
        }
        if bus == LOCAL || registry == LOCAL {
            let what = "a bus between nodes and a registry between nodes need each other";
            return Err(ServerError::setting("registry", what));
        }
        if store.is_none_or(|url| url.starts_with("sqlite:")) {
            let what = "nodes that share a bus share a database, too: postgres:// or mysql://";
            return Err(ServerError::setting("store", what));
        }
        Ok(Self::Many {
            bus: bus.to_owned(),
            registry: registry.to_owned(),
            ca_pem: authorities(given, &[bus, registry])?,
        })
    }

    /// The two as they may be shown.
    pub(crate) fn shown(&self) -> (String, String) {
        match self {
            Self::Alone => (LOCAL.to_owned(), LOCAL.to_owned()),
            Self::Many { bus, registry, .. } => (redacted(bus), redacted(registry)),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody answers there who takes the credentials.
    pub(crate) async fn connect(
        &self,
        prefix: &str,
    ) -> Result<Option<(Arc<dyn Bus>, Arc<dyn Registry>)>, ServerError> {
        let Self::Many {
            bus,
            registry,
            ca_pem,
        } = self
        else {
            return Ok(None);
        };
        let ca_of = |url: &str| ca_pem.clone().filter(|_| bus::is_secure(url));
        // Fails when there is one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = BusOptions {
            prefix: prefix.to_owned(),
            ca_pem: ca_of(bus),
        };
        let bus = bus::open(bus, options)
            .await
            .map_err(|error| away("bus", &error))?;
        let options = Options {
            prefix: prefix.to_owned(),
            ca_pem: ca_of(registry),
            ..Options::default()
        };
        let registry = RedisRegistry::connect(registry, options)
            .await
            .map_err(|error| away("registry", &error))?;
        Ok(Some((bus, Arc::new(registry))))
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cluster").field(&self.shown()).finish()
    }
}

/// The authorities in the file that was given.
fn authorities(given: &Given, urls: &[&str]) -> Result<Option<String>, ServerError> {
    let Some(path) = &given.bus_ca_file else {
        return Ok(None);
    };
    let bad = |what: String| ServerError::setting("bus_ca_file", what);
    if !urls.iter().any(|url| bus::is_secure(url)) {
        return Err(bad("is for a bus or a registry with TLS".to_owned()));
    }
    let read = std::fs::read_to_string(path);
    let pem = read.map_err(|error| bad(format!("{} can't be read: {error}", path.display())))?;
    match im_link::check_ca(&pem) {
        Ok(()) => Ok(Some(pem)),
        Err(_) => Err(bad(format!("no PEM certificate in {}", path.display()))),
    }
}

fn is_redis(url: &str) -> bool {
    url.starts_with("redis://") || url.starts_with("rediss://")
}

fn away(field: &str, error: &dyn Error) -> ServerError {
    ServerError::setting(field, error.to_string())
}
