//! What is measured: the raw relay or `im-server`, each as a process of its own.

use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
/// Sends per second and user that the server is told to admit: no limit in practice.
const RATE: &str = "1000000";
/// Validity of the tokens, longer than any run, in seconds.
const TOKEN_LIFE: u64 = 12 * 3600;
/// Ports that servers get: below the range that outgoing connections take theirs from.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Relay,
    Server,
}

impl Subject {
    /// For what the relay can do too.
    pub(crate) const BOTH: &[Self] = &[Self::Relay, Self::Server];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "raw relay",
            Self::Server => "im-server",
        })
    }
}

/// How to reach the one that runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) port: u16,
    /// Length of the texts to send, in bytes.
    pub(crate) size: usize,
    secret: String,
}

impl Place {
    /// The id of the user with this index, and of its only device.
    pub(crate) fn user(index: u32) -> String {
        format!("u{index}")
    }

    /// A token of that user.
    pub(crate) fn token(&self, index: u32) -> Result<String> {
        let claims = serde_json::json!({
            "sub": Self::user(index),
            "exp": get_current_timestamp() + TOKEN_LIFE,
        });
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)?)
    }
}

/// A started server; dropping it kills the process and removes its files.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) place: Place,
    child: Child,
    log: PathBuf,
    // Dropped after the child was killed.
    _dir: TempDir,
}

impl Running {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(options: &Options, subject: Subject, size: usize) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("imkit-load-")
            .tempdir_in(options.dir()?)?;
        let log = dir.path().join("log");
        let secret = "the load bench's secret, 32 bytes or more".to_owned();
        let place = Place {
            port: free_port()?,
            size,
            secret,
        };
        let mut command = command(options, subject, &place, dir.path())?;
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| format!("can't start {command:?}: {error}"))?;
        let mut running = Self {
            place,
            child,
            log,
            _dir: dir,
        };
        running.until_ready().await?;
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds of the process tree so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        proc::cpu(self.pid())
    }

    pub(crate) fn memory(&self) -> Result<proc::Memory> {
        proc::memory(self.pid())
    }

    /// The end of what the server logged, for an error's message.
    pub(crate) fn log_tail(&self) -> String {
        const SHOWN: usize = 2000;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(SHOWN);
        log.get(start..).unwrap_or(&log).trim().to_owned()
    }

    async fn until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("ended with {status}:\n{}", self.log_tail()).into());
            }
            if matches!(timeout(START, ready(self.place.port)).await, Ok(Ok(true))) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("not ready after {START:?}:\n{}", self.log_tail()).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

fn command(options: &Options, subject: Subject, place: &Place, dir: &Path) -> Result<Command> {
    let mut command = wrapped(options)?;
    let listen = format!("127.0.0.1:{}", place.port);
    match subject {
        Subject::Relay => {
            command
                .arg(std::env::current_exe()?)
                .args(["relay", "--listen", &listen]);
        }
        Subject::Server => {
            let store = format!("sqlite://{}", dir.join("load.db").display());
            command.arg(options.server()?);
            command.args(["--listen", &listen, "--store", &store]);
            command.args(["--jwt-secret", &place.secret, "--sends-per-s", RATE]);
            command.args(&options.server_arg);
        }
    }
    if let Some(threads) = options.threads {
        command.env("TOKIO_WORKER_THREADS", threads.to_string());
    }
    Ok(command)
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

fn free_port() -> Result<u16> {
    /// Ports that are tried before giving up.
    const TRIES: u32 = 100;
    let mut port = PORTS.start + (std::process::id() % u32::from(PORTS.end - PORTS.start)) as u16;
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
