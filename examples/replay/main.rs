//! Replays real chat logs through a server, and checks that nothing is lost, doubled or swapped.
//!
//! ```sh
//! cargo run --release --example replay -- logs/*.txt
//! ```
//!
//! A log is a text file with rows like `[14:05] <nick> text`, `[14:05] * nick acts` and
//! `=== nick is now known as kcin`. Each log becomes a group, its nicknames its members, each a
//! user with a connection of its own (a nickname in several logs is one user); rows that no member
//! said are sent by a narrator. Several logs run at once; of one log, a line leaves when the one
//! before was answered, so that there is an order to compare. At the end three members read the
//! log back, and it is compared with the file, and what every live connection received with that.
//! A connection that is lost is made again and goes on where it was.
//!
//! The server is one of this process's own, on a real socket and a real file, or a running
//! `im-server` with `--url` and `--secret` (start it with a high `--sends-per-s`).

mod check;
mod conn;
mod dial;
mod ear;
mod lines;
mod link;
mod play;
mod pool;
mod server;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::{StreamExt, stream};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;

use crate::check::Tally;
use crate::lines::Log;
use crate::play::{Outcome, play};
use crate::pool::Pool;
use crate::server::Server;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Files that are kept for all that is no connection.
const FILES_SPARE: usize = 200;
/// Files that a process may have when the system does not say.
const FILES_FEW: usize = 1_024;
/// Logs that run at once as fast as they can: with more, each of them waits longer for its
/// answers, and the server's writes carry less each.
const AT_ONCE: usize = 3;
/// Logs that run at once by their stamps, when there is little to do for each.
const AT_ONCE_TIMED: usize = 32;

/// Replays chat logs through imkit and checks what comes of them.
#[derive(Debug, Parser)]
struct Options {
    /// Logs: `[HH:MM] <nick> text`, one row a line
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Logs that run at once, as far as the limit of open files allows [default: 3; 32 with
    /// --speed]
    #[arg(long, value_parser = at_least_one)]
    at_once: Option<usize>,
    /// So many times faster than it was, by the rows' stamps; as fast as it goes if not given
    #[arg(long, allow_negative_numbers = true, value_parser = positive)]
    speed: Option<f64>,
    /// A running server: ws://127.0.0.1:8080
    #[arg(long, requires = "secret")]
    url: Option<String>,
    /// Its token secret
    #[arg(long, env = "IMKIT_JWT_SECRET")]
    secret: Option<String>,
    /// The longest text that the server takes, in characters
    #[arg(long, default_value_t = 4_000, value_parser = at_least_one)]
    text_chars: usize,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "must be a number above 0".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
async fn run(options: Options) -> Result<bool> {
    let logs = (0..)
        .zip(&options.logs)
        .map(|(number, path)| Log::read(number, path, options.text_chars));
    let logs = logs.collect::<Result<Vec<_>>>()?;
    let own_secret = "the replay's own secret, 32 bytes or more";
    let secret = options.secret.as_deref().unwrap_or(own_secret);
    let (server, url, ends) = match options.url {
        Some(url) => (None, url, 1),
        None => {
            let server = Server::start(secret).await?;
            let url = server.url.clone();
            // Both ends of a connection are files of this process.
            (Some(server), url, 2)
        }
    };
    println!("replaying {} logs through {url}", logs.len());
    let pool = Pool::new(&url, secret)?;
    let places = files_max().saturating_sub(FILES_SPARE) / ends;
    let start = Instant::now();
    let at_once = options.at_once.unwrap_or(match options.speed {
        None => AT_ONCE,
        Some(_) => AT_ONCE_TIMED,
    });
    let outcomes = play_all(&pool, &logs, options.speed, at_once, places).await?;
    let took = start.elapsed();
    let remade = pool.remade.load(Ordering::Relaxed);
    drop(pool);
    if let Some(server) = server
        && let Err(error) = server.stop().await
    {
        eprintln!("the server did not tidy up: {error}");
    }
    Ok(report(&logs, &outcomes, took, remade))
}

/// Plays the logs, as many at once as the places for connections allow.
async fn play_all(
    pool: &Pool,
    logs: &[Log],
    speed: Option<f64>,
    at_once: usize,
    places: usize,
) -> Result<Vec<Outcome>> {
    let total = logs.iter().map(|log| log.lines.len() as u64).sum();
    let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} lines, {per_sec}, {elapsed}, {eta} to go",
    )?);
    bar.enable_steady_tick(Duration::from_millis(250));
    let free = Semaphore::new(places);
    let plays = logs.iter().map(|log| async {
        let members = log.members.len();
        if members > places {
            return Err::<Outcome, Box<dyn Error + Send + Sync>>(
                format!("{}: {members} members, and files for {places}", log.title).into(),
            );
        }
        let _held = free.acquire_many(u32::try_from(members)?).await?;
        let outcome = play(pool, log, speed, &bar).await;
        outcome.map_err(|error| format!("{}: {error}", log.title).into())
    });
    let mut plays = stream::iter(plays).buffer_unordered(at_once);
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(logs.len());
    while let Some(outcome) = plays.next().await {
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                bar.abandon();
                return Err(error);
            }
        }
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

/// The most files that this process may have open.
fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    soft.and_then(|soft| soft.parse().ok()).unwrap_or(FILES_FEW)
}

/// Prints what came of it; whether all was well.
fn report(logs: &[Log], outcomes: &[Outcome], took: Duration, remade: u64) -> bool {
    let (mut read, mut live) = (Tally::default(), Tally::default());
    let (mut lines, mut deliveries, mut behind) = (0, 0, 0);
    let mut micros = Histogram::<u64>::new_from(&outcomes[0].micros);
    for outcome in outcomes {
        read += outcome.read;
        live += outcome.live;
        lines += outcome.lines;
        deliveries += outcome.deliveries;
        behind += outcome.behind;
        // All have the same bounds, so none can refuse.
        let _ = micros.add(&outcome.micros);
    }
    let rate = |count: u64| count as f64 / took.as_secs_f64();
    let members: usize = logs.iter().map(|log| log.members.len()).sum();
    println!(
        "{} logs, {members} memberships, {lines} lines in {:.1} s: {:.0} lines/s, \
         {deliveries} deliveries, {:.0}/s",
        logs.len(),
        took.as_secs_f64(),
        rate(lines),
        rate(deliveries),
    );
    let ms = |quantile| micros.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "send to sent: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms",
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999),
        micros.max() as f64 / 1_000.0,
    );
    let odd = |count: fn(&Log) -> u64| logs.iter().map(count).sum::<u64>();
    println!(
        "{} rows without a text not sent, {} too long ones cut, {} mended; \
         {behind} times a connection was left behind and caught up, \
         {remade} times one was lost and made again",
        odd(|log| log.odd.empty),
        odd(|log| log.odd.long),
        odd(|log| log.odd.mended),
    );
    for (what, tally) in [
        ("read back by three members", read),
        ("as it came live", live),
    ] {
        let Tally {
            lost,
            doubled,
            disordered,
            foreign,
        } = tally;
        println!(
            "{what}: {lost} lost, {doubled} doubled, {disordered} out of order, {foreign} foreign"
        );
    }
    let mut all = read;
    all += live;
    let foreign = match all.foreign {
        0 => String::new(),
        foreign => format!(", {foreign} foreign"),
    };
    println!(
        "{} lost, {} doubled, {} out of order{foreign}",
        all.lost, all.doubled, all.disordered
    );
    all.is_clean()
}
