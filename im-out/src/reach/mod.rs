//! Going out: one request to one checked address.

mod address;
mod exchange;

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

pub use address::is_public;
use exchange::exchange;

/// The longest address of an endpoint, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// The most addresses of one name that are tried.
const TRIES_MAX: usize = 4;
/// How long a request may take, from the look-up of the name to the head of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is allowed beside public addresses over TLS. For tests, and for networks of one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allow {
    /// Addresses that are not public: whoever may name an endpoint reaches what stands behind
    /// the firewall then.
    pub private: bool,
    /// `http://`.
    pub plain: bool,
}

/// Where a request goes. Shown without its path and query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text is no address of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is none at all.
    #[error("is no URL of a server")]
    Syntax,
    /// It is longer than 2,048 bytes.
    #[error("is longer than 2048 bytes")]
    TooLong,
    /// Another scheme than https (or http, where that is allowed).
    #[error("must begin with https://")]
    Scheme,
    /// It has a user or a password.
    #[error("must not have a user or a password")]
    Credentials,
    /// Its host is an address that is not public.
    #[error("is not a public address")]
    NotPublic,
}

impl Address {
    /// Reads an address. A name is looked up at each request, and checked then.
    ///
    /// # Errors
    /// When it is none, or none that is allowed.
    pub fn parse(text: &str, allow: Allow) -> Result<Self, AddressError> {
        if text.len() > URL_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| AddressError::Syntax)?;
        if url.scheme() != "https" && !(allow.plain && url.scheme() == "http") {
            return Err(AddressError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        let public = match url.host() {
            None => return Err(AddressError::Syntax),
            Some(Host::Domain(name)) => !is_local_name(name),
            Some(Host::Ipv4(ip)) => is_public(ip.into()),
            Some(Host::Ipv6(ip)) => is_public(ip.into()),
        };
        if !public && !allow.private {
            return Err(AddressError::NotPublic);
        }
        Ok(Self(url))
    }

    /// Its scheme, host and port, as VAPID asks for.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// Names that are this machine's or this network's, whatever a resolver says.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    ["localhost", "local", "internal", "home.arpa"]
        .iter()
        .any(|end| {
            let rest = name.strip_suffix(end);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

/// Looks names up. There for tests: [`Reach`] has the system's own.
#[async_trait]
pub trait Resolve: Debug + Send + Sync + 'static {
    /// The addresses of a host's name.
    ///
    /// # Errors
    /// When there are none to be had.
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

#[derive(Debug)]
struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// The name has no address now.
    #[error("the name has no address")]
    Name,
    /// The name leads to an address that is not public.
    #[error("the name leads to an address that is not public")]
    NotPublic,
    /// Nobody takes the connection.
    #[error("no connection")]
    Connect,
    /// The other side is not who the name says, or speaks no TLS.
    #[error("no TLS with that name")]
    Tls,
    /// What came is no answer, or too large a head of one.
    #[error("no answer of HTTP")]
    Http,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// A header can't be sent.
    #[error("a header can't be sent")]
    Header,
    /// There is no TLS to be had.
    #[error("TLS can't be set up")]
    NoTls,
}

/// An answer; its body is not read, so it costs nothing however long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// What `Retry-After` asks for, when it is a number of seconds.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Whether it is a 2xx. A redirect is none: it is not followed.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// Goes out.
#[derive(Debug, Clone)]
pub struct Reach {
    allow: Allow,
    resolve: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    deadline: Duration,
}

impl Reach {
    /// By the system's resolver, trusting the authorities that the web trusts; a request may take
    /// 10 s.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(allow: Allow) -> Result<Self, ReachError> {
        let tls = im_link::client_config(None).map_err(|_| ReachError::NoTls)?;
        Ok(Self {
            allow,
            resolve: Arc::new(System),
            tls: Arc::new(tls),
            deadline: DEADLINE,
        })
    }

    /// With another resolver.
    #[must_use]
    pub fn resolver(mut self, resolve: Arc<dyn Resolve>) -> Self {
        self.resolve = resolve;
        self
    }

    /// With another time that a request may take.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What is allowed.
    #[must_use]
    pub const fn allow(&self) -> Allow {
        self.allow
    }

    /// Posts a body, and gives the head of the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn post(
        &self,
        to: &Address,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, ReachError> {
        let mut given = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| ReachError::Header)?;
            given.push((HeaderName::from_static(name), value));
        }
        let going = async {
            let socket = self.connect(to).await?;
            if !to.is_tls() {
                return exchange(socket, &to.0, given, body).await;
            }
            let name = to.0.host_str().unwrap_or_default();
            let name = name
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let name = ServerName::try_from(name).map_err(|_| ReachError::Tls)?;
            let tls = TlsConnector::from(Arc::clone(&self.tls));
            let socket = tls.connect(name, socket).await;
            exchange(socket.map_err(|_| ReachError::Tls)?, &to.0, given, body).await
        };
        tokio::time::timeout(self.deadline, going)
            .await
            .unwrap_or(Err(ReachError::TimedOut))
    }

    /// Connects to an address that was checked: the name is not looked up again, so it can't lead
    /// elsewhere by then.
    async fn connect(&self, to: &Address) -> Result<TcpStream, ReachError> {
        for address in self.addresses(to).await?.into_iter().take(TRIES_MAX) {
            if let Ok(socket) = TcpStream::connect(address).await {
                return Ok(socket);
            }
        }
        Err(ReachError::Connect)
    }

    async fn addresses(&self, to: &Address) -> Result<Vec<SocketAddr>, ReachError> {
        let port = to.port();
        let found = match to.0.host() {
            None => return Err(ReachError::Name),
            Some(Host::Ipv4(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Domain(name)) => {
                let found = self.resolve.resolve(name, port).await;
                found.map_err(|_| ReachError::Name)?
            }
        };
        if found.is_empty() {
            return Err(ReachError::Name);
        }
        // One that is not public spoils all: such a name is out to deceive.
        if !self.allow.private && !found.iter().all(|address| is_public(address.ip())) {
            return Err(ReachError::NotPublic);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_public_is_refused_however_it_is_written() {
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://x.localhost/",
            "https://169.254.169.254/latest/meta-data",
            "https://metadata.google.internal/",
            "https://printer.local",
            "https://0/",
            "https://１２７.0.0.1/",
        ] {
            let refused = Address::parse(text, Allow::default());
            assert_eq!(refused, Err(AddressError::NotPublic), "{text}");
        }
    }

    #[test]
    fn only_plain_addresses_of_servers_are_taken() {
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        for (text, why) in [
            ("", AddressError::Syntax),
            ("hooks", AddressError::Syntax),
            ("https://", AddressError::Syntax),
            ("http://a.example/", AddressError::Scheme),
            ("file:///etc/passwd", AddressError::Scheme),
            ("gopher://a.example/", AddressError::Scheme),
            ("https://me@a.example/", AddressError::Credentials),
            ("https://a.example@127.0.0.1/", AddressError::Credentials),
            (&long, AddressError::TooLong),
        ] {
            assert_eq!(Address::parse(text, Allow::default()), Err(why), "{text}");
        }
        let good = Address::parse("https://a.example:8443/hook?key=1", Allow::default()).unwrap();
        assert_eq!(format!("{good:?}"), "https://a.example:8443");
    }
}
