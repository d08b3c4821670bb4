//! The connection: one, replaced when it is lost, with a bound on what waits for its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_core::port::{PortError, PortErrorKind};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::connect::{ANSWER_WAIT, Backoff, ConnectError, PING_EVERY, Server};
use crate::task::Task;

/// The most calls that wait for an answer; more are refused.
const UNANSWERED_MAX: usize = 4096;

/// Runs scripts, over a connection that a task of its own keeps.
#[derive(Debug)]
pub(crate) struct Redis {
    shared: Arc<Shared>,
    _keeping: Task,
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    link: Mutex<Option<Arc<Link>>>,
    unanswered: Semaphore,
}

#[derive(Debug)]
struct Link {
    connection: MultiplexedConnection,
    /// It did not answer, and the task that keeps it hears so.
    is_hurt: AtomicBool,
    hurt: Notify,
}

impl Redis {
    pub(crate) async fn start(server: Server) -> Result<Self, ConnectError> {
        let link = Link::open(&server).await?;
        let shared = Arc::new(Shared {
            server: Arc::new(server),
            link: Mutex::new(Some(Arc::clone(&link))),
            unanswered: Semaphore::new(UNANSWERED_MAX),
        });
        let keeping = Task::spawn(keep(Arc::clone(&shared), link));
        Ok(Self {
            shared,
            _keeping: keeping,
        })
    }

    /// Runs a script; the answer comes within [`ANSWER_WAIT`] or is an error. While the server is
    /// away, the error comes at once. A script is not sent twice: it may have run.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, PortError> {
        let shared = &self.shared;
        let _one = shared.unanswered.try_acquire().map_err(|_| away())?;
        let link = shared.link.lock().clone().ok_or_else(away)?;
        let mut connection = link.connection.clone();
        let answer = timeout(ANSWER_WAIT, script.invoke_async(&mut connection)).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if !error.is_io_error() && !error.is_unrecoverable_error() => {
                return Err(self.judge(&error));
            }
            Ok(Err(error)) => {
                PortError::with_source(PortErrorKind::Unavailable, shared.server.explain(&error))
            }
            Err(_) => away(),
        };
        link.give_up();
        shared.cut(&link);
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
        PortError::with_source(kind, self.shared.server.explain(error))
    }
}

impl Shared {
    /// Nobody else is to wait for that one.
    fn cut(&self, link: &Arc<Link>) {
        let mut current = self.link.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, link)) {
            *current = None;
        }
    }
}

impl Link {
    async fn open(server: &Server) -> Result<Arc<Self>, ConnectError> {
        Ok(Arc::new(Self {
            connection: server.open().await?,
            is_hurt: AtomicBool::new(false),
            hurt: Notify::new(),
        }))
    }

    fn give_up(&self) {
        if !self.is_hurt.swap(true, Ordering::AcqRel) {
            self.hurt.notify_one();
        }
    }

    /// Asks in a while.
    async fn is_alive_later(&self) -> bool {
        tokio::time::sleep(PING_EVERY).await;
        let mut connection = self.connection.clone();
        let ping = redis::cmd("PING");
        let asked = ping.query_async::<()>(&mut connection);
        matches!(timeout(ANSWER_WAIT, asked).await, Ok(Ok(())))
    }
}

/// Replaces the connection when it is lost, as long as the task lives.
async fn keep(shared: Arc<Shared>, mut link: Arc<Link>) {
    loop {
        let is_alive = tokio::select! {
            () = link.hurt.notified() => false,
            is_alive = link.is_alive_later() => is_alive,
        };
        if is_alive {
            continue;
        }
        shared.cut(&link);
        tracing::warn!(
            addr = shared.server.addr(),
            "Redis is away; connecting again"
        );
        link = reopen(&shared.server).await;
        *shared.link.lock() = Some(Arc::clone(&link));
        tracing::info!(addr = shared.server.addr(), "Redis is back");
    }
}

async fn reopen(server: &Server) -> Arc<Link> {
    let mut backoff = Backoff::new();
    loop {
        match Link::open(server).await {
            Ok(link) => return link,
            Err(error) => backoff.wait(&error).await,
        }
    }
}

const fn away() -> PortError {
    PortError::new(PortErrorKind::Unavailable)
}
