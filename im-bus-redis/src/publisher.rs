//! The connection that sends: one, replaced when it is lost, with bounds on what is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use im_core::port::{PortError, PortErrorKind};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::connect::{ANSWER_WAIT, Backoff, ConnectError, PING_EVERY, Server};
use crate::frame;
use crate::task::Task;

/// The most messages that wait for the broker's answer.
const UNANSWERED_MAX: usize = 4096;
/// The most bytes that wait for it.
const UNANSWERED_BYTES_MAX: usize = 16 << 20;

/// Sends, over a connection that a task of its own keeps.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    _keeping: Task,
}

#[derive(Debug)]
struct Shared {
    server: Arc<Server>,
    /// The channel of all.
    all: String,
    link: Mutex<Option<Arc<Link>>>,
    count: Semaphore,
    bytes: Semaphore,
    /// Something was not sent, and the others have not been told.
    owes: AtomicBool,
}

#[derive(Debug)]
struct Link {
    server: Arc<Server>,
    connection: MultiplexedConnection,
    /// It did not answer, and the task that keeps it hears so.
    is_hurt: AtomicBool,
    hurt: Notify,
}

impl Publisher {
    pub(crate) async fn start(server: Arc<Server>, all: String) -> Result<Self, ConnectError> {
        let link = Link::open(&server).await?;
        let shared = Arc::new(Shared {
            server,
            all,
            link: Mutex::new(Some(Arc::clone(&link))),
            count: Semaphore::new(UNANSWERED_MAX),
            bytes: Semaphore::new(UNANSWERED_BYTES_MAX),
            owes: AtomicBool::new(false),
        });
        let keeping = Task::spawn(keep(Arc::clone(&shared), link));
        Ok(Self {
            shared,
            _keeping: keeping,
        })
    }

    pub(crate) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), PortError> {
        let published = self.shared.publish(channel, payload).await;
        if published.is_err() {
            self.shared.owes.store(true, Ordering::Release);
        }
        published
    }
}

impl Shared {
    async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), PortError> {
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let permits = (self.count.try_acquire(), self.bytes.try_acquire_many(bytes));
        let (Ok(_one), Ok(_bytes)) = permits else {
            return Err(refused("full"));
        };
        let link = self.link.lock().clone().ok_or_else(|| refused("away"))?;
        let published = link.publish(channel, frame::message(payload)).await;
        if link.is_hurt.load(Ordering::Acquire) {
            self.cut(&link);
        }
        published
    }

    /// Nobody else is to wait for that one.
    fn cut(&self, link: &Arc<Link>) {
        let mut current = self.link.lock();
        if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, link)) {
            *current = None;
        }
    }

    /// Tells all that something was not sent, so that they look.
    async fn tell_missed(&self, link: &Link) {
        if !self.owes.swap(false, Ordering::AcqRel) {
            return;
        }
        if link
            .publish(&self.all, frame::missed().to_vec())
            .await
            .is_err()
        {
            self.owes.store(true, Ordering::Release);
        }
    }
}

impl Link {
    async fn open(server: &Arc<Server>) -> Result<Arc<Self>, ConnectError> {
        let connection = server.open(AsyncConnectionConfig::new()).await?;
        Ok(Arc::new(Self {
            server: Arc::clone(server),
            connection,
            is_hurt: AtomicBool::new(false),
            hurt: Notify::new(),
        }))
    }

    async fn publish(&self, channel: &str, frame: Vec<u8>) -> Result<(), PortError> {
        let mut connection = self.connection.clone();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(frame);
        let asked = publish.query_async::<()>(&mut connection);
        match timeout(ANSWER_WAIT, asked).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.judge(&error)),
            Err(_) => {
                self.give_up();
                Err(refused("silent"))
            }
        }
    }

    fn give_up(&self) {
        self.is_hurt.store(true, Ordering::Release);
        self.hurt.notify_one();
    }

    fn judge(&self, error: &RedisError) -> PortError {
        if error.is_io_error() || error.is_unrecoverable_error() {
            self.give_up();
            return refused("away");
        }
        metrics::counter!("im_bus_unsent_total", "reason" => "refused").increment(1);
        let kind = match error.code() {
            Some("NOPERM") => PortErrorKind::Internal,
            _ => PortErrorKind::Unavailable,
        };
        // Explained, since a server's own words may quote what was sent.
        PortError::with_source(kind, self.server.explain(error))
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
            shared.tell_missed(&link).await;
            continue;
        }
        shared.cut(&link);
        tracing::warn!(
            addr = shared.server.addr(),
            "the bus can't send; connecting again"
        );
        link = reopen(&shared.server).await;
        *shared.link.lock() = Some(Arc::clone(&link));
        tracing::info!(addr = shared.server.addr(), "the bus can send again");
        shared.tell_missed(&link).await;
    }
}

async fn reopen(server: &Arc<Server>) -> Arc<Link> {
    let mut backoff = Backoff::new();
    loop {
        match Link::open(server).await {
            Ok(link) => return link,
            Err(error) => backoff.wait(&error).await,
        }
    }
}

fn refused(reason: &'static str) -> PortError {
    metrics::counter!("im_bus_unsent_total", "reason" => reason).increment(1);
    PortError::new(PortErrorKind::Unavailable)
}
