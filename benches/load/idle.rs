//! What an idle, authenticated connection costs: memory of the process's growth, and CPU.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::sleep;

use crate::client::Fleet;
use crate::machine::Machine;
use crate::meter::Meter;
use crate::options::Options;
use crate::report::{Goal, Of, Outcome, compare};
use crate::target::{Place, Running, Subject};
use crate::{Result, proc};

/// Connections that are there before the first reading: the process has then grown what it needs
/// once, whatever the number of connections.
const FIRST: u32 = 200;
/// Files that either process needs for other things than connections.
const SPARE: u32 = 1000;
/// Connections from one source address. It has 28,000 ports, but the kernel looks the longer for a
/// free one the fewer there are.
const PER_SOURCE: u32 = 4000;
/// How long memory gets to settle after the last connection.
const SETTLE: Duration = Duration::from_secs(2);

const GROWTH: &str = "growth of RSS, KiB per connection";

/// The measure: 10,000 connections, held for 10 s.
pub(crate) async fn idle(options: &Options) -> Result<bool> {
    let (_, secs) = options.spans(0.0, 10.0);
    let conns = most(
        options
            .conns
            .unwrap_or(if options.quick { 1000 } else { 10_000 }),
    );
    let size = options.size;
    let title = format!("idle: {conns} connections, held for {secs} s");
    let goal = Goal {
        row: GROWTH.to_owned(),
        at_most: 10.0,
        of: Of::Itself,
    };
    compare(
        options,
        &title,
        (3, Subject::BOTH, size),
        &[goal],
        async |running| run(running, conns, secs).await,
    )
    .await
}

/// The number of connections, cut to what the limit of open files allows.
pub(crate) fn most(conns: u32) -> u32 {
    let most = proc::file_limit().saturating_sub(SPARE).max(FIRST);
    if conns > most {
        eprintln!("{most} connections instead of {conns}: the limit of open files");
    }
    conns.min(most)
}

/// Opens connections for users that only listen.
pub(crate) async fn listen(
    place: &Place,
    users: std::ops::Range<u32>,
    round: u32,
) -> Result<Fleet> {
    let mut fleet = Fleet::default();
    let mut next = users.start;
    while next < users.end {
        let end = users.end.min(next + PER_SOURCE);
        for opened in Fleet::open(place, next..end, source(next, round)).await? {
            fleet.drive(opened, |_: &mut Machine, _| {});
        }
        next = end;
    }
    fleet.tick();
    Ok(fleet)
}

/// The address that a user connects from in a round: a closed connection keeps its port for a
/// minute, so each round has addresses of its own.
pub(crate) fn source(user: u32, round: u32) -> Ipv4Addr {
    let octet = |number: u32| u8::try_from(number % 250).unwrap_or_default();
    Ipv4Addr::new(127, 0, octet(round), octet(user / PER_SOURCE) + 1)
}

async fn run(running: &Running, conns: u32, secs: f64) -> Result<Outcome> {
    let first = listen(&running.place, 0..FIRST, 0).await?;
    sleep(SETTLE).await;
    let before = running.memory()?;
    let meter = Meter::start(running)?;
    let more = listen(&running.place, FIRST..FIRST + conns, 0).await?;
    let opening = meter.stop(running)?;
    sleep(SETTLE).await;
    let after = running.memory()?;
    let meter = Meter::start(running)?;
    sleep(Duration::from_secs_f64(secs)).await;
    let held = meter.stop(running)?;

    let number = f64::from(conns);
    let mut outcome = Outcome {
        faults: first.faults(),
        ..Outcome::default()
    };
    outcome.faults.add(&more.faults());
    outcome.figure(GROWTH, (after.rss - before.rss) / number);
    outcome.figure(
        "growth of PSS, KiB per connection",
        (after.pss - before.pss) / number,
    );
    outcome.figure("connects per second", number / opening.secs);
    outcome.figure("server CPU, µs per connect", opening.server_us / number);
    outcome.figure("idle: server CPU, µs per second and connection", {
        held.server_us / held.secs / number
    });
    outcome.figure("server RSS, MiB", after.rss / 1024.0);
    Ok(outcome)
}
