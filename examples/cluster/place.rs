//! What the nodes share: the store, the bus and the registry that the URLs name.
#![cfg_attr(
    not(all(feature = "postgres", feature = "redis")),
    expect(
        clippy::unused_async,
        reason = "what a build knows is a matter of its features"
    )
)]

use std::sync::Arc;

use imkit::core::port::{Bus, Registry, Store};
use imkit::node::local::{LocalBus, LocalRegistry};
use imkit::sql::SqliteStore;
use tempfile::TempDir;

use crate::Result;

/// What lives in this process.
const LOCAL: &str = "local";

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Place {
    store: String,
    bus: String,
    registry: String,
    /// What lives in this process is one for all; of what does not, each node has its own end.
    file: Option<SqliteStore>,
    local_bus: LocalBus,
    local_registry: Arc<LocalRegistry>,
    // The file's folder is dropped last.
    _dir: Option<Arc<TempDir>>,
}

/// A node's own end of what is shared.
pub(crate) type Ends = (Arc<dyn Store>, Arc<dyn Bus>, Arc<dyn Registry>);

impl Place {
    /// Makes what lives in this process.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub(crate) async fn new(
        store: Option<&str>,
        bus: &str,
        registry: Option<&str>,
    ) -> Result<Self> {
        let dir = match store {
            None => Some(TempDir::with_prefix("imkit-cluster-")?),
            Some(_) => None,
        };
        let file = dir.as_ref().map(|dir| dir.path().join("cluster.db"));
        let own = file.map(|file| format!("sqlite://{}", file.display()));
        let store = store.map(str::to_owned).or(own).unwrap_or_default();
        let file = match scheme(&store) {
            "sqlite" => Some(SqliteStore::connect(&store).await?),
            _ => None,
        };
        let registry = registry.unwrap_or_else(|| if is_redis(bus) { bus } else { LOCAL });
        Ok(Self {
            store,
            bus: bus.to_owned(),
            registry: registry.to_owned(),
            file,
            local_bus: LocalBus::default(),
            local_registry: Arc::default(),
            _dir: dir.map(Arc::new),
        })
    }

    /// What they are, without addresses and passwords.
    pub(crate) fn words(&self) -> String {
        let [store, bus, registry] =
            [&self.store, &self.bus, &self.registry].map(|url| scheme(url));
        format!("store {store} · bus {bus} · registry {registry}")
    }

    /// Opens a node's ends.
    ///
    /// # Errors
    /// When a URL is unknown to this build, or nobody answers there.
    pub(crate) async fn ends(&self) -> Result<Ends> {
        let store = match &self.file {
            Some(file) => Arc::new(file.clone()),
            None => open_store(&self.store).await?,
        };
        let bus = match &*self.bus {
            LOCAL => Arc::new(self.local_bus.clone()),
            url => open_bus(url).await?,
        };
        let registry = match &*self.registry {
            LOCAL => Arc::clone(&self.local_registry) as _,
            url => open_registry(url).await?,
        };
        Ok((store, bus, registry))
    }
}

async fn open_store(url: &str) -> Result<Arc<dyn Store>> {
    match scheme(url) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(imkit::sql::PostgresStore::connect(url).await?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Arc::new(imkit::sql::MySqlStore::connect(url).await?)),
        other => Err(unknown("store", other)),
    }
}

async fn open_bus(url: &str) -> Result<Arc<dyn Bus>> {
    match scheme(url) {
        #[cfg(feature = "redis")]
        "redis" | "rediss" => {
            let bus = imkit::bus_redis::RedisBus::connect(url, Default::default());
            Ok(Arc::new(bus.await?))
        }
        #[cfg(feature = "nats")]
        "nats" | "tls" => {
            let bus = imkit::bus_nats::NatsBus::connect(url, Default::default());
            Ok(Arc::new(bus.await?))
        }
        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => {
            let bus = imkit::bus_rabbitmq::RabbitBus::connect(url, Default::default());
            Ok(Arc::new(bus.await?))
        }
        #[cfg(feature = "kafka")]
        "kafka" | "kafkas" => {
            let bus = imkit::bus_kafka::KafkaBus::connect(url, Default::default());
            Ok(Arc::new(bus.await?))
        }
        #[cfg(feature = "rocketmq")]
        "rocketmq" => {
            let bus = imkit::bus_rocketmq::RocketBus::connect(url, Default::default());
            Ok(Arc::new(bus.await?))
        }
        other => Err(unknown("bus", other)),
    }
}

async fn open_registry(url: &str) -> Result<Arc<dyn Registry>> {
    match scheme(url) {
        #[cfg(feature = "redis")]
        "redis" | "rediss" => {
            let options = imkit::store_redis::Options::default();
            let registry = imkit::store_redis::RedisRegistry::connect(url, options).await?;
            Ok(Arc::new(registry))
        }
        other => Err(unknown("registry", other)),
    }
}

fn is_redis(url: &str) -> bool {
    matches!(scheme(url), "redis" | "rediss")
}

/// What comes before `://`.
fn scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(scheme, _)| scheme)
}

fn unknown(field: &str, scheme: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("--{field}: this build knows no {scheme}: is it the name of a feature (--features …)?")
        .into()
}
