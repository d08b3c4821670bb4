//! How a test reaches a bus: by any URL, so also through a proxy.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use im_core::port::Bus;

use crate::proxy::Proxy;

/// A bus, or why there is none.
pub type Connected = Result<Arc<dyn Bus>, Box<dyn Error + Send + Sync>>;
type Connecting = Pin<Box<dyn Future<Output = Connected> + Send>>;

/// The URL of a broker, and how to connect to one: every connection with the same names on it,
/// that no other test has.
#[derive(Clone)]
pub struct Reach {
    url: String,
    connect: Arc<dyn Fn(String) -> Connecting + Send + Sync>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.place()).finish()
    }
}

impl Reach {
    /// By this URL, `scheme://[login@]host:port[/path]`, and this way to connect.
    pub fn new<F>(url: String, connect: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Connected> + Send + 'static,
    {
        let connect = Arc::new(move |url| Box::pin(connect(url)) as Connecting);
        Self { url, connect }
    }

    /// Connects by the URL itself.
    ///
    /// # Panics
    /// When that fails.
    pub async fn direct(&self) -> Arc<dyn Bus> {
        let connected = self.by(&self.url).await;
        connected.expect("the broker is up")
    }

    /// Connects by another URL.
    ///
    /// # Errors
    /// What the bus says.
    pub async fn by(&self, url: &str) -> Connected {
        (self.connect)(url.to_owned()).await
    }

    /// Connects through a proxy.
    ///
    /// # Panics
    /// When that fails.
    pub async fn through(&self, proxy: &Proxy) -> Arc<dyn Bus> {
        let connected = self.by(&self.elsewhere(&proxy.addr().to_string())).await;
        connected.expect("the broker is up, and the proxy before it")
    }

    /// A proxy before the broker.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn proxy(&self) -> Proxy {
        let server: SocketAddr = self.place().parse().expect("address and port");
        Proxy::start(server).await.expect("a proxy")
    }

    /// Host and port of the broker.
    #[must_use]
    pub fn place(&self) -> &str {
        let rest = self.url.split("://").nth(1).unwrap_or_default();
        let place = rest.split('/').next().unwrap_or_default();
        place.rsplit('@').next().unwrap_or_default()
    }

    /// The same URL with another host and port.
    #[must_use]
    pub fn elsewhere(&self, place: &str) -> String {
        self.url.replacen(self.place(), place, 1)
    }

    /// The same URL with another login, host and port.
    #[must_use]
    pub fn login(&self, login: &str, place: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").expect("a URL");
        let path = rest.split_once('/').map(|(_, path)| path);
        let slash = if path.is_some() { "/" } else { "" };
        let path = path.unwrap_or_default();
        format!("{scheme}://{login}@{place}{slash}{path}")
    }
}
