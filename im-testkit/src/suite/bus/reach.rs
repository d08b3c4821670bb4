//! How a test reaches a bus: by any URL, so also through a proxy.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use im_core::port::Bus;

use super::Buses;
use crate::proxy::Proxy;

/// A bus, or why there is none.
pub type Connected = Result<Arc<dyn Bus>, Box<dyn Error + Send + Sync>>;
type Connecting = Pin<Box<dyn Future<Output = Connected> + Send>>;

/// What a connection is made with.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The URL.
    pub url: String,
    /// What all names on the broker begin with.
    pub prefix: String,
    /// The authorities that are trusted, if not those of the web.
    pub ca_pem: Option<String>,
}

/// The URL of a broker, and how to connect to one: every connection with the same names on it,
/// that no other test has.
#[derive(Clone)]
pub struct Reach {
    url: String,
    prefix: String,
    connect: Arc<dyn Fn(Dial) -> Connecting + Send + Sync>,
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.place()).finish()
    }
}

impl Reach {
    /// By this URL, `scheme://[login@]host:port[/path]`, and this way to connect, always with
    /// the same prefix, that no other test has.
    pub fn new<F>(
        url: impl Into<String>,
        connect: impl Fn(Dial) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Connected> + Send + 'static,
    {
        Self {
            url: url.into(),
            prefix: prefix(),
            connect: Arc::new(move |dial| Box::pin(connect(dial))),
        }
    }

    /// The same, by the URL that a variable holds; `None` if it holds none.
    pub fn by_variable<F>(
        name: &str,
        connect: impl Fn(Dial) -> F + Send + Sync + 'static,
    ) -> Option<Self>
    where
        F: Future<Output = Connected> + Send + 'static,
    {
        Some(Self::new(std::env::var(name).ok()?, connect))
    }

    /// The prefix of the names of every connection.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL itself.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Two connections, as [`bus_suite!`](crate::bus_suite) wants them.
    ///
    /// # Panics
    /// When that fails.
    pub async fn two(self) -> ((), Buses) {
        ((), [self.direct().await, self.direct().await])
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
        self.trusting(url, None).await
    }

    /// Connects by another URL, with authorities that are trusted.
    ///
    /// # Errors
    /// What the bus says.
    pub async fn trusting(&self, url: &str, ca_pem: Option<&str>) -> Connected {
        let dial = Dial {
            url: url.to_owned(),
            prefix: self.prefix.clone(),
            ca_pem: ca_pem.map(str::to_owned),
        };
        (self.connect)(dial).await
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

fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("test-{process}-{}-{count}", now.as_micros())
}

/// Makes the tests of a bus on a broker: [`bus_suite!`](crate::bus_suite) as `mod bus`,
/// [`bus_start_suite!`](crate::bus_start_suite) as `mod start`, and in `mod faults` one that is
/// ignored, with the broker's name: the broker killed and paused
/// ([`outlives_faults`](super::outlives_faults)).
///
/// It is given how to connect (a function of a [`Dial`](super::Dial)), the name in
/// `scripts/services`, the variable with the URL, and the scheme. How long delivery may take to
/// resume is the constant `RESUMES` beside it.
#[macro_export]
macro_rules! broker_suite {
    ($connect:ident, $name:ident, $variable:literal, $scheme:literal) => {
        /// How to reach the broker, if there is one.
        fn reach() -> Option<$crate::suite::bus::Reach> {
            $crate::suite::bus::Reach::by_variable($variable, $connect)
        }

        mod bus {
            $crate::bus_suite!(async {
                match super::reach() {
                    Some(reach) => Some(reach.two().await),
                    None => None,
                }
            });
        }

        mod start {
            $crate::bus_start_suite!(async {
                let nobody = concat!($scheme, "://127.0.0.1:1");
                ((), $crate::suite::bus::Reach::new(nobody, super::$connect))
            });
        }

        mod faults {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "kills the broker: scripts/faults"]
            async fn $name() {
                let reach = super::reach().expect($variable);
                let name = stringify!($name);
                $crate::suite::bus::outlives_faults(name, reach, super::RESUMES).await;
            }
        }
    };
}
