//! Connections to Redis.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, TlsCertificates,
};

use crate::connect::{ANSWER_WAIT, At, ConnectError, check_ca};
use crate::kept::within;

/// How often a call goes to another server of a cluster, told by the one before.
const CLUSTER_TRIES: u32 = 4;

const URL: ConnectError = ConnectError::Url {
    form: "redis[s]://[user[:password]@]host[:port][/database]",
};

/// Where the server is, and how to get in.
pub struct Server {
    client: Client,
    authorities: Option<TlsCertificates>,
    at: At,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.at.addr).finish()
    }
}

impl Server {
    /// `ca` are the certificates of authorities, as PEM; without, the public ones are trusted.
    ///
    /// # Errors
    /// When the URL is none of Redis, or needs TLS and there is no provider of it.
    pub fn parse(url: &str, ca: Option<&str>) -> Result<Self, ConnectError> {
        if !["redis://", "rediss://"]
            .iter()
            .any(|it| url.starts_with(it))
        {
            return Err(ConnectError::Scheme {
                schemes: "redis:// or rediss://",
            });
        }
        // The client's own settings: nothing that we would want to be set.
        if url.contains(['?', '#']) {
            return Err(URL);
        }
        let info = url.into_connection_info().map_err(|_| URL)?;
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
            _ => return Err(URL),
        };
        let info = settled(info);
        let authorities = ca.map(authorities).transpose()?;
        let client = match authorities.clone() {
            None => Client::open(info).map_err(|_| URL)?,
            Some(it) => Client::build_with_tls(info, it).map_err(|_| ConnectError::Ca)?,
        };
        let at = At {
            what: "Redis",
            addr,
        };
        Ok(Self {
            client,
            authorities,
            at,
        })
    }

    /// Who it is.
    #[must_use]
    pub const fn at(&self) -> &At {
        &self.at
    }

    /// Connects, within [`ANSWER_WAIT`].
    ///
    /// # Errors
    /// When nobody answers there as a Redis that takes the credentials.
    pub async fn open(
        &self,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let config = config
            .set_connection_timeout(None)
            .set_response_timeout(Some(ANSWER_WAIT));
        let opened = async {
            self.client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|error| self.explain(&error))
        };
        within(&self.at, ANSWER_WAIT, opened).await
    }

    /// Connects to the Redis Cluster that this server is of, within [`ANSWER_WAIT`].
    ///
    /// # Errors
    /// When nobody answers there as a server of a cluster that takes the credentials.
    pub async fn open_cluster(&self) -> Result<ClusterConnection, ConnectError> {
        let info = self.client.get_connection_info().clone();
        let mut builder = ClusterClient::builder([info])
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(ANSWER_WAIT)
            .response_timeout(ANSWER_WAIT)
            .retries(CLUSTER_TRIES);
        if let Some(authorities) = self.authorities.clone() {
            builder = builder.certs(authorities);
        }
        let opened = async {
            let client = builder.build().map_err(|error| self.explain(&error))?;
            let opened = client.get_async_connection().await;
            opened.map_err(|error| self.explain(&error))
        };
        within(&self.at, ANSWER_WAIT, opened).await
    }

    /// Asks a connection whether it is one.
    pub async fn is_alive(connection: &MultiplexedConnection) -> bool {
        let mut connection = connection.clone();
        let ping = redis::cmd("PING");
        ping.query_async::<()>(&mut connection).await.is_ok()
    }

    /// What an error means, without the server's own words.
    #[must_use]
    pub fn explain(&self, error: &RedisError) -> ConnectError {
        let at = self.at.clone();
        match (error.kind(), error.code()) {
            (ErrorKind::Io, _) => ConnectError::unreachable(&at, error),
            (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH" | "NOPERM")) => {
                ConnectError::Credentials { at }
            }
            (ErrorKind::Parse | ErrorKind::RESP3NotSupported, _) => ConnectError::Protocol { at },
            (_, code) => ConnectError::refused(&at, code.unwrap_or("an answer that is none")),
        }
    }
}

fn authorities(ca: &str) -> Result<TlsCertificates, ConnectError> {
    check_ca(ca)?;
    Ok(TlsCertificates {
        client_tls: None,
        root_cert: Some(ca.as_bytes().to_vec()),
    })
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        return format!("[{host}]:{port}");
    }
    format!("{host}:{port}")
}

/// Messages come as pushes, which the older protocol has not.
fn settled(info: ConnectionInfo) -> ConnectionInfo {
    let redis = info.redis_settings().clone();
    info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP3))
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
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
            assert!(matches!(refused(url), ConnectError::Scheme { .. }), "{url}");
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
            assert_eq!(error, URL, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        assert_eq!(refused("rediss://h"), ConnectError::NoTlsProvider);
        for ca in ["", "-----BEGIN CERTIFICATE-----"] {
            let refused = Server::parse("redis://h", Some(ca)).map(|_| ());
            assert_eq!(refused, Err(ConnectError::Ca), "{ca}");
        }
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let server = Server::parse("redis://somebody:hunter2@[::1]:7/3", None).expect("a URL");
        assert_eq!(format!("{server:?}"), "Server(\"[::1]:7\")");
    }
}
