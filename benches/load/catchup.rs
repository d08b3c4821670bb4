//! A user who was away comes back to 100 conversations full of entries and pulls them all, while
//! others write to each other.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::client::{Fleet, is};
use crate::faults::Faults;
use crate::machine::{Event, Machine, PAGE};
use crate::meter::Meter;
use crate::open::at_rate;
use crate::options::Options;
use crate::pairs::{Board, bump, connect};
use crate::probe::{PATIENCE, Probe};
use crate::report::{Goal, Of, Outcome, compare};
use crate::target::{Place, Running, Subject};
use crate::{Result, body, json, proc};

/// Conversations that wait, each with one other user.
const CONVS: u32 = 100;
/// Un-acked messages of each sender while the conversations are filled.
const FILL_WINDOW: u32 = 32;
/// Longest time that filling may take.
const FILL_LIMIT: Duration = Duration::from_secs(900);
/// Pulls in flight; the protocol allows 32.
const IN_FLIGHT: usize = 4;
/// Times that everything is pulled, so that the others' latencies have enough samples.
const PASSES: u32 = 5;
/// What the others send meanwhile, in messages a second, together.
const OTHERS: f64 = 1000.0;
/// The user who was away; the senders and the others have lower indices.
const AWAY: u32 = 1_000_000;

const RATE: &str = "entries per second";
const GROWTH: &str = "peak growth of RSS, MiB";
const WORSE: &str = "others' delivery p99, during ÷ before";

/// The measure: 100,000 entries; 200 others write 1,000 messages a second.
pub(crate) async fn catchup(options: &Options) -> Result<bool> {
    pull_all(options, "catchup", 3, options.conns.unwrap_or(200) & !1).await
}

/// W5: the same beside 1,000 others.
pub(crate) async fn w5(options: &Options) -> Result<bool> {
    pull_all(options, "W5", 5, options.conns.unwrap_or(1000) & !1).await
}

async fn pull_all(options: &Options, name: &str, runs: u32, others: u32) -> Result<bool> {
    let (_, secs) = options.spans(0.0, 10.0);
    let entries = if options.quick {
        options.entries.min(10_000)
    } else {
        options.entries
    };
    let each = entries.div_ceil(CONVS).max(1);
    let size = options.size;
    let title = format!(
        "{name}: {} entries in {CONVS} conversations, pages of {PAGE}, {IN_FLIGHT} in flight, \
         {PASSES} times; {others} others at {OTHERS} messages per second",
        each * CONVS
    );
    // The rate's goal is a lower bound: the row that is judged is the time of 100,000 entries.
    let goals = [
        Goal {
            row: SECONDS.to_owned(),
            at_most: 1.0,
            of: Of::Itself,
        },
        Goal {
            row: GROWTH.to_owned(),
            at_most: 64.0,
            of: Of::Itself,
        },
        Goal {
            row: WORSE.to_owned(),
            at_most: 1.5,
            of: Of::Itself,
        },
    ];
    compare(
        options,
        &title,
        (runs, &[Subject::Server], size),
        &goals,
        async |running| run(running, each, others, secs).await,
    )
    .await
}

const SECONDS: &str = "seconds per 100,000 entries";

async fn run(running: &Running, each: u32, others: u32, secs: f64) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let filled = fill(running, others, each).await?;
    outcome.faults.add(&filled);

    let board = Board::new(others)?;
    let fleet = connect(&running.place, others, &board).await?;
    let before = at_rate(running, (&board, &fleet), OTHERS, (1.0, secs)).await?;
    outcome.faults.lost += before.missing;
    let p99 = |board: &Board| board.delivery.borrow().value_at_quantile(0.99) as f64 / 1000.0;
    let p99_before = p99(&board);

    let rss = running.memory()?.rss;
    proc::reset_peak(running.pid())?;
    let place = running.place.clone();
    let (begin, mut begun) = watch::channel(false);
    let away = spawn_blocking(move || {
        let _ = begin.send(true);
        let passes = (0..PASSES).map(|_| pass(&place));
        passes.collect::<Result<Vec<Pass>>>()
    });
    begun.changed().await?;
    let meter = Meter::start(running)?;
    // The others write for as long as the pulls last, and are measured just then.
    let (passes, during) = tokio::join!(
        async {
            (
                away.await,
                meter.stop(running),
                proc::peak_rss(running.pid()),
            )
        },
        at_rate(running, (&board, &fleet), OTHERS, (0.0, secs)),
    );
    let (passes, during) = (passes, during?);
    let (list, span, peak) = (passes.0??, passes.1?, passes.2?);
    outcome.faults.lost += during.missing;
    outcome.faults.add(&fleet.faults());

    report(&list, each, &mut outcome);
    let pulled: u64 = list.iter().map(|pass| pass.entries).sum();
    outcome.figure("server CPU, µs per entry, the others' share included", {
        span.server_us / pulled as f64
    });
    outcome.figure(GROWTH, (peak - rss).max(0.0) / 1024.0);
    outcome.figure("others' delivery p99 before, ms", p99_before);
    outcome.figure("others' delivery p99 during, ms", p99(&board));
    outcome.figure(WORSE, p99(&board) / p99_before);
    span.report(&mut outcome, running)?;
    Ok(outcome)
}

fn report(list: &[Pass], each: u32, outcome: &mut Outcome) {
    let due = u64::from(each * CONVS);
    let (mut secs, mut entries) = (0.0, 0);
    for pass in list {
        secs += pass.secs;
        entries += pass.entries;
        outcome.faults.add(&pass.faults);
        outcome.faults.lost += due.saturating_sub(pass.entries);
    }
    outcome.figure(RATE, entries as f64 / secs);
    outcome.figure(SECONDS, 100_000.0 * secs / entries as f64);
    if let Some(first) = list.first() {
        outcome.figure(
            "first time: entries per second",
            first.entries as f64 / first.secs,
        );
        outcome.figure("first page, ms", first.first_page_ms);
    }
}

/// Fills the conversations of the one who is away.
async fn fill(running: &Running, from: u32, each: u32) -> Result<Faults> {
    let mut fleet = Fleet::default();
    let sent = Rc::new(Cell::new(0));
    let opened = Fleet::open(&running.place, from..from + CONVS, Ipv4Addr::LOCALHOST).await?;
    for opened in opened {
        opened
            .0
            .machine
            .borrow_mut()
            .aim_at_user(&running.place.user(AWAY));
        let sent = Rc::clone(&sent);
        fleet.drive(opened, move |machine, event| {
            if let Event::Sent { .. } = event {
                bump(&sent);
                if machine.sent() < u64::from(each) {
                    machine.send(machine.now);
                }
            }
        });
    }
    fleet.tick();
    for conn in &fleet.conns {
        for _ in 0..FILL_WINDOW.min(each) {
            conn.send(body::now());
        }
    }
    let deadline = Instant::now() + FILL_LIMIT;
    while sent.get() < u64::from(each * CONVS) {
        let faults = fleet.faults();
        if faults.void() || Instant::now() > deadline {
            let first = faults.first.unwrap_or_default();
            return Err(format!("{} of the entries got stored; {first}", sent.get()).into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(fleet.faults())
}

/// One time that everything was pulled.
struct Pass {
    secs: f64,
    entries: u64,
    first_page_ms: f64,
    faults: Faults,
}

/// Connects, syncs, and pulls every conversation from its beginning to its end.
fn pass(place: &Place) -> Result<Pass> {
    let begin = body::now();
    let mut probe = Probe::open(place, AWAY)?;
    let convs = conversations(&mut probe)?;
    let mut waiting = convs.iter();
    let mut open = 0;
    for conv in waiting.by_ref().take(IN_FLIGHT) {
        probe.machine.pull(conv, 0);
        open += 1;
    }
    let (mut entries, mut first_page) = (0, 0);
    probe.until(PATIENCE, |machine, event| {
        match event {
            Event::Message(_) => entries += 1,
            Event::Page if first_page == 0 => first_page = machine.now - begin,
            Event::Pulled => match waiting.next() {
                Some(conv) => machine.pull(conv, 0),
                None => open -= 1,
            },
            _ => {}
        }
        open == 0
    })?;
    let secs = (body::now() - begin) as f64 / 1e9;
    let faults = probe.machine.faults.clone();
    Ok(Pass {
        secs,
        entries,
        first_page_ms: first_page as f64 / 1e6,
        faults,
    })
}

/// The ids of the conversations that `sync` lists, all pages of it.
fn conversations(probe: &mut Probe) -> Result<Vec<Vec<u8>>> {
    /// Most pages that a list of conversations may have.
    const PAGES: u32 = 1000;
    let mut convs = Vec::new();
    let mut since = String::new();
    for _ in 0..PAGES {
        probe.machine.ask("sync", &since);
        let mut synced = None;
        probe.until(PATIENCE, |_: &mut Machine, event| {
            if let Event::Other(frame) = event
                && (is(frame, "synced") || is(frame, "err"))
            {
                synced = Some(frame.to_vec());
            }
            synced.is_some()
        })?;
        let synced = synced.unwrap_or_default();
        json::elements(json::field(&synced, "convs").unwrap_or_default(), |line| {
            convs.extend(
                json::field(line, "conv")
                    .and_then(json::text)
                    .map(<[u8]>::to_vec),
            );
        });
        if json::field(&synced, "more") != Some(b"true") {
            return Ok(convs);
        }
        let token = json::field(&synced, "since")
            .and_then(json::text)
            .unwrap_or_default();
        since = format!(r#","since":"{}""#, String::from_utf8_lossy(token));
    }
    Err("the list of conversations has no end".into())
}
