//! The connection: one, kept, with a bound on what waits for its answers.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use im_core::port::{PortError, PortErrorKind};
use im_link::redis::Server;
use im_link::{ANSWER_WAIT, At, ConnectError, Held, Keep, Kept, Link};
use redis::aio::ConnectionLike;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind,
    ToRedisArgs,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The most calls that wait for an answer; more are refused.
const UNANSWERED_MAX: usize = 4096;

/// A call of a script: what is sent, as it is written.
pub(crate) struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl<'a> Call<'a> {
    /// About these keys.
    pub(crate) fn new(script: &'a Script, keys: &[&str]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(keys.len()).arg(keys);
        Self { script, command }
    }

    pub(crate) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// A server that has not got the script yet gets it.
    async fn invoke<T: FromRedisValue>(
        &self,
        connection: &mut (impl ConnectionLike + Send),
    ) -> Result<T, RedisError> {
        match self.command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                self.command.query_async(connection).await
            }
            answer => answer,
        }
    }
}

/// Runs scripts, over a connection that a task of its own keeps.
#[derive(Debug)]
pub(crate) struct Redis {
    kept: Kept<Keeping>,
    unanswered: Semaphore,
}

impl Redis {
    /// `loss` says what its being away means.
    pub(crate) async fn start(
        server: Server,
        to: To,
        loss: &'static str,
    ) -> Result<Self, ConnectError> {
        let keeping = Keeping { server, to, loss };
        Ok(Self {
            kept: Kept::start(keeping).await?,
            unanswered: Semaphore::new(UNANSWERED_MAX),
        })
    }

    /// Runs a script; the answer comes within [`ANSWER_WAIT`] or is an error. While the server is
    /// away, the error comes at once. A script is not sent twice: it may have run.
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, PortError> {
        let held = self.kept.link().ok_or_else(away)?;
        self.run_on(&held, call).await
    }

    /// The same for a script whose last argument is the life of the server that it runs on, empty
    /// where that is not known.
    pub(crate) async fn run_in_life<T: FromRedisValue>(
        &self,
        mut call: Call<'_>,
    ) -> Result<T, PortError> {
        let held = self.kept.link().ok_or_else(away)?;
        call.arg(held.link().life());
        self.run_on(&held, &call).await
    }

    async fn run_on<T: FromRedisValue>(
        &self,
        held: &Arc<Held<Connection>>,
        call: &Call<'_>,
    ) -> Result<T, PortError> {
        let _one = self.unanswered.try_acquire().map_err(|_| away())?;
        let answer = timeout(ANSWER_WAIT, held.link().invoke(call)).await;
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
        self.kept.give_up(held);
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
    to: To,
    loss: &'static str,
}

/// What is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// One server.
    One,
    /// One server, whose life scripts are told.
    OneWithLife,
    /// All servers of a cluster.
    Cluster,
}

enum Connection {
    /// To one process as long as it lasts, so that process's life is the connection's, too.
    One {
        connection: MultiplexedConnection,
        life: String,
    },
    Cluster(ClusterConnection),
}

impl Connection {
    async fn invoke<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, RedisError> {
        match self {
            Self::One { connection, .. } => call.invoke(&mut connection.clone()).await,
            Self::Cluster(connection) => call.invoke(&mut connection.clone()).await,
        }
    }

    fn life(&self) -> &str {
        match self {
            Self::One { life, .. } => life,
            // Whose it is depends on the slot: the script asks.
            Self::Cluster(_) => "",
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
            Self::One { connection, .. } => Server::is_alive(connection).await,
            // It replaces its own.
            Self::Cluster(_) => true,
        }
    }
}

impl Keeping {
    /// Another one after each start. Empty when the login may not ask, which scripts then say.
    async fn life(&self, connection: &mut MultiplexedConnection) -> Result<String, ConnectError> {
        let info = redis::cmd("INFO").arg("server").take();
        let info = match info.query_async::<String>(connection).await {
            Err(error) if error.is_io_error() => return Err(self.server.explain(&error)),
            info => info.unwrap_or_default(),
        };
        let life = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(life.unwrap_or_default().to_owned())
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
        if self.to == To::Cluster {
            return self.server.open_cluster().await.map(Connection::Cluster);
        }
        let mut connection = self.server.open(AsyncConnectionConfig::new()).await?;
        let life = match self.to {
            To::OneWithLife => self.life(&mut connection).await?,
            _ => String::new(),
        };
        Ok(Connection::One { connection, life })
    }

    async fn on_new(&self, _link: &Connection) {}

    async fn on_alive(&self, _link: &Connection) {}
}

const fn away() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}
