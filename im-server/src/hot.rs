//! The hot tier that the settings name.

use std::sync::Arc;
use std::time::Duration;

use im_core::port::Store;
use im_store_redis::{HotOptions, RedisHot};
use im_store_sql::redacted;
use im_store_tiered::{Durability, Options, Tiered};

use crate::error::ServerError;

/// What stands before the address of a server of a Redis Cluster.
const CLUSTER: &str = "cluster+";

/// A hot tier before the store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HotTier {
    url: String,
    is_cluster: bool,
    durability: Durability,
}

impl HotTier {
    /// What was given, if it is a tier.
    ///
    /// # Errors
    /// When there is no such tier, or a durability that needs one and there is none.
    pub(crate) fn new(
        hot: Option<&str>,
        durability: Option<&str>,
    ) -> Result<Option<Self>, ServerError> {
        let is_cached = match durability {
            None | Some("committed") => false,
            Some("cached") => true,
            Some(_) => {
                let what = "must be committed or cached";
                return Err(ServerError::setting("durability", what));
            }
        };
        let Some(url) = hot.filter(|hot| *hot != "none") else {
            if is_cached {
                let what = "cached is what a hot tier makes of it: --hot redis://HOST";
                return Err(ServerError::setting("durability", what));
            }
            return Ok(None);
        };
        let (is_cluster, server) = match url.strip_prefix(CLUSTER) {
            Some(server) => (true, server),
            None => (false, url),
        };
        if !["redis://", "rediss://"]
            .iter()
            .any(|scheme| server.starts_with(scheme))
        {
            let what = "must be none, redis://HOST, or cluster+redis://HOST for a Redis Cluster";
            return Err(ServerError::setting("hot", what));
        }
        Ok(Some(Self {
            url: server.to_owned(),
            is_cluster,
            durability: if is_cached {
                Durability::Cached
            } else {
                Durability::Committed
            },
        }))
    }

    /// As it may be shown.
    pub(crate) fn shown(tier: Option<&Self>) -> (String, &'static str) {
        let Some(tier) = tier else {
            return ("none".to_owned(), "committed");
        };
        let before = if tier.is_cluster { CLUSTER } else { "" };
        let durability = match tier.durability {
            Durability::Cached => "cached",
            Durability::Committed => "committed",
        };
        (format!("{before}{}", redacted(&tier.url)), durability)
    }

    /// Connects, and puts the tier before a store.
    ///
    /// # Errors
    /// When nobody answers there who takes the credentials.
    pub(crate) async fn before(
        &self,
        cold: Arc<dyn Store>,
        prefix: &str,
        dedupe_ms: u64,
    ) -> Result<Tiered, ServerError> {
        // Fails when there is one already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = HotOptions {
            prefix: prefix.to_owned(),
            is_cluster: self.is_cluster,
            ..HotOptions::default()
        };
        let hot = RedisHot::connect(&self.url, options)
            .await
            .map_err(|error| ServerError::setting("hot", error.to_string()))?;
        let options = Options {
            durability: self.durability,
            dedupe: Duration::from_millis(dedupe_ms),
            ..Options::default()
        };
        Ok(Tiered::start(Arc::new(hot), cold, options))
    }
}

impl std::fmt::Debug for HotTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HotTier")
            .field(&Self::shown(Some(self)))
            .finish()
    }
}
