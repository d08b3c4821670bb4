//! One message at a time into a group: the sender's ack, and the time until the last member has it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::spawn_blocking;

use crate::client::Fleet;
use crate::faults::Faults;
use crate::machine::Event;
use crate::meter::{Meter, latencies, record};
use crate::options::Options;
use crate::probe::{PATIENCE, Probe};
use crate::report::{Goal, Of, Outcome, compare};
use crate::target::{Place, Running, Subject};
use crate::{Result, body, group};

/// Pause after everybody has a message. The members' acks come within 100 ms of it, so the next
/// message meets none of them: what is measured is the ack, and not the queue of acks.
const QUIET: Duration = Duration::from_millis(150);
/// The pause of W3: there the next message meets the acks of the one before.
pub(crate) const BUSY: Duration = Duration::from_millis(10);
/// Messages before measuring.
const WARMUP: u32 = 5;
/// What follows a group's size in the name of the row that has a goal.
const ACK: &str = "members: ack";

/// What follows a group's size in the name of the row of what a message costs.
const CPU: &str = "members: server CPU, µs per message";
/// Members who are online in [`absent`].
const ONLINE: u32 = 1_000;

/// The same number online in groups of very different sizes: what a message costs follows those who
/// are here.
pub(crate) async fn absent(options: &Options) -> Result<bool> {
    let groups = if options.groups.is_empty() {
        vec![1_000, 10_000, 100_000]
    } else {
        options.groups.clone()
    };
    let count = if options.quick { 20 } else { 200 };
    let online = options.conns.unwrap_or(ONLINE).max(2);
    let size = options.size;
    let channel = options.channels;
    let kind = if channel { "channels" } else { "groups" };
    let title =
        format!("absent: {online} online of {kind} of {groups:?}, {count} messages, {size} bytes");
    let goal = Goal {
        row: COST.to_owned(),
        at_most: 1.2,
        of: Of::Itself,
    };
    // Over several nodes where there are some.
    let subject = match options.can_share() {
        true => Subject::Nodes,
        false => Subject::Server,
    };
    let what = (3, &[subject][..], size);
    compare(options, &title, what, &[goal], async |running| {
        let mut outcome = Outcome::default();
        for members in &groups {
            let members = (*members).max(online);
            let crowd = Crowd {
                members,
                online,
                channel,
            };
            one_at_a_time(running, crowd, (count, QUIET), &mut outcome).await?;
        }
        ratio(&groups, CPU, COST, &mut outcome);
        Ok(outcome)
    })
    .await
}

const COST: &str = "server CPU per message, largest group ÷ smallest";

/// The measure: 100 messages into a group of 100 and into one of 5,000.
pub(crate) async fn ackgroup(options: &Options) -> Result<bool> {
    let groups = if options.groups.is_empty() {
        vec![100, 5000]
    } else {
        options.groups.clone()
    };
    let count = if options.quick { 20 } else { 100 };
    let size = options.size;
    let title = format!("ackgroup: {count} messages, one at a time, {size} bytes");
    let goal = Goal {
        row: RATIO.to_owned(),
        at_most: 2.0,
        of: Of::Itself,
    };
    compare(
        options,
        &title,
        (3, Subject::BOTH, size),
        &[goal],
        async |running| {
            let mut outcome = Outcome::default();
            for members in &groups {
                let crowd = Crowd::all_online((*members).max(2));
                one_at_a_time(running, crowd, (count, QUIET), &mut outcome).await?;
            }
            compare_sizes(&groups, &mut outcome);
            Ok(outcome)
        },
    )
    .await
}

const RATIO: &str = "ack p50, largest group ÷ smallest";

fn compare_sizes(groups: &[u32], outcome: &mut Outcome) {
    for quantile in ["p50", "p99"] {
        let row = format!("ack {quantile}, largest group ÷ smallest");
        ratio(groups, &format!("{ACK} {quantile}, ms"), &row, outcome);
    }
}

/// A figure of the last group by that of the first.
fn ratio(groups: &[u32], figure: &str, row: &str, outcome: &mut Outcome) {
    let of = |size: Option<&u32>| {
        let name = format!("{} {figure}", size?);
        let found = outcome.figures.iter().find(|(row, _)| *row == name);
        found.map(|(_, value)| *value)
    };
    if let (Some(small), Some(large)) = (of(groups.first()), of(groups.last()))
        && small > 0.0
    {
        outcome.figure(row, large / small);
    }
}

/// A group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) members: u32,
    /// How many of them are connected, at least two.
    pub(crate) online: u32,
    /// Whether it is a channel, in which user 0 writes alone.
    pub(crate) channel: bool,
}

impl Crowd {
    pub(crate) const fn all_online(members: u32) -> Self {
        Self {
            members,
            online: members,
            channel: false,
        }
    }
}

/// Sends `count` messages into a new group, each a pause after everybody who is online has the one
/// before.
pub(crate) async fn one_at_a_time(
    running: &Running,
    Crowd {
        members,
        online,
        channel,
    }: Crowd,
    (count, pause): (u32, Duration),
    outcome: &mut Outcome,
) -> Result<()> {
    let place = &running.place;
    let conv = match channel {
        true => group::create_channel(place, members).await?,
        false => group::create(place, members).await?,
    };
    let mut fleet = Fleet::default();
    let arrived = Arc::new(AtomicU64::new(0));
    let last_at = Arc::new(AtomicU64::new(0));
    let seen = Rc::new(Cell::new(0));
    for opened in group::enter(place, 1..online, &conv).await? {
        let (arrived, last_at, seen) =
            (Arc::clone(&arrived), Arc::clone(&last_at), Rc::clone(&seen));
        fleet.drive(opened, move |machine, event| {
            if let Event::Message(_) = event {
                seen.set(seen.get() + 1);
                last_at.store(machine.now, Ordering::Relaxed);
                arrived.store(seen.get(), Ordering::Release);
            }
        });
    }
    fleet.tick();
    let others = u64::from(online - 1);
    let sender = Sender {
        place: place.clone(),
        conv,
        others,
        count,
        pause,
    };
    let meter = Meter::start(running)?;
    let times = spawn_blocking(move || sender.run(&arrived, &last_at)).await??;
    let span = meter.stop(running)?;
    let messages = f64::from(count + WARMUP);
    outcome.quantiles(&format!("{members} {ACK}"), &times.ack, &[50.0, 99.0]);
    outcome.quantiles(
        &format!("{members} members: to the last"),
        &times.last,
        &[50.0, 99.0],
    );
    let cpu = span.server_us / messages;
    let each = f64::from(online);
    outcome.figure(
        format!("{members} members: server CPU, µs per delivery"),
        cpu / each,
    );
    outcome.figure(format!("{members} {CPU}"), cpu);
    outcome.faults.add(&fleet.faults());
    outcome.faults.add(&times.faults);
    Ok(())
}

struct Sender {
    place: Place,
    conv: String,
    others: u64,
    count: u32,
    pause: Duration,
}

struct Times {
    ack: Histogram<u64>,
    last: Histogram<u64>,
    faults: Faults,
}

impl Sender {
    fn run(&self, arrived: &AtomicU64, last_at: &AtomicU64) -> Result<Times> {
        let mut times = Times {
            ack: latencies()?,
            last: latencies()?,
            faults: Faults::default(),
        };
        let mut probe = Probe::open(&self.place, 0)?;
        probe.machine.aim_at_conv(&self.conv);
        for number in 0..u64::from(WARMUP + self.count) {
            let at = body::now();
            probe.machine.send(at);
            let mut acked = 0;
            probe.until(PATIENCE, |machine, event| {
                if let Event::Sent { .. } = event {
                    acked = machine.now;
                }
                acked > 0
            })?;
            let due = (number + 1) * self.others;
            if !self.all_have_it(&mut probe, arrived, due)? {
                times.faults.lost += due.saturating_sub(arrived.load(Ordering::Acquire));
                break;
            }
            if number >= u64::from(WARMUP) {
                record(&mut times.ack, acked - at);
                record(
                    &mut times.last,
                    last_at.load(Ordering::Relaxed).saturating_sub(at),
                );
            }
            let until = Instant::now() + self.pause;
            while Instant::now() < until {
                probe.step(Duration::from_millis(10), &mut |_, _| {})?;
            }
        }
        times.faults.add(&probe.machine.faults);
        Ok(times)
    }

    fn all_have_it(&self, probe: &mut Probe, arrived: &AtomicU64, due: u64) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while arrived.load(Ordering::Acquire) < due {
            if Instant::now() > deadline {
                return Ok(false);
            }
            probe.step(Duration::from_millis(2), &mut |_, _| {})?;
        }
        probe.machine.handle_tick();
        Ok(true)
    }
}
