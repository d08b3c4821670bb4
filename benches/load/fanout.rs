//! One publisher, a group of online members: what a delivery costs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep};

use crate::client::Fleet;
use crate::machine::Event;
use crate::meter::{Meter, latencies, record};
use crate::options::Options;
use crate::pairs::{DRAIN, bump};
use crate::report::{Goal, Of, Outcome, compare};
use crate::target::{Running, Subject};
use crate::{Result, body, group};

const CPU: &str = "server CPU, µs per delivery";

/// The measure: 1,000 online members, window 4, 10 s after 2 s.
pub(crate) async fn fanout(options: &Options) -> Result<bool> {
    let (warmup, secs) = options.spans(2.0, 10.0);
    let members = options.conns.unwrap_or(1000);
    let window = options.window.first().copied().unwrap_or(4).clamp(1, 1000);
    let size = options.size;
    let title = format!(
        "fanout: 1 publisher, window {window}, {members} members, {size} bytes, \
         {secs} s after {warmup} s"
    );
    let goals = [Goal {
        row: CPU.to_owned(),
        at_most: 1.8,
        of: Of::First,
    }];
    compare(
        options,
        &title,
        (3, Subject::BOTH, size),
        &goals,
        async |running| run(running, members, window, (warmup, secs)).await,
    )
    .await
}

/// What the members see, and the publisher.
struct Seen {
    deliveries: Cell<u64>,
    sending: Cell<bool>,
    acks: RefCell<Histogram<u64>>,
    times: RefCell<Histogram<u64>>,
}

async fn run(
    running: &Running,
    members: u32,
    window: u32,
    (warmup, secs): (f64, f64),
) -> Result<Outcome> {
    let seen = Rc::new(Seen {
        deliveries: Cell::new(0),
        sending: Cell::new(true),
        acks: RefCell::new(latencies()?),
        times: RefCell::new(latencies()?),
    });
    let mut fleet = enter(running, members, &seen).await?;
    fleet.tick();
    let publisher = Rc::clone(&fleet.conns[0]);
    for _ in 0..window {
        publisher.send(body::now());
    }
    sleep(Duration::from_secs_f64(warmup)).await;

    seen.acks.borrow_mut().reset();
    seen.times.borrow_mut().reset();
    let before = seen.deliveries.get();
    let meter = Meter::start(running)?;
    sleep(Duration::from_secs_f64(secs)).await;
    let span = meter.stop(running)?;
    let count = (seen.deliveries.get() - before) as f64;

    seen.sending.set(false);
    let deadline = Instant::now() + DRAIN;
    let missing = || {
        let due = publisher.machine.borrow().sent() * u64::from(members);
        due.abs_diff(seen.deliveries.get()) + fleet.unanswered()
    };
    while missing() > 0 && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    let mut outcome = Outcome {
        faults: fleet.faults(),
        ..Outcome::default()
    };
    outcome.faults.lost += missing();
    outcome.figure("deliveries per second", count / span.secs);
    outcome.figure(
        "messages per second",
        count / f64::from(members) / span.secs,
    );
    outcome.figure(CPU, span.server_us / count);
    outcome.quantiles("ack", &seen.acks.borrow(), &[50.0, 99.0]);
    outcome.quantiles("delivery", &seen.times.borrow(), &[50.0, 99.0]);
    span.report(&mut outcome, running)?;
    Ok(outcome)
}

/// The group's connections, the publisher's first.
async fn enter(running: &Running, members: u32, seen: &Rc<Seen>) -> Result<Fleet> {
    let conv = group::create(&running.place, members + 1).await?;
    let opened = group::enter(&running.place, 0..members + 1, &conv).await?;
    let mut fleet = Fleet::default();
    for (me, opened) in (0..).zip(opened) {
        let seen = Rc::clone(seen);
        fleet.drive(opened, move |machine, event| match event {
            Event::Sent { at } => {
                record(&mut seen.acks.borrow_mut(), machine.now - at);
                if seen.sending.get() {
                    machine.send(machine.now);
                }
            }
            // The publisher's own copy isn't a delivery to a member.
            Event::Message(stamp) if me != 0 => {
                bump(&seen.deliveries);
                record(&mut seen.times.borrow_mut(), machine.now - stamp.at);
            }
            _ => {}
        });
    }
    Ok(fleet)
}
