//! Three nodes as one: people on different nodes write to each other, devices move, and every node
//! is restarted, one of them by a crash, while all of them write.
//!
//! ```text
//! cargo run --example cluster
//! cargo run --example cluster --features postgres,redis -- \
//!     --store postgres://user:password@localhost/db --bus redis://localhost
//! cargo run --example cluster --features postgres,redis,nats -- --bus nats://localhost \
//!     --store postgres://user:password@localhost/db --registry redis://localhost
//! ```
//!
//! Without arguments the three share a file and the process; with them, a database and a broker, as
//! nodes on three machines do (`scripts/services up` starts some for trying).
#![allow(clippy::print_stdout, reason = "a program that shows")]

mod nodes;
mod people;
mod place;
mod rolling;
mod scenes;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use self::nodes::Nodes;
use self::place::Place;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Starts three nodes and shows that they are one.
#[derive(Debug, Parser)]
struct Arguments {
    /// The store that the nodes share; without, a file that goes when this ends.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The bus between them: local, or a broker's URL.
    #[arg(long, value_name = "URL", default_value = "local")]
    bus: String,
    /// The registry; without, where the bus is if it can be one, else in this process.
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// Messages of each of the three while the nodes are restarted.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match show(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn show(arguments: &Arguments) -> Result<()> {
    let registry = arguments.registry.as_deref();
    let place = Place::new(arguments.store.as_deref(), &arguments.bus, registry).await?;
    let mut nodes = Nodes::start(place).await?;
    println!("three nodes: {}", nodes.addresses().join(" "));
    println!("{}\n", nodes.place().words());
    let conv = scenes::show(&nodes).await?;
    let told = rolling::show(&mut nodes, &conv, arguments.messages).await;
    nodes.stop().await;
    told
}
