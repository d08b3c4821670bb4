//! The connection: one, kept, with a bound on what waits for its answers.

use std::future::pending;

use async_trait::async_trait;
use im_core::port::{PortError, PortErrorKind};
use im_link::redis::Server;
use im_link::{ANSWER_WAIT, At, ConnectError, Keep, Kept, Link};
use redis::aio::MultiplexedConnection;
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
    pub(crate) async fn start(server: Server) -> Result<Self, ConnectError> {
        Ok(Self {
            kept: Kept::start(Keeping(server)).await?,
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
        let mut connection = held.link().0.clone();
        let answer = timeout(ANSWER_WAIT, script.invoke_async(&mut connection)).await;
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
        self.kept.keep().0.explain(error)
    }
}

#[derive(Debug)]
struct Keeping(Server);

struct Connection(MultiplexedConnection);

#[async_trait]
impl Link for Connection {
    /// It hears of its end by the next answer that is missing.
    async fn closed(&self) {
        pending().await
    }

    async fn is_alive(&self) -> bool {
        Server::is_alive(&self.0).await
    }
}

#[async_trait]
impl Keep for Keeping {
    type Link = Connection;

    fn loss(&self) -> &'static str {
        "the registry is away"
    }

    fn at(&self) -> &At {
        self.0.at()
    }

    async fn open(&self) -> Result<Connection, ConnectError> {
        self.0
            .open(AsyncConnectionConfig::new())
            .await
            .map(Connection)
    }

    async fn on_new(&self, _link: &Connection) {}

    async fn on_alive(&self, _link: &Connection) {}
}

const fn away() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}
