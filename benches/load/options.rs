//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

use crate::Result;
use crate::target::Subject;

/// Load on im-server and, beside it, on a raw relay that stores nothing.
#[derive(Debug, Parser)]
#[command(
    name = "load",
    bin_name = "cargo bench --bench load --",
    arg_required_else_help = false
)]
pub(crate) struct Cli {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) scenario: Option<Scenario>,
    #[command(flatten)]
    pub(crate) options: Options,
    /// Where the relay listens; the bench itself starts it
    #[arg(long, hide = true, default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Given by cargo to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One measure, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Pairs of users that write to each other, each with a window of un-acked messages
    Pairs,
    /// One publisher to a group of 1,000 online members
    Fanout,
    /// The sender's ack in groups of 100 and of 5,000
    Ackgroup,
    /// Groups of 1,000 to 100,000 of which 1,000 are online: what a message costs
    Absent,
    /// Memory of idle, authenticated connections
    Idle,
    /// A user who was away pulls 100,000 entries while others write
    Catchup,
    /// 5,000 messages a second on a fixed schedule
    Open,
    /// The same messages on one node and across several: needs --shared-store, --bus, --registry
    Across,
    /// 1:1 throughput: 1,000 connections, window 8
    W1,
    /// 1:1 latency: 1,000 connections, the rate rises until it is too much
    W2,
    /// Groups of 100, 1,000 and 5,000
    W3,
    /// Many idle connections, then all of them drop and come back
    W4,
    /// Catch-up beside 1,000 connections at 1,000 messages a second
    W5,
    /// Every scenario, one after the other
    All,
    /// The raw relay itself
    #[value(hide = true)]
    Relay,
}

/// One of the two subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    Relay,
    Server,
}

/// What a scenario may be told. What isn't given has the value that the scenario is defined with.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Runs of each subject; the order alternates
    #[arg(long)]
    runs: Option<u32>,
    /// Measure one of the two only
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// The im-server binary [default: beside the bench's own, in target/release]
    #[arg(long)]
    server: Option<PathBuf>,
    /// An argument that is passed on to im-server; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<String>,
    /// Worker threads of tokio in either server [default: as many as there are cores]
    #[arg(long)]
    pub(crate) threads: Option<u32>,
    /// Server on core 0, generator on core 1
    #[arg(long)]
    pub(crate) pin: bool,
    /// Priority of servers and generator, as `nice` counts; below 0 it starves all other work on
    /// the machine, so agree on it first
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) nice: Option<i8>,
    /// Un-acked messages that each sender keeps; may be a list
    #[arg(long, value_delimiter = ',')]
    pub(crate) window: Vec<u32>,
    /// Connections
    #[arg(long)]
    pub(crate) conns: Option<u32>,
    /// Sizes of groups, a list
    #[arg(long, value_delimiter = ',')]
    pub(crate) groups: Vec<u32>,
    /// `absent` in channels of that many subscribers
    #[arg(long)]
    pub(crate) channels: bool,
    /// Messages a second, a list
    #[arg(long, value_delimiter = ',')]
    pub(crate) rates: Vec<u32>,
    /// Seconds before measuring
    #[arg(long)]
    pub(crate) warmup: Option<f64>,
    /// Seconds of measuring
    #[arg(long)]
    pub(crate) secs: Option<f64>,
    /// Length of the texts in bytes
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Entries that wait for the user who was away
    #[arg(long, default_value_t = 100_000)]
    pub(crate) entries: u32,
    /// Nodes of `across`, and of `absent` with a shared store
    #[arg(long, default_value_t = 2)]
    pub(crate) nodes: u32,
    /// The database that nodes share; what is measured leaves its users there
    #[arg(
        long,
        env = "IMKIT_LOAD_STORE",
        hide_env_values = true,
        value_name = "URL"
    )]
    shared_store: Option<String>,
    /// The bus between nodes
    #[arg(
        long,
        env = "IMKIT_LOAD_BUS",
        hide_env_values = true,
        value_name = "URL"
    )]
    bus: Option<String>,
    /// The registry of nodes
    #[arg(
        long,
        env = "IMKIT_LOAD_REGISTRY",
        hide_env_values = true,
        value_name = "URL"
    )]
    registry: Option<String>,
    /// Where the database goes [default: a directory beside the bench's binary]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One short run, to see that it works; the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
}

impl Options {
    /// How often each subject is measured.
    pub(crate) fn runs(&self, usual: u32) -> u32 {
        self.runs
            .unwrap_or(if self.quick { 1 } else { usual })
            .clamp(1, 100)
    }

    /// Seconds of warm-up and of measuring.
    pub(crate) fn spans(&self, warmup: f64, secs: f64) -> (f64, f64) {
        let (warmup, secs) = if self.quick {
            (0.5, 2.0)
        } else {
            (warmup, secs)
        };
        (
            self.warmup.unwrap_or(warmup).min(60.0),
            self.secs.unwrap_or(secs).clamp(0.5, 600.0),
        )
    }

    /// The subjects to measure, of those that the scenario makes sense for.
    pub(crate) fn subjects(&self, sensible: &[Subject]) -> Vec<Subject> {
        let wanted = |subject: &Subject| match self.only {
            None => true,
            Some(Only::Relay) => *subject == Subject::Relay,
            Some(Only::Server) => *subject != Subject::Relay,
        };
        sensible.iter().copied().filter(wanted).collect()
    }

    /// Whether several nodes can be started.
    pub(crate) fn can_share(&self) -> bool {
        self.shared_store.is_some() && self.bus.is_some() && self.registry.is_some()
    }

    pub(crate) fn shared_store(&self) -> Result<&str> {
        given(self.shared_store.as_deref(), "--shared-store")
    }

    pub(crate) fn bus(&self) -> Result<&str> {
        given(self.bus.as_deref(), "--bus")
    }

    pub(crate) fn registry(&self) -> Result<&str> {
        given(self.registry.as_deref(), "--registry")
    }

    /// Where temporary databases go: on the disk that holds the build, never in memory.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(std::env::current_exe()?
                .parent()
                .ok_or("no parent")?
                .to_owned()),
        }
    }

    /// The server's binary.
    pub(crate) fn server(&self) -> Result<PathBuf> {
        let path = match &self.server {
            Some(path) => path.clone(),
            // target/release/deps/load-… is the bench, target/release/im-server the server.
            None => {
                let bench = std::env::current_exe()?;
                let dir = bench
                    .parent()
                    .and_then(|deps| deps.parent())
                    .ok_or("no parent")?;
                dir.join("im-server")
            }
        };
        if path.exists() {
            return Ok(path);
        }
        let path = path.display();
        Err(format!(
            "no server at {path}: build it with `cargo build --release -p im-server`, \
             or give --server PATH, or measure the relay alone with --only relay"
        )
        .into())
    }
}

fn given<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str> {
    Ok(value.ok_or_else(|| format!("several nodes need {name} URL"))?)
}
