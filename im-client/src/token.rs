//! Where tokens come from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Cause;

type Got = Pin<Box<dyn Future<Output = Result<String, Cause>> + Send>>;

/// A fixed token, or a way to get one.
#[derive(Clone)]
pub(crate) enum Token {
    Fixed(String),
    Provider(Arc<dyn Fn() -> Got + Send + Sync>),
}

impl fmt::Debug for Token {
    // A token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_fixed() { "Fixed" } else { "Provider" })
    }
}

impl Token {
    pub(crate) fn provider<F, G, E>(provider: F) -> Self
    where
        F: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Cause>,
    {
        Self::Provider(Arc::new(move || {
            let token = provider();
            Box::pin(async move { token.await.map_err(Into::into) })
        }))
    }

    pub(crate) const fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    pub(crate) async fn get(&self) -> Result<String, Cause> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Provider(provider) => provider().await,
        }
    }
}
