//! The connection: one, kept, with a bound on what waits for its answers.

use std::future::pending;

use async_trait::async_trait;
use im_core::port::{PortError, PortErrorKind};
use im_link::redis::Server;
use im_link::{ANSWER_WAIT, At, ConnectError, Keep, Kept, Link};
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The most calls that wait for an answer; more are refused.
const UNANSWERED_MAX: usize = 4096;

/// Runs scripts, over a connection that a task of its own keeps.
#[derive(Debug)]
pub(crate) struct Redis {
    kept: Kept<Keeping>,
    unanswered: Semaphore,
}

impl Redis {
    /// To one server. `loss` says what its being away means.
    pub(crate) async fn start(server: Server, loss: &'static str) -> Result<Self, ConnectError> {
        Self::start_as(server, loss, false).await
    }

    /// To all servers of a cluster.
    pub(crate) async fn start_cluster(
        server: Server,
        loss: &'static str,
    ) -> Result<Self, ConnectError> {
        Self::start_as(server, loss, true).await
    }

    async fn start_as(
        server: Server,
        loss: &'static str,
        is_cluster: bool,
    ) -> Result<Self, ConnectError> {
        let keeping = Keeping {
            server,
            loss,
            is_cluster,
        };
        Ok(Self {
            kept: Kept::start(keeping).await?,
            unanswered: Semaphore::new(UNANSWERED_MAX),
        })
    }

    /// Runs a script; the answer comes within [`ANSWER_WAIT`] or is an error. While the server is
    /// away, the error comes at once. A script is not sent twice: it may have run.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, PortError> {
        let _one = self.unanswered.try_acquire().map_err(|_| away())?;
        let held = self.kept.link().ok_or_else(away)?;
        let answer = timeout(ANSWER_WAIT, held.link().invoke(script)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if !error.is_io_error() && !error.is_unrecoverable_error() => {
                return Err(self.judge(&error));
            }
            Ok(Err(error)) => {
                PortError::with_source(PortErrorKind::Unavailable, self.explain(&error))
            }
            Err(_) => away(),
        };
        self.kept.give_up(&held);
        Err(error)
    }

    /// What the server's refusal means. Its own words are left out: they may quote ids.
    fn judge(&self, error: &RedisError) -> PortError {
        let kind = match error.code() {
            Some("OOM" | "MISCONF") => PortErrorKind::Exhausted,
            Some("WRONGTYPE") => PortErrorKind::Corrupt,
            Some("NOPERM" | "ERR" | "CROSSSLOT") => PortErrorKind::Internal,
            // Such as LOADING, READONLY, BUSY, CLUSTERDOWN.
            Some(_) => PortErrorKind::Unavailable,
            None => PortErrorKind::Internal,
        };
        PortError::with_source(kind, self.explain(error))
    }

    fn explain(&self, error: &RedisError) -> ConnectError {
        self.kept.keep().server.explain(error)
    }
}

#[derive(Debug)]
struct Keeping {
    server: Server,
    loss: &'static str,
    is_cluster: bool,
}

enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match self {
            Self::One(connection) => script.invoke_async(&mut connection.clone()).await,
            Self::Cluster(connection) => script.invoke_async(&mut connection.clone()).await,
        }
    }
}

#[async_trait]
impl Link for Connection {
    /// It hears of its end by the next answer that is missing.
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        match self {
            Self::One(connection) => Server::is_alive(connection).await,
            // It replaces its own.
            Self::Cluster(_) => true,
        }
    }
}

#[async_trait]
impl Keep for Keeping {
    type Link = Connection;

    fn loss(&self) -> &'static str {
        self.loss
    }

    fn at(&self) -> &At {
        self.server.at()
    }

    async fn open(&self) -> Result<Connection, ConnectError> {
        if self.is_cluster {
            return self.server.open_cluster().await.map(Connection::Cluster);
        }
        let opened = self.server.open(AsyncConnectionConfig::new()).await;
        opened.map(Connection::One)
    }

    async fn on_new(&self, _link: &Connection) {}

    async fn on_alive(&self, _link: &Connection) {}
}

const fn away() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}
