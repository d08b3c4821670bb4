//! What it costs that the two who write to each other are on different nodes.
//!
//! The same messages at half of the rate that several nodes can hold, over one database: on one
//! node without a bus against several with one, which also commit beside each other then; and, with
//! the same several nodes, from pairs on one node against pairs of which each is on two.

use crate::Result;
use crate::open::{highest_good, hold};
use crate::options::Options;
use crate::pairs::{Board, CPU, connect};
use crate::report::{Goal, Of, compare};
use crate::target::{Running, Subject};

/// Rates that are tried, in messages a second.
const LADDER: [u32; 12] = [
    500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 10_000, 12_000, 16_000, 20_000,
];
/// The most that crossing costs of the server's CPU, as a multiple.
const CPU_MAX: f64 = 1.6;
/// What crossing may add to the delivery's p99, in milliseconds: on Redis and NATS, and on others.
const LATER_MAX: (f64, f64) = (5.0, 15.0);

/// The measure: 200 connections, 10 s after 2 s.
pub(crate) async fn across(options: &Options) -> Result<bool> {
    let spans = options.spans(2.0, 10.0);
    let conns = options.conns.unwrap_or(200) & !1;
    let bus = options.bus()?.split(':').next().unwrap_or_default();
    let rate = match options.rates.first() {
        Some(rate) => f64::from((*rate).clamp(1, 1_000_000)),
        None => half(options, conns).await?,
    };
    let title = format!(
        "across {bus}: {rate} messages per second, {conns} connections, {} nodes, {} bytes, \
         {} s after {} s",
        options.nodes, options.size, spans.1, spans.0
    );
    let later = match bus {
        "redis" | "rediss" | "nats" => LATER_MAX.0,
        _ => LATER_MAX.1,
    };
    let goal = |row: &str, at_most, of| Goal {
        row: row.to_owned(),
        at_most,
        of,
    };
    let goals = [
        goal(CPU, CPU_MAX, Of::First),
        goal("delivery p99, ms", later, Of::OverFirst),
    ];
    let mut good = true;
    for subjects in [Subject::ONE_AND_SEVERAL, Subject::BESIDE_AND_ACROSS] {
        let what = (3, subjects, options.size);
        good &= compare(options, &title, what, &goals, async |running| {
            hold(running, conns, rate, spans).await
        })
        .await?;
    }
    Ok(good)
}

/// Half of the highest rate that several nodes hold.
async fn half(options: &Options, conns: u32) -> Result<f64> {
    let running = Running::start(options, Subject::Nodes, options.size).await?;
    let board = Board::new(conns)?;
    let fleet = connect(&running.place, conns, &board).await?;
    let spans = options.spans(1.0, 4.0);
    let tell = |rate| eprintln!("across: tried {rate} messages per second");
    let (highest, _) = highest_good(&running, (&board, &fleet), &LADDER, spans, tell).await?;
    match highest {
        0 => Err("several nodes hold none of the rates".into()),
        highest => Ok(f64::from(highest) / 2.0),
    }
}
