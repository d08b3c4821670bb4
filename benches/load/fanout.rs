//! One publisher, a group of online members: what a delivery costs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Fleet;
use crate::machine::Event;
use crate::meter::{Meter, latencies, record};
use crate::options::Options;
use crate::pairs::{DRAIN, bump};
use crate::report::{Goal, Outcome, compare};
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
        of_relay: true,
    }];
    let subjects = [Subject::Relay, Subject::Server];
    compare(
        options,
        &title,
        (3, &subjects, size),
        &goals,
        async |running| run(running, members, window, (warmup, secs)).await,
    )
    .await
}

async fn run(
    running: &Running,
    members: u32,
    window: u32,
    (warmup, secs): (f64, f64),
) -> Result<Outcome> {
    let conv = group::create(&running.place, members + 1).await?;
    let opened = group::enter(&running.place, 0..members + 1, &conv).await?;
    let deliveries = Rc::new(Cell::new(0));
    let (sending, acks) = (
        Rc::new(Cell::new(true)),
        Rc::new(RefCell::new(latencies()?)),
    );
    let times = Rc::new(RefCell::new(latencies()?));
    let mut fleet = Fleet::default();
    for (me, opened) in (0..).zip(opened) {
        let (deliveries, sending) = (Rc::clone(&deliveries), Rc::clone(&sending));
        let (acks, times) = (Rc::clone(&acks), Rc::clone(&times));
        fleet.drive(opened, move |machine, event| match event {
            Event::Sent { at } => {
                record(&mut acks.borrow_mut(), machine.now - at);
                if sending.get() {
                    machine.send(machine.now);
                }
            }
            // The publisher's own copy isn't a delivery to a member.
            Event::Message(stamp) if me != 0 => {
                bump(&deliveries);
                record(&mut times.borrow_mut(), machine.now - stamp.at);
            }
            _ => {}
        });
    }
    fleet.tick();
    let publisher = Rc::clone(&fleet.conns[0]);
    for _ in 0..window {
        publisher.send(body::now());
    }
    sleep(Duration::from_secs_f64(warmup)).await;

    acks.borrow_mut().reset();
    times.borrow_mut().reset();
    let before = deliveries.get();
    let meter = Meter::start(running)?;
    sleep(Duration::from_secs_f64(secs)).await;
    let span = meter.stop(running)?;
    let count = (deliveries.get() - before) as f64;

    sending.set(false);
    let deadline = Instant::now() + DRAIN;
    let missing = || {
        let due = publisher.machine.borrow().sent() * u64::from(members);
        due.abs_diff(deliveries.get()) + fleet.unanswered()
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
    outcome.quantiles("ack", &acks.borrow(), &[50.0, 99.0]);
    outcome.quantiles("delivery", &times.borrow(), &[50.0, 99.0]);
    span.report(&mut outcome, running)?;
    Ok(outcome)
}
