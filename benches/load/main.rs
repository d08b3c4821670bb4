//! The load bench: scenarios against `im-server` and, in the same run, against a raw relay.
//!
//! `cargo bench --bench load -- --help` lists them; `docs/benchmarks.md` says what a run needs and
//! how to read it. A run in which a message was lost, doubled, reordered or altered is void: the
//! bench says so and exits with 1.

mod ackgroup;
mod across;
mod body;
mod catchup;
mod client;
mod fanout;
mod faults;
mod group;
mod idle;
mod json;
mod machine;
mod meter;
mod open;
mod options;
mod pacer;
mod pairs;
mod probe;
mod proc;
mod relay;
mod relay_hub;
mod report;
mod target;
mod w3;
mod w4;
mod wire;

use std::process::{Command, ExitCode};

use clap::{CommandFactory, Parser};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Cli, Options, Scenario};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let Cli {
        scenario,
        options,
        listen,
        ..
    } = Cli::parse();
    let done = match scenario {
        Some(Scenario::Relay) => relay::main(&listen).map(|()| true),
        Some(scenario) => measure(scenario, &options),
        // `cargo bench` and `cargo test --all-targets` call it so: nothing to measure.
        None => Cli::command()
            .print_help()
            .map(|()| true)
            .map_err(Into::into),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a run is void: see the rows lost to closed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for on one thread; a signal ends it, and the servers with it.
fn measure(scenario: Scenario, options: &Options) -> Result<bool> {
    prepare(options)?;
    println!("{}", proc::machine(&options.dir()?));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run(scenario, options) => done,
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
        }
    })
}

/// Raises the limit of open files as far as it goes, and takes core 1 and a priority when asked to.
fn prepare(options: &Options) -> Result<()> {
    let own = std::process::id().to_string();
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    if let Some(hard) = line.and_then(|line| line.split_whitespace().nth(4)) {
        // Without it scenarios with many connections end with a clear error, so go on.
        let limit = format!("--nofile={hard}:{hard}");
        let _ = Command::new("prlimit")
            .args(["--pid", &own, &limit])
            .status();
    }
    if options.pin {
        let taskset = Command::new("taskset")
            .args(["-a", "-c", "-p", "1", &own])
            .output()?;
        if !taskset.status.success() {
            return Err("--pin needs a second core".into());
        }
    }
    if let Some(nice) = options.nice {
        // Servers inherit it.
        let renice = Command::new("renice")
            .args(["-n", &nice.to_string(), "-p", &own])
            .output()?;
        if !renice.status.success() {
            return Err("--nice isn't allowed here".into());
        }
        // Where the kernel groups processes by terminal, a priority only counts inside the group,
        // and the group has one of its own. Kernels without it lack the file.
        let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
    }
    Ok(())
}

async fn run(scenario: Scenario, options: &Options) -> Result<bool> {
    /// Every measure, in the order in which `all` takes them.
    const ALL: [Scenario; 12] = [
        Scenario::Pairs,
        Scenario::Fanout,
        Scenario::Ackgroup,
        Scenario::Absent,
        Scenario::Idle,
        Scenario::Catchup,
        Scenario::Open,
        Scenario::W1,
        Scenario::W2,
        Scenario::W3,
        Scenario::W4,
        Scenario::W5,
    ];
    let chosen = [scenario];
    let mut good = true;
    for scenario in if scenario == Scenario::All {
        &ALL[..]
    } else {
        &chosen
    } {
        good &= match scenario {
            Scenario::Pairs => pairs::pairs(options).await,
            Scenario::Fanout => fanout::fanout(options).await,
            Scenario::Ackgroup => ackgroup::ackgroup(options).await,
            Scenario::Absent => ackgroup::absent(options).await,
            Scenario::Idle => idle::idle(options).await,
            Scenario::Catchup => catchup::catchup(options).await,
            Scenario::Open => open::open(options).await,
            Scenario::Across => across::across(options).await,
            Scenario::W1 => pairs::w1(options).await,
            Scenario::W2 => open::w2(options).await,
            Scenario::W3 => w3::w3(options).await,
            Scenario::W4 => w4::w4(options).await,
            Scenario::W5 => catchup::w5(options).await,
            Scenario::All | Scenario::Relay => Ok(true),
        }?;
    }
    Ok(good)
}
