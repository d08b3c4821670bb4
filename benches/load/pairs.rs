//! Closed loop: pairs of users, each of whom keeps a window of messages that have no `sent` yet.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::client::Fleet;
use crate::machine::{Event, Machine};
use crate::meter::{Meter, latencies, record};
use crate::options::Options;
use crate::report::{Goal, Of, Outcome, compare};
use crate::target::{Place, Running, Subject};

/// Longest wait for what is still on its way when a run ends.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// How one run of pairs goes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    conns: u32,
    window: u32,
    warmup: f64,
    secs: f64,
}

/// The measure: 200 connections, windows 1 and 32, 10 s after 2 s.
pub(crate) async fn pairs(options: &Options) -> Result<bool> {
    let (warmup, secs) = options.spans(2.0, 10.0);
    let windows = if options.window.is_empty() {
        &[1, 32][..]
    } else {
        &options.window
    };
    let mut good = true;
    for window in windows {
        let conns = options.conns.unwrap_or(200);
        let shape = Shape {
            conns,
            window: (*window).clamp(1, 1000),
            warmup,
            secs,
        };
        let goal = match window {
            1 => Some(Goal {
                row: CPU.to_owned(),
                at_most: 3.0,
                of: Of::First,
            }),
            32 => Some(Goal {
                row: CPU.to_owned(),
                at_most: 35.0,
                of: Of::Itself,
            }),
            _ => None,
        };
        good &= closed_loop(options, "pairs", 3, shape, goal.as_slice()).await?;
    }
    Ok(good)
}

/// W1: 1,000 connections, window 8, 20 s after 5 s.
pub(crate) async fn w1(options: &Options) -> Result<bool> {
    let (warmup, secs) = options.spans(5.0, 20.0);
    let window = options.window.first().copied().unwrap_or(8).clamp(1, 1000);
    let shape = Shape {
        conns: options.conns.unwrap_or(1000),
        window,
        warmup,
        secs,
    };
    closed_loop(options, "W1", 5, shape, &[]).await
}

pub(crate) const CPU: &str = "server CPU, µs per message";

async fn closed_loop(
    options: &Options,
    name: &str,
    runs: u32,
    shape: Shape,
    goals: &[Goal],
) -> Result<bool> {
    let Shape {
        conns,
        window,
        warmup,
        secs,
    } = shape;
    let size = options.size;
    let title = format!(
        "{name}, window {window}: {conns} connections, {size} bytes, {secs} s after {warmup} s"
    );
    compare(
        options,
        &title,
        (runs, Subject::BOTH, size),
        goals,
        async |running| run(running, shape).await,
    )
    .await
}

/// What the handlers of all connections write on.
pub(crate) struct Board {
    /// Whether an answered sender sends again.
    pub(crate) sending: Cell<bool>,
    pub(crate) measuring: Cell<bool>,
    /// Per sender: messages that got `sent`, and messages that reached the other.
    acked: Vec<Cell<u64>>,
    delivered: Vec<Cell<u64>>,
    pub(crate) ack: RefCell<Histogram<u64>>,
    pub(crate) delivery: RefCell<Histogram<u64>>,
}

impl Board {
    pub(crate) fn new(senders: u32) -> Result<Rc<Self>> {
        let zeros = || (0..senders).map(|_| Cell::new(0)).collect();
        Ok(Rc::new(Self {
            sending: Cell::new(false),
            measuring: Cell::new(false),
            acked: zeros(),
            delivered: zeros(),
            ack: RefCell::new(latencies()?),
            delivery: RefCell::new(latencies()?),
        }))
    }

    /// Messages for which both the `sent` and the delivery came.
    pub(crate) fn complete(&self) -> u64 {
        let both = self.acked.iter().zip(&self.delivered);
        both.map(|(acked, delivered)| acked.get().min(delivered.get()))
            .sum()
    }

    /// Stored, but not with the other yet.
    fn missing(&self) -> u64 {
        let both = self.acked.iter().zip(&self.delivered);
        both.map(|(acked, delivered)| acked.get().saturating_sub(delivered.get()))
            .sum()
    }

    /// Starts the histograms anew.
    pub(crate) fn measure(&self) {
        self.ack.borrow_mut().reset();
        self.delivery.borrow_mut().reset();
        self.measuring.set(true);
    }

    /// What the connection of user `me` does with what it hears.
    pub(crate) fn hear(&self, me: u32, machine: &mut Machine, event: &Event<'_>) {
        match event {
            Event::Sent { at } => {
                bump(&self.acked[me as usize]);
                if self.measuring.get() {
                    record(&mut self.ack.borrow_mut(), machine.now - at);
                }
                if self.sending.get() {
                    machine.send(machine.now);
                }
            }
            Event::Message(stamp) if stamp.sender != me => {
                bump(&self.delivered[stamp.sender as usize]);
                if self.measuring.get() {
                    record(&mut self.delivery.borrow_mut(), machine.now - stamp.at);
                }
            }
            _ => {}
        }
    }
}

/// Connects users 0, 1, … in pairs that write to each other.
pub(crate) async fn connect(place: &Place, conns: u32, board: &Rc<Board>) -> Result<Fleet> {
    let mut fleet = Fleet::default();
    let opened = Fleet::open(place, 0..conns, Ipv4Addr::LOCALHOST).await?;
    for (me, opened) in (0..conns).zip(opened) {
        opened
            .0
            .machine
            .borrow_mut()
            .aim_at_user(&place.user(me ^ 1));
        let board = Rc::clone(board);
        fleet.drive(opened, move |machine, event| {
            board.hear(me, machine, &event)
        });
    }
    fleet.tick();
    Ok(fleet)
}

/// Waits for what is still on its way; what hasn't come then is lost. Returns how many are.
pub(crate) async fn drain(board: &Board, fleet: &Fleet) -> u64 {
    board.sending.set(false);
    let deadline = Instant::now() + DRAIN;
    loop {
        let open = fleet.unanswered() + board.missing();
        if open == 0 || Instant::now() > deadline {
            return open;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn run(running: &Running, shape: Shape) -> Result<Outcome> {
    let conns = shape.conns & !1;
    let board = Board::new(conns)?;
    let fleet = connect(&running.place, conns, &board).await?;
    board.sending.set(true);
    for conn in &fleet.conns {
        for _ in 0..shape.window {
            conn.machine.borrow_mut().send(crate::body::now());
        }
        conn.flush();
    }
    sleep(Duration::from_secs_f64(shape.warmup)).await;

    let before = board.complete();
    board.measure();
    let meter = Meter::start(running)?;
    sleep(Duration::from_secs_f64(shape.secs)).await;
    let span = meter.stop(running)?;
    let messages = (board.complete() - before) as f64;
    board.measuring.set(false);

    let lost = drain(&board, &fleet).await;
    let mut outcome = Outcome {
        faults: fleet.faults(),
        ..Outcome::default()
    };
    outcome.faults.lost += lost;
    outcome.figure("messages per second", messages / span.secs);
    outcome.figure(CPU, span.server_us / messages);
    outcome.quantiles("ack", &board.ack.borrow(), &[50.0, 99.0]);
    outcome.quantiles("delivery", &board.delivery.borrow(), &[50.0, 99.0]);
    span.report(&mut outcome, running)?;
    Ok(outcome)
}

pub(crate) fn bump(count: &Cell<u64>) {
    count.set(count.get() + 1);
}
