//! `im-server`: a ready imkit server for those who don't embed it.
//!
//! `im-server --demo` to look around; `im-server --help` for the settings.

mod bus;
mod cli;
mod cluster;
mod demo;
mod error;
mod given;
mod hot;
mod keys;
mod media;
mod ops;
mod out;
mod page;
mod run;
mod seal;
mod secret;
mod settings;
mod shards;
mod store;
mod tokens;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::error::ServerError;
use crate::given::Given;
use crate::settings::Settings;

/// A server of many small frames spends a tenth of its time in the allocator; a library must not
/// choose one, a program may.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    log();
    match act(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut words = format!("im-server: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                // Some say themselves what their cause says.
                let inner_words = inner.to_string();
                if !words.contains(&inner_words) {
                    words.push_str(&format!(": {inner_words}"));
                }
                cause = inner.source();
            }
            // There is nobody to tell that nobody can be told.
            let _ = writeln!(std::io::stderr(), "{words}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to stderr, as much as `RUST_LOG` says.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn act(cli: Cli) -> Result<(), ServerError> {
    let file = match &cli.config {
        Some(path) => Given::from_file(path)?,
        None => Given::default(),
    };
    let given = cli.given.or(file);
    if let Some(Command::Shards { command }) = cli.command {
        return shards::act(&given, command);
    }
    if let Some(Command::Seal { command }) = cli.command {
        return seal::act(&given, command);
    }
    let settings = Settings::new(given, cli.demo)?;
    match cli.command {
        None | Some(Command::Shards { .. } | Command::Seal { .. }) => run::run(&settings, cli.demo),
        Some(Command::Keys { command }) => keys::act(&settings, command),
        Some(Command::Webhooks { command }) => out::act(&settings, command),
        Some(Command::Check) => {
            tokens::authenticator(&settings)?;
            Ok(write!(std::io::stdout(), "{settings}")?)
        }
        Some(Command::Token {
            user,
            ttl,
            name,
            roles,
        }) => {
            let auth = tokens::authenticator(&settings)?;
            let token = tokens::mint(&auth, &user, ttl, name.as_deref(), &roles)?;
            Ok(writeln!(std::io::stdout(), "{token}")?)
        }
    }
}
