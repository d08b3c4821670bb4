//! W4: many idle connections; then all of them drop at once and come back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Conn, Fleet, Opened};
use crate::idle::{listen, most, source};
use crate::machine::Machine;
use crate::meter::{Meter, latencies, record};
use crate::open::at_rate;
use crate::options::Options;
use crate::pairs::{Board, connect};
use crate::report::{Outcome, compare};
use crate::target::{Place, Running, Subject};
use crate::{Result, body};

/// Connections at the two ends of the slope.
const FEW: u32 = 2000;
const MANY: u32 = 18_000;
/// Users that write to each other during the storm, and how fast together.
const PROBES: u32 = 100;
const PROBE_RATE: f64 = 200.0;
/// A client waits a random time within this before its first try …
const SPREAD: Duration = Duration::from_secs(5);
/// … and within this, doubled with each try, before the next ones.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Tries after which a client has failed for good.
const TRIES: u32 = 8;
/// How long the storm's messages go on: the spread and what comes after it.
const STORM: f64 = 10.0;

/// The storm of limits.md: 2,000 and 18,000 connections, held for 60 s each.
pub(crate) async fn w4(options: &Options) -> Result<bool> {
    let (_, secs) = options.spans(0.0, 60.0);
    let many = most(
        options
            .conns
            .unwrap_or(if options.quick { 2000 } else { MANY }),
    ) - PROBES;
    let few = FEW.min(many / 4);
    let size = options.size;
    let title = format!("W4: {few} then {many} connections, held for {secs} s; a storm within 5 s");
    compare(
        options,
        &title,
        (5, Subject::BOTH, size),
        &[],
        async |running| run(running, few, many, secs).await,
    )
    .await
}

async fn run(running: &Running, few: u32, many: u32, secs: f64) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let board = Board::new(PROBES)?;
    let probes = connect(&running.place, PROBES, &board).await?;
    let first = listen(&running.place, PROBES..PROBES + few, 0).await?;
    sleep(Duration::from_secs(2)).await;
    let before = running.memory()?;
    let rest = listen(&running.place, PROBES + few..PROBES + many, 0).await?;
    let meter = Meter::start(running)?;
    sleep(Duration::from_secs_f64(secs)).await;
    let held = meter.stop(running)?;
    let after = running.memory()?;
    let slope = (after.pss - before.pss) / f64::from(many - few);
    outcome.figure("growth of PSS, KiB per connection", slope);
    outcome.figure("idle: server CPU, µs per second and connection", {
        held.server_us / held.secs / f64::from(many)
    });
    outcome.faults.add(&first.faults());
    outcome.faults.add(&rest.faults());

    drop((first, rest));
    storm(running, (&board, &probes), many, &mut outcome).await?;
    sleep(Duration::from_secs(2)).await;
    outcome.figure(
        "RSS after the storm ÷ before",
        running.memory()?.rss / after.rss,
    );
    Ok(outcome)
}

async fn storm(
    running: &Running,
    (board, probes): (&Rc<Board>, &Fleet),
    many: u32,
    outcome: &mut Outcome,
) -> Result<()> {
    let begin = body::now();
    let state = Storm {
        place: running.place.clone(),
        ready: Rc::new(RefCell::new(latencies()?)),
        retries: Rc::new(Cell::new(0)),
        begin,
    };
    let mut clients = JoinSet::new();
    for user in PROBES..PROBES + many {
        clients.spawn_local(state.clone().come_back(user));
    }
    let meter = Meter::start(running)?;
    let back = async {
        let mut back = Fleet::default();
        let mut failed = 0;
        while let Some(opened) = clients.join_next().await {
            match opened? {
                Some(opened) => back.drive(opened, |_: &mut Machine, _| {}),
                None => failed += 1,
            }
        }
        back.tick();
        Ok::<_, crate::Error>((
            back,
            failed,
            (body::now() - begin) as f64 / 1e9,
            meter.stop(running)?,
        ))
    };
    let probing = at_rate(running, (board, probes), PROBE_RATE, (0.0, STORM));
    let (back, probing) = tokio::join!(back, probing);
    let ((back, failed, secs, span), probing) = (back?, probing?);

    outcome.figure("all ready again after, s", secs);
    outcome.figure("connects per second", f64::from(many) / secs);
    outcome.figure(
        "server CPU, µs per connect",
        span.server_us / f64::from(many),
    );
    outcome.figure("retries", f64::from(state.retries.get()));
    outcome.quantiles("ready again", &state.ready.borrow(), &[50.0, 99.0]);
    outcome.quantiles(
        "probes' delivery in the storm",
        &board.delivery.borrow(),
        &[50.0, 99.0],
    );
    outcome.figure("generator, % of a core", span.generator());
    outcome.faults.add(&back.faults());
    outcome.faults.add(&probes.faults());
    outcome.faults.closed += failed;
    outcome.faults.lost += probing.missing;
    Ok(())
}

/// What all clients of the storm share.
#[derive(Clone)]
struct Storm {
    place: Place,
    ready: Rc<RefCell<Histogram<u64>>>,
    retries: Rc<Cell<u32>>,
    begin: u64,
}

impl Storm {
    /// One client: waits its random time, tries, backs off, tries again.
    async fn come_back(self, user: u32) -> Option<Opened> {
        let mut random = u64::from(user).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut wait = SPREAD;
        for attempt in 0..TRIES {
            sleep_until(Instant::now() + wait.mul_f64(fraction(&mut random))).await;
            if let Ok(opened) = Conn::open(&self.place, user, source(user, 1 + attempt)).await {
                record(&mut self.ready.borrow_mut(), body::now() - self.begin);
                return Some(opened);
            }
            self.retries.set(self.retries.get() + 1);
            wait = (BACKOFF * 2u32.pow(attempt)).min(BACKOFF_MAX);
        }
        None
    }
}

/// A number from 0 to 1 that follows from the state.
fn fraction(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}
