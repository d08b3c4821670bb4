//! The generator's connections: one light task each on one thread, all through one read buffer.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{interval, timeout};

use crate::Result;
use crate::faults::Faults;
use crate::machine::{Event, Machine};
use crate::target::Place;
use crate::{json, wire};

/// Bytes that one read takes at most; the buffer is shared by all connections of the thread.
const READ: usize = 64 << 10;
/// Connections that are being opened at once.
const OPENING: usize = 64;
/// Half of the 100 ms within which the protocol wants an `ack`.
const TICK: Duration = Duration::from_millis(50);
/// Longest wait for a connection to open, and for a `res`.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The writing side of a connection and its protocol state.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) machine: RefCell<Machine>,
    write: OwnedWriteHalf,
}

/// The reading side, owned by whoever drives the connection.
#[derive(Debug)]
pub(crate) struct Reader(OwnedReadHalf);

/// A connection that is open and not driven yet.
pub(crate) type Opened = (Rc<Conn>, Reader);

impl Conn {
    /// Connects from `source`, upgrades, says `hello` and waits for `welcome`.
    pub(crate) async fn open(place: &Place, user: u32, source: Ipv4Addr) -> Result<Opened> {
        timeout(PATIENCE, Self::open_now(place, user, source)).await?
    }

    async fn open_now(place: &Place, user: u32, source: Ipv4Addr) -> Result<Opened> {
        let socket = TcpSocket::new_v4()?;
        if source != Ipv4Addr::LOCALHOST {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let mut stream = socket
            .connect(SocketAddr::from(([127, 0, 0, 1], place.port_of(user))))
            .await?;
        stream.set_nodelay(true)?;
        stream
            .write_all(wire::upgrade_request(place.port_of(user)).as_bytes())
            .await?;
        let mut head = Vec::new();
        let end = loop {
            if let Some(end) = wire::upgraded(&head)? {
                break end;
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Err("closed before the upgrade".into());
            }
        };
        if end < head.len() {
            return Err("a frame before `hello`".into());
        }
        let mut machine = Machine::new(user, place.size);
        machine.hello(&place.token(user)?, &place.user(user));
        let (read, write) = stream.into_split();
        let conn = Rc::new(Self {
            machine: RefCell::new(machine),
            write,
        });
        let mut reader = Reader(read);
        conn.flush();
        reader
            .until(&conn, |frame| is(frame, "welcome").then_some(Ok(())))
            .await?;
        Ok((conn, reader))
    }

    /// Queues the next message, meant to leave at `at`, and writes it.
    pub(crate) fn send(&self, at: u64) {
        self.machine.borrow_mut().send(at);
        self.flush();
    }

    /// Calls a method and waits for its `res`; what else comes meanwhile is only booked.
    pub(crate) async fn request(
        &self,
        reader: &mut Reader,
        method: &str,
        params: &str,
    ) -> Result<Vec<u8>> {
        let rest = format!(r#","method":"{method}","params":{params}"#);
        let id = self.machine.borrow_mut().ask("req", &rest);
        self.flush();
        let answer = reader.until(self, |frame| {
            let to = json::field(frame, "id").and_then(json::number);
            (to == Some(u64::from(id))).then(|| match json::field(frame, "value") {
                Some(value) => Ok(value.to_vec()),
                None => Err(format!("{method}: {}", String::from_utf8_lossy(frame)).into()),
            })
        });
        timeout(PATIENCE, answer).await?
    }

    /// Writes what waits, as far as the socket takes it; the rest goes with the next call.
    pub(crate) fn flush(&self) {
        let out = &mut self.machine.borrow_mut().out;
        while !out.is_empty() {
            match self.write.try_write(out) {
                Ok(len) if len == out.len() => out.clear(),
                Ok(len) => drop(out.drain(..len)),
                // Full, or closed: of that the reading side hears.
                Err(_) => return,
            }
        }
    }
}

impl Reader {
    /// Reads once, lets the machine handle it, writes once; an error ends the connection.
    async fn step<F>(&mut self, conn: &Conn, on: &mut F) -> Result<()>
    where
        F: FnMut(&mut Machine, Event<'_>),
    {
        std::future::poll_fn(|cx| -> Poll<Result<()>> {
            SCRATCH.with_borrow_mut(|scratch| {
                // `poll_read`, not `try_read`: after a read that didn't fill the buffer tokio
                // waits for the next event instead of reading once more for nothing.
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Err("the server closed the connection".into()));
                }
                let handled = conn.machine.borrow_mut().handle_bytes(buffer.filled(), on);
                Poll::Ready(handled.map_err(crate::Error::from))
            })
        })
        .await?;
        conn.flush();
        Ok(())
    }

    async fn until<T>(
        &mut self,
        conn: &Conn,
        mut pick: impl FnMut(&[u8]) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut picked = None;
        loop {
            let mut on = |_: &mut Machine, event: Event<'_>| {
                if let (Event::Other(frame), None) = (event, &picked) {
                    picked = pick(frame);
                }
            };
            self.step(conn, &mut on).await?;
            if let Some(picked) = picked {
                return picked;
            }
        }
    }
}

/// Connections that run by themselves until the fleet is dropped.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) conns: Vec<Rc<Conn>>,
    tasks: Vec<JoinHandle<()>>,
    /// Connections that ended on their own, and why the first did.
    closed: Rc<Cell<u64>>,
    reason: Rc<RefCell<Option<String>>>,
}

impl Fleet {
    /// Opens a connection for each user, a bounded number at a time, in the order given.
    pub(crate) async fn open(
        place: &Place,
        users: Range<u32>,
        source: Ipv4Addr,
    ) -> Result<Vec<Opened>> {
        stream::iter(users.map(|user| Conn::open(place, user, source)))
            .buffered(OPENING)
            .try_collect()
            .await
    }

    /// Runs a connection with its handler from here on.
    pub(crate) fn drive<F>(&mut self, opened: Opened, mut on: F)
    where
        F: FnMut(&mut Machine, Event<'_>) + 'static,
    {
        let (conn, mut reader) = opened;
        self.conns.push(Rc::clone(&conn));
        let (closed, reason) = (Rc::clone(&self.closed), Rc::clone(&self.reason));
        self.tasks.push(spawn_local(async move {
            loop {
                if let Err(error) = reader.step(&conn, &mut on).await {
                    closed.set(closed.get() + 1);
                    reason.borrow_mut().get_or_insert_with(|| error.to_string());
                    return;
                }
            }
        }));
    }

    /// Starts the clock that acknowledges within 100 ms what came to the connections of now.
    pub(crate) fn tick(&mut self) {
        let conns = self.conns.clone();
        self.tasks.push(spawn_local(async move {
            let mut clock = interval(TICK);
            loop {
                clock.tick().await;
                for conn in &conns {
                    conn.machine.borrow_mut().handle_tick();
                    conn.flush();
                }
            }
        }));
    }

    /// Sends that wait for their answer, over all connections.
    pub(crate) fn unanswered(&self) -> u64 {
        self.conns
            .iter()
            .map(|conn| conn.machine.borrow().unanswered() as u64)
            .sum()
    }

    /// What went wrong so far, except what only the scenario can know.
    pub(crate) fn faults(&self) -> Faults {
        let mut sum = Faults::default();
        for conn in &self.conns {
            sum.add(&conn.machine.borrow().faults);
        }
        sum.closed += self.closed.get();
        if sum.first.is_none() {
            sum.first.clone_from(&self.reason.borrow());
        }
        sum
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// True for a frame of this type.
pub(crate) fn is(frame: &[u8], t: &str) -> bool {
    json::field(frame, "t").and_then(json::text) == Some(t.as_bytes())
}
