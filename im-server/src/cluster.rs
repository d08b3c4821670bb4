//! The bus and the registry that the settings name.

use std::error::Error;
use std::sync::Arc;

use im_bus_redis::RedisBus;
use im_core::port::{Bus, Registry};
use im_store_redis::RedisRegistry;
use im_store_sql::redacted;

use crate::error::ServerError;

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
    },
}

impl Cluster {
    /// A bus and a registry go together; a registry that is not named is where the bus is, if it
    /// can be one.
    ///
    /// # Errors
    /// When one of them is unknown, or they can't go together, or the store is this process's own.
    pub(crate) fn new(
        bus: Option<&str>,
        registry: Option<&str>,
        store: Option<&str>,
    ) -> Result<Self, ServerError> {
        let bus = bus.unwrap_or(LOCAL);
        let registry = registry.unwrap_or(bus);
        for (field, url) in [("bus", bus), ("registry", registry)] {
            if url != LOCAL && !is_redis(url) {
                let what = format!(
                    "{} is none of this version: local and redis://[USER:PASSWORD@]HOST are",
                    redacted(url)
                );
                return Err(ServerError::setting(field, what));
            }
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
        })
    }

    /// The two as they may be shown.
    pub(crate) fn shown(&self) -> (String, String) {
        match self {
            Self::Alone => (LOCAL.to_owned(), LOCAL.to_owned()),
            Self::Many { bus, registry } => (redacted(bus), redacted(registry)),
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
        let Self::Many { bus, registry } = self else {
            return Ok(None);
        };
        // Fails when there is one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = im_bus_redis::Options {
            prefix: prefix.to_owned(),
            ..im_bus_redis::Options::default()
        };
        let bus = RedisBus::connect(bus, options)
            .await
            .map_err(|error| away("bus", &error))?;
        let options = im_store_redis::Options {
            prefix: prefix.to_owned(),
            ..im_store_redis::Options::default()
        };
        let registry = RedisRegistry::connect(registry, options)
            .await
            .map_err(|error| away("registry", &error))?;
        Ok(Some((Arc::new(bus), Arc::new(registry))))
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cluster").field(&self.shown()).finish()
    }
}

fn is_redis(url: &str) -> bool {
    url.starts_with("redis://") || url.starts_with("rediss://")
}

fn away(field: &str, error: &dyn Error) -> ServerError {
    ServerError::setting(field, error.to_string())
}
