//! Connections to the server, and why there is none.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, TlsCertificates,
};

/// How long a connection may take, with TLS and login, and an answer on it.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How often a connection is asked whether it is one.
pub(crate) const PING_EVERY: Duration = Duration::from_millis(1500);
/// The first wait between two attempts to connect; each is twice the one before.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to connect.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What a certificate in a text begins with.
const PEM: &str = "-----BEGIN CERTIFICATE-----";

/// Why there is no connection. Shows the address, never the credentials: a URL is not repeated, and
/// neither is what a server answers to a login, since an old one quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Another scheme, or none.
    #[error("the URL of Redis must begin with redis:// or rediss://")]
    Scheme,
    /// The right scheme, and then something else.
    #[error("the URL of Redis is not redis[s]://[user[:password]@]host[:port][/database]")]
    Url,
    /// The prefix can't be used.
    #[error("a prefix has 1 to 64 characters of A-Z a-z 0-9 _ - .")]
    Prefix,
    /// The lease can't be used.
    #[error("a lease lasts from 500 ms to an hour")]
    Lease,
    /// Certificates that are none, or without TLS.
    #[error("CA certificates are PEM text, and for rediss:// only")]
    Ca,
    /// TLS without a provider of it.
    #[error(
        "rediss:// needs rustls' provider: call rustls::crypto::ring::default_provider() \
         .install_default() first"
    )]
    NoTlsProvider,
    /// Nobody answers there.
    #[error("Redis at {addr} can't be reached: {reason}")]
    Unreachable {
        /// Host and port.
        addr: String,
        /// What the system says.
        reason: String,
    },
    /// Wrong user or password, or none where one is needed.
    #[error("Redis at {addr} refuses the credentials")]
    Credentials {
        /// Host and port.
        addr: String,
    },
    /// It is no Redis, or an old one.
    #[error("what answers at {addr} is no Redis from version 6 on")]
    Protocol {
        /// Host and port.
        addr: String,
    },
    /// It answers with an error.
    #[error("Redis at {addr} refuses: {code}")]
    Refused {
        /// Host and port.
        addr: String,
        /// The first word of the answer, such as `LOADING`.
        code: String,
    },
}

/// Where the server is, and how to get in.
pub(crate) struct Server {
    client: Client,
    addr: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.addr).finish()
    }
}

impl Server {
    /// `ca` are the certificates of authorities, as PEM; without, the public ones are trusted.
    pub(crate) fn parse(url: &str, ca: Option<&str>) -> Result<Self, ConnectError> {
        if !["redis://", "rediss://"]
            .iter()
            .any(|it| url.starts_with(it))
        {
            return Err(ConnectError::Scheme);
        }
        let info = url.into_connection_info().map_err(|_| ConnectError::Url)?;
        let addr = match info.addr() {
            ConnectionAddr::Tcp(host, port) => address(host, *port),
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                ..
            } => {
                // The client would panic where none is installed and several could be.
                if rustls::crypto::CryptoProvider::get_default().is_none() {
                    return Err(ConnectError::NoTlsProvider);
                }
                address(host, *port)
            }
            _ => return Err(ConnectError::Url),
        };
        let info = settled(info);
        let client = match ca {
            None => Client::open(info).map_err(|_| ConnectError::Url)?,
            Some(ca) if ca.contains(PEM) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.as_bytes().to_vec()),
                },
            )
            .map_err(|_| ConnectError::Ca)?,
            Some(_) => return Err(ConnectError::Ca),
        };
        Ok(Self { client, addr })
    }

    /// Host and port.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    /// Connects, within [`ANSWER_WAIT`].
    pub(crate) async fn open(&self) -> Result<MultiplexedConnection, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(ANSWER_WAIT));
        let opened = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(ANSWER_WAIT, opened).await {
            Ok(opened) => opened.map_err(|error| self.explain(&error)),
            Err(_) => Err(ConnectError::Unreachable {
                addr: self.addr.clone(),
                reason: format!("no answer within {ANSWER_WAIT:?}"),
            }),
        }
    }

    pub(crate) fn explain(&self, error: &RedisError) -> ConnectError {
        let addr = self.addr.clone();
        match (error.kind(), error.code()) {
            (ErrorKind::Io, _) => ConnectError::Unreachable {
                addr,
                reason: error.to_string(),
            },
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => {
                ConnectError::Credentials { addr }
            }
            (ErrorKind::Parse | ErrorKind::RESP3NotSupported, _) => ConnectError::Protocol { addr },
            (_, code) => ConnectError::Refused {
                addr,
                code: code.unwrap_or("an answer that is none").to_owned(),
            },
        }
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

/// The newer protocol, so that an old server is found out at the start.
fn settled(info: ConnectionInfo) -> ConnectionInfo {
    let redis = info.redis_settings().clone();
    info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3))
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
}

/// The waits between attempts: doubled up to a second, and spread, so that the nodes of a cluster
/// do not come all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    tries: u64,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self {
            next: BACKOFF_MIN,
            tries: 0,
        }
    }

    /// Waits after a failure, and says so now and then.
    pub(crate) async fn wait(&mut self, error: &ConnectError) {
        self.tries += 1;
        if self.tries.is_power_of_two() {
            tracing::warn!(%error, tries = self.tries, "the registry is away; trying again");
        }
        let half = self.next / 2;
        let spread = RandomState::new().hash_one(self.tries) % 1000;
        let spread = u32::try_from(spread).unwrap_or_default();
        tokio::time::sleep(half + half * spread / 1000).await;
        self.next = (self.next * 2).min(BACKOFF_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_being_shown() {
        let refused = |url: &str| {
            Server::parse(url, None)
                .map(|_| ())
                .expect_err("no URL of Redis")
        };
        for url in [
            "",
            "localhost:6379",
            "amqp://u:hunter2@h",
            "hunter2",
            "unix:///hunter2",
        ] {
            assert_eq!(refused(url), ConnectError::Scheme, "{url}");
        }
        for url in [
            "redis://",
            "redis://u:hunter2@",
            "redis://:hunter2@h:port",
            "redis://h/hunter2",
            "redis://h?protocol=hunter2",
            "rediss://h#hunter2",
            "rediss://h#insecure",
        ] {
            let error = refused(url);
            assert_eq!(error, ConnectError::Url, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        assert_eq!(refused("rediss://h"), ConnectError::NoTlsProvider);
        for ca in ["", PEM] {
            let refused = Server::parse("redis://h", Some(ca)).map(|_| ());
            assert_eq!(refused, Err(ConnectError::Ca), "{ca}");
        }
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let server = Server::parse("redis://somebody:hunter2@[::1]:7/3", None).expect("a URL");
        assert_eq!(format!("{server:?}"), "Server(\"[::1]:7\")");
    }

    #[tokio::test(start_paused = true)]
    async fn the_waits_grow_up_to_their_bound() {
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let start = tokio::time::Instant::now();
            backoff.wait(&ConnectError::Url).await;
            waits.push(start.elapsed());
        }
        assert!(waits[0] >= BACKOFF_MIN / 2 && waits[0] <= BACKOFF_MIN * 2);
        assert!(waits[11] >= BACKOFF_MAX / 2);
        assert!(
            waits
                .iter()
                .all(|wait| *wait <= BACKOFF_MAX + Duration::from_millis(2))
        );
    }
}
