//! A blocking client on a thread of its own: its latencies don't wait for the generator's work.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::is;
use crate::machine::{Event, Machine};
use crate::target::Place;
use crate::{Result, wire};

/// Longest wait for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that one read takes at most.
const READ: usize = 256 << 10;

/// The probe's connection.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) machine: Machine,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Probe {
    /// Connects and waits for `welcome`.
    pub(crate) fn open(place: &Place, user: u32) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", place.port_of(user)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(wire::upgrade_request(place.port_of(user)).as_bytes())?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while wire::upgraded(&head)?.is_none() {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let mut machine = Machine::new(user, place.size);
        machine.hello(&place.token(user)?, &place.user(user));
        let mut probe = Self {
            machine,
            stream,
            buffer: vec![0; READ],
        };
        let mut welcome = false;
        probe.until(PATIENCE, |_, event| {
            welcome |= matches!(event, Event::Other(frame) if is(frame, "welcome"));
            welcome
        })?;
        Ok(probe)
    }

    /// Writes what waits and reads until `done` says so; an error when that takes too long.
    pub(crate) fn until<F>(&mut self, patience: Duration, mut done: F) -> Result<()>
    where
        F: FnMut(&mut Machine, Event<'_>) -> bool,
    {
        let deadline = Instant::now() + patience;
        let mut finished = false;
        while !finished {
            if Instant::now() > deadline {
                return Err("the probe waited too long".into());
            }
            self.step(patience, &mut |machine, event| {
                finished |= done(machine, event)
            })?;
        }
        Ok(())
    }

    /// Writes what waits, reads once for at most `wait`, and writes the answers.
    pub(crate) fn step<F>(&mut self, wait: Duration, on: &mut F) -> Result<()>
    where
        F: FnMut(&mut Machine, Event<'_>),
    {
        self.flush()?;
        self.stream
            .set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.stream.read(&mut self.buffer) {
            Ok(0) => return Err("the server closed the probe".into()),
            Ok(len) => self.machine.handle_bytes(&self.buffer[..len], on)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.machine.out)?;
        self.machine.out.clear();
        Ok(())
    }
}
