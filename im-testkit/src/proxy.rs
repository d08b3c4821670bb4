//! A TCP proxy on loopback that breaks connections as it is told: slow, silent, cut in pieces,
//! reset.
//!
//! ```no_run
//! # async fn test(server: std::net::SocketAddr) -> std::io::Result<()> {
//! use im_testkit::proxy::{Faults, Proxy, Silence};
//!
//! let proxy = Proxy::start(server).await?;
//! // … a client connects to proxy.addr() …
//! proxy.set(Faults { silence: Silence::ToClient, ..Faults::default() });
//! // … what the server says now gets lost, and nobody sees a closed connection …
//! proxy.reset_all();
//! # Ok(())
//! # }
//! ```

use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// The most connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// The most bytes that are read at once.
const READ_BYTES_MAX: usize = 16 << 10;
/// The most reads that wait in one direction of a connection; then the sender is held up.
const QUEUE_MAX: usize = 64;

/// How long to wait after an accept that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// Which directions lose everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Silence {
    /// None.
    #[default]
    None,
    /// What clients send.
    ToServer,
    /// What the server sends.
    ToClient,
    /// Both.
    Both,
}

/// What is wrong with all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every byte arrives so much later; the order stays.
    pub delay: Duration,
    /// Bytes, and the end of a connection, get lost without anybody being told. A direction of a
    /// connection that has lost something loses everything from then on, since a stream with a
    /// hole in it does not exist; only cutting the connection ends that.
    pub silence: Silence,
    /// Every byte is a write of its own.
    pub split: bool,
    /// Nothing moves. What is held back arrives when it ends.
    pub pause: bool,
    /// New connections are closed at once.
    pub refuse: bool,
}

/// A proxy in front of one server. Dropping it ends every connection.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Control {
    target: SocketAddr,
    faults: watch::Sender<Faults>,
    /// The last cut of all connections.
    cut: watch::Sender<Cut>,
    free: Arc<Semaphore>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Cut {
    #[default]
    Close,
    Reset,
}

impl Proxy {
    /// Listens on a port of loopback that the kernel chose, with nothing wrong.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let control = Arc::new(Control {
            target,
            faults: watch::Sender::default(),
            cut: watch::Sender::default(),
            free: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&control)));
        Ok(Self {
            addr,
            control,
            accepting,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        CONNECTIONS_MAX - self.control.free.available_permits()
    }

    /// What is wrong from now on, with the connections that there are too.
    pub fn set(&self, faults: Faults) {
        self.control.faults.send_replace(faults);
    }

    /// Ends every connection as if both sides had closed it.
    pub fn close_all(&self) {
        self.control.cut.send_replace(Cut::Close);
    }

    /// Ends every connection with a reset to both sides.
    pub fn reset_all(&self) {
        self.control.cut.send_replace(Cut::Reset);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts until it is aborted; the connections' tasks end with its set.
async fn accept(listener: TcpListener, control: Arc<Control>) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of files, say, which does not end at once.
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&control.free).acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        if control.faults.borrow().refuse {
            continue;
        }
        let control = Arc::clone(&control);
        tasks.spawn(async move {
            let _permit = permit;
            connection(client, &control).await;
        });
    }
}

async fn connection(mut client: TcpStream, control: &Control) {
    let mut cut = control.cut.subscribe();
    let Ok(mut server) = TcpStream::connect(control.target).await else {
        return;
    };
    // Without it, single bytes would be gathered again.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let faults = || control.faults.subscribe();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let how = tokio::select! {
        passed = async { tokio::try_join!(
            pump(from_client, to_server, Silence::ToServer, faults()),
            pump(from_server, to_client, Silence::ToClient, faults()),
        ) } => if passed.is_ok() { Cut::Close } else { Cut::Reset },
        changed = cut.changed() => match changed {
            Ok(()) => *cut.borrow_and_update(),
            Err(_) => Cut::Reset,
        },
    };
    if matches!(how, Cut::Reset) {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// One direction, until its end has been passed on.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Silence,
    faults: watch::Receiver<Faults>,
) -> io::Result<()> {
    let (queue, waiting) = mpsc::channel(QUEUE_MAX);
    let reading = read(from, direction, faults.clone(), queue);
    tokio::try_join!(reading, write(to, faults, waiting)).map(|_| ())
}

async fn read(
    mut from: ReadHalf<'_>,
    direction: Silence,
    mut faults: watch::Receiver<Faults>,
    queue: mpsc::Sender<(Instant, Bytes)>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES_MAX];
    let mut is_silent = false;
    loop {
        let now = until_moving(&mut faults).await;
        let count = tokio::select! {
            biased;
            // They may say to stop reading.
            _ = faults.changed() => continue,
            count = from.read(&mut buffer) => count?,
        };
        is_silent |= now.silence == direction || now.silence == Silence::Both;
        match (is_silent, count) {
            // The other side never hears of the end.
            (true, 0) => pending().await,
            (true, _) => {}
            (false, 0) => return Ok(()),
            (false, _) => {
                let due = Instant::now() + now.delay;
                let bytes = Bytes::copy_from_slice(&buffer[..count]);
                if queue.send((due, bytes)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut faults: watch::Receiver<Faults>,
    mut waiting: mpsc::Receiver<(Instant, Bytes)>,
) -> io::Result<()> {
    while let Some((due, bytes)) = waiting.recv().await {
        tokio::time::sleep_until(due).await;
        let now = until_moving(&mut faults).await;
        if !now.split {
            to.write_all(&bytes).await?;
            continue;
        }
        for byte in bytes {
            to.write_all(&[byte]).await?;
            // Lets the other side read it before the next one comes.
            tokio::task::yield_now().await;
        }
    }
    to.shutdown().await
}

/// Waits while there is a pause; what is wrong then.
async fn until_moving(faults: &mut watch::Receiver<Faults>) -> Faults {
    loop {
        let now = *faults.borrow_and_update();
        // Without a proxy there is nobody to end the pause, and the task is about to end.
        if !now.pause || faults.changed().await.is_err() {
            return now;
        }
    }
}
