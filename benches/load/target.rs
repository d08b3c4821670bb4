//! What is measured: the raw relay, `im-server`, or several of them, each a process of its own.

use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::options::Options;
use crate::{Result, proc};

/// How long a server may take to be ready.
const START: Duration = Duration::from_secs(30);
/// How long nodes may take to leave.
const LEAVE: Duration = Duration::from_secs(6);
/// The most nodes that are started.
const NODES_MAX: u32 = 8;
/// Sends per second and user that the server is told to admit: no limit in practice.
const RATE: &str = "1000000";
/// Validity of the tokens, longer than any run, in seconds.
const TOKEN_LIFE: u64 = 12 * 3600;
/// Ports that servers get: below the range that outgoing connections take theirs from.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Relay,
    /// One `im-server` on SQLite.
    Server,
    /// One `im-server` on the database of `--shared-store`.
    Node,
    /// Several on it, with `--bus` and `--registry`: user 0 on the first, user 1 on the second …
    Nodes,
    /// The same, and the pair of users 0 and 1 on the first, that of 2 and 3 on the second …
    Beside,
}

impl Subject {
    /// For what the relay can do too.
    pub(crate) const BOTH: &[Self] = &[Self::Relay, Self::Server];
    /// What several nodes cost over one.
    pub(crate) const ONE_AND_SEVERAL: &[Self] = &[Self::Node, Self::Nodes];
    /// What crossing costs, where there are several.
    pub(crate) const BESIDE_AND_ACROSS: &[Self] = &[Self::Beside, Self::Nodes];

    /// Processes of it.
    fn nodes(self, options: &Options) -> u32 {
        match self {
            Self::Nodes | Self::Beside => options.nodes.clamp(2, NODES_MAX),
            Self::Relay | Self::Server | Self::Node => 1,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "raw relay",
            Self::Server => "im-server",
            Self::Node => "one node",
            Self::Nodes => "across nodes",
            Self::Beside => "beside each other",
        })
    }
}

/// How to reach the one that runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    ports: Vec<u16>,
    /// Length of the texts to send, in bytes.
    pub(crate) size: usize,
    secret: String,
    /// What the users' names begin with: of this run alone where the database outlives it.
    prefix: String,
    /// Users one after the other that connect to one node before the next has its turn.
    turn: usize,
}

impl Place {
    fn new(options: &Options, subject: Subject, size: usize) -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let prefix = match subject {
            Subject::Relay | Subject::Server => "u".to_owned(),
            Subject::Node | Subject::Nodes | Subject::Beside => {
                format!("l{}-{run}-", std::process::id())
            }
        };
        let mut ports = Vec::new();
        for _ in 0..subject.nodes(options) {
            ports.push(free_port(ports.last().copied())?);
        }
        Ok(Self {
            ports,
            size,
            secret: "the load bench's secret, 32 bytes or more".to_owned(),
            prefix,
            turn: if subject == Subject::Beside { 2 } else { 1 },
        })
    }

    /// Where the user with this index connects to.
    pub(crate) fn port_of(&self, index: u32) -> u16 {
        self.ports[index as usize / self.turn % self.ports.len()]
    }

    /// The id of the user with this index, and of its only device.
    pub(crate) fn user(&self, index: u32) -> String {
        format!("{}{index}", self.prefix)
    }

    /// A token of that user.
    pub(crate) fn token(&self, index: u32) -> Result<String> {
        let claims = serde_json::json!({
            "sub": self.user(index),
            "exp": get_current_timestamp() + TOKEN_LIFE,
        });
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)?)
    }
}

/// What was started; dropping it ends the processes and removes their files.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) place: Place,
    children: Vec<Child>,
    log: PathBuf,
    is_gentle: bool,
    // Removed after the children have ended.
    dir: TempDir,
}

impl Running {
    /// Starts all processes and waits until they are ready.
    pub(crate) async fn start(options: &Options, subject: Subject, size: usize) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("imkit-load-")
            .tempdir_in(options.dir()?)?;
        let log = dir.path().join("log");
        let place = Place::new(options, subject, size)?;
        let output = File::create(&log)?;
        let mut running = Self {
            place: place.clone(),
            children: Vec::new(),
            log,
            is_gentle: place.ports.len() > 1,
            dir,
        };
        for node in 0..place.ports.len() {
            let dir = running.dir.path();
            let mut command = command(options, subject, (&place, node), dir)?;
            let child = command
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?)
                .spawn()
                .map_err(|error| format!("can't start {}: {error}", program(&command)))?;
            running.children.push(child);
            running.until_ready(node).await?;
        }
        Ok(running)
    }

    /// The process, the first of several.
    pub(crate) fn pid(&self) -> u32 {
        self.children[0].id()
    }

    /// CPU seconds of the process trees so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let pids = self.children.iter().map(Child::id);
        pids.map(proc::cpu).sum()
    }

    /// Memory of all processes.
    pub(crate) fn memory(&self) -> Result<proc::Memory> {
        let mut sum = proc::Memory::default();
        for child in &self.children {
            let memory = proc::memory(child.id())?;
            sum.rss += memory.rss;
            sum.pss += memory.pss;
        }
        Ok(sum)
    }

    /// The end of what was logged, for an error's message.
    pub(crate) fn log_tail(&self) -> String {
        const SHOWN: usize = 2000;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(SHOWN);
        log.get(start..).unwrap_or(&log).trim().to_owned()
    }

    async fn until_ready(&mut self, node: usize) -> Result<()> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = self.children[node].try_wait()? {
                return Err(format!("ended with {status}:\n{}", self.log_tail()).into());
            }
            let port = self.place.ports[node];
            if matches!(timeout(START, ready(port)).await, Ok(Ok(true))) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("not ready after {START:?}:\n{}", self.log_tail()).into())
    }

    /// Lets nodes leave by themselves: what they have at a broker they take away then.
    fn leave(&mut self) {
        let pids = self.children.iter().map(|child| child.id().to_string());
        let asked = Command::new("kill").arg("-TERM").args(pids).status();
        let deadline = Instant::now() + LEAVE;
        while asked.is_ok()
            && Instant::now() < deadline
            && self
                .children
                .iter_mut()
                .any(|child| matches!(child.try_wait(), Ok(None)))
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_gentle {
            self.leave();
        }
        for child in &mut self.children {
            // Fails only when the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn ready(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(&head == b"HTTP/1.1 200")
}

fn command(
    options: &Options,
    subject: Subject,
    (place, node): (&Place, usize),
    dir: &Path,
) -> Result<Command> {
    let mut command = wrapped(options)?;
    let listen = format!("127.0.0.1:{}", place.ports[node]);
    if subject == Subject::Relay {
        command.arg(std::env::current_exe()?);
        command.args(["relay", "--listen", &listen]);
    } else {
        command.arg(options.server()?);
        command.args(["--listen", &listen, "--sends-per-s", RATE]);
        command.args(&options.server_arg);
        command.env("IMKIT_JWT_SECRET", &place.secret);
    }
    match subject {
        Subject::Relay => {}
        Subject::Server => {
            let store = format!("sqlite://{}", dir.join("load.db").display());
            command.env("IMKIT_STORE", store);
        }
        Subject::Node => {
            command.env("IMKIT_STORE", options.shared_store()?);
        }
        Subject::Nodes | Subject::Beside => {
            let name = format!("{}{node}", place.prefix);
            command.args(["--node", &name, "--bus-prefix", &place.prefix]);
            command.env("IMKIT_STORE", options.shared_store()?);
            command.env("IMKIT_BUS", options.bus()?);
            command.env("IMKIT_REGISTRY", options.registry()?);
        }
    }
    if let Some(threads) = options.threads {
        command.env("TOKIO_WORKER_THREADS", threads.to_string());
    }
    Ok(command)
}

/// What a command runs, without what it is told: that may be secret.
fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The program that starts another: so that it dies with the bench, and on its core.
fn wrapped(options: &Options) -> Result<Command> {
    let dies_along = Path::new("/usr/bin/setpriv").exists();
    let mut words: Vec<&str> = Vec::new();
    if dies_along {
        words.extend(["setpriv", "--pdeathsig", "KILL"]);
    }
    if options.pin {
        words.extend(["taskset", "-c", "0"]);
    }
    if words.is_empty() {
        words.push("env");
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    Ok(command)
}

/// One behind the last that was given.
fn free_port(last: Option<u16>) -> Result<u16> {
    /// Ports that are tried before giving up.
    const TRIES: u32 = 100;
    let own = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
    let mut port = last.map_or(own, |last| last + 1);
    for _ in 0..TRIES {
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
        port = if port + 7 < PORTS.end {
            port + 7
        } else {
            PORTS.start
        };
    }
    Err("no free port".into())
}
