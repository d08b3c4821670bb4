//! W3: groups of several sizes; what one message takes, and how many deliveries a second go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ackgroup::{BUSY, Crowd, one_at_a_time};
use crate::client::Fleet;
use crate::machine::Event;
use crate::meter::{Meter, Span, latencies, record};
use crate::options::Options;
use crate::pacer::Pacer;
use crate::pairs::{DRAIN, bump};
use crate::report::{Outcome, compare};
use crate::target::{Running, Subject};
use crate::{Result, group};

/// Members that write in part (b).
const SENDERS: u32 = 4;
/// Messages of part (a).
const SINGLE: u32 = 50;
/// Deliveries a second that part (b) begins with, whatever the group's size.
const FIRST: f64 = 10_000.0;
/// From one rate to the next, and how many there are at most.
const FACTOR: f64 = 1.5;
const STEPS: u32 = 16;
/// The time to all members, p99 in microseconds, above which a rate is too much.
const TOO_LATE: u64 = 500_000;

/// 50 messages one at a time, then four senders whose rate rises until it is too much.
pub(crate) async fn w3(options: &Options) -> Result<bool> {
    let groups = if options.groups.is_empty() {
        vec![100, 1000, 5000]
    } else {
        options.groups.clone()
    };
    let (_, secs) = options.spans(1.0, 4.0);
    let size = options.size;
    let title = format!("W3: groups of {groups:?}, {size} bytes, {secs} s a rate");
    compare(
        options,
        &title,
        (5, Subject::BOTH, size),
        &[],
        async |running| {
            let mut outcome = Outcome::default();
            for members in &groups {
                let members = (*members).max(SENDERS + 1);
                one_at_a_time(
                    running,
                    Crowd::all_online(members),
                    (SINGLE, BUSY),
                    &mut outcome,
                )
                .await?;
                climb(running, members, secs, &mut outcome).await?;
            }
            Ok(outcome)
        },
    )
    .await
}

/// What the members' handlers write on.
struct Board {
    members: u32,
    deliveries: Cell<u64>,
    /// Per sender and message: members that have it.
    counts: RefCell<[Vec<u32>; SENDERS as usize]>,
    to_all: RefCell<Histogram<u64>>,
}

impl Board {
    fn hear(&self, me: u32, now: u64, event: &Event<'_>) {
        let Event::Message(stamp) = event else { return };
        if stamp.sender == me {
            return;
        }
        bump(&self.deliveries);
        let mut counts = self.counts.borrow_mut();
        let Some(counts) = counts.get_mut(stamp.sender as usize) else {
            return;
        };
        let place = stamp.counter as usize;
        if counts.len() <= place {
            counts.resize(place + 1, 0);
        }
        counts[place] += 1;
        if counts[place] == self.members - 1 {
            record(&mut self.to_all.borrow_mut(), now.saturating_sub(stamp.at));
        }
    }
}

async fn climb(running: &Running, members: u32, secs: f64, outcome: &mut Outcome) -> Result<()> {
    let conv = group::create(&running.place, members).await?;
    let board = Rc::new(Board {
        members,
        deliveries: Cell::new(0),
        counts: RefCell::default(),
        to_all: RefCell::new(latencies()?),
    });
    let mut fleet = Fleet::default();
    for (me, opened) in (0..).zip(group::enter(&running.place, 0..members, &conv).await?) {
        let board = Rc::clone(&board);
        fleet.drive(opened, move |machine, event| {
            board.hear(me, machine.now, &event)
        });
    }
    fleet.tick();
    let mut rate = FIRST / f64::from(members);
    let mut best: Option<(f64, Span, f64)> = None;
    let mut missing = 0;
    for _ in 0..STEPS {
        let (span, deliveries, left) = step(running, (&board, &fleet), rate, secs).await?;
        missing = left;
        let late = board.to_all.borrow().value_at_quantile(0.99);
        if missing > 0 || late > TOO_LATE {
            break;
        }
        best = Some((deliveries, span, late as f64 / 1000.0));
        rate *= FACTOR;
    }
    outcome.faults.add(&fleet.faults());
    outcome.faults.lost += missing;
    if let Some((deliveries, span, late)) = best {
        let mut figure = |what: &str, value: f64| {
            outcome.figure(format!("{members} members, 4 senders: {what}"), value);
        };
        figure("deliveries per second", deliveries / span.secs);
        figure("server CPU, µs per delivery", span.server_us / deliveries);
        figure("time to all p99, ms", late);
        figure("generator, % of a core", span.generator());
    }
    Ok(())
}

/// Holds a rate; returns the span, its deliveries, and what is missing after the drain.
async fn step(
    running: &Running,
    (board, fleet): (&Board, &Fleet),
    rate: f64,
    secs: f64,
) -> Result<(Span, f64, u64)> {
    board.to_all.borrow_mut().reset();
    let before = board.deliveries.get();
    let meter = Meter::start(running)?;
    let end = Instant::now() + Duration::from_secs_f64(secs);
    let mut pacer = Pacer::start(rate);
    while let Ok((number, at)) = timeout_at(end, pacer.due()).await {
        fleet.conns[number as usize % SENDERS as usize].send(at);
        tokio::task::yield_now().await;
        if Instant::now() >= end {
            break;
        }
    }
    let span = meter.stop(running)?;
    let deliveries = (board.deliveries.get() - before) as f64;
    let deadline = Instant::now() + DRAIN;
    let missing = || {
        let sent: u64 = fleet
            .conns
            .iter()
            .map(|conn| conn.machine.borrow().sent())
            .sum();
        fleet.unanswered() + (sent * u64::from(board.members - 1)).abs_diff(board.deliveries.get())
    };
    while missing() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    Ok((span, deliveries, missing()))
}
