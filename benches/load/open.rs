//! Open loop: pairs that write on a fixed schedule, and how high the rate may go.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::Result;
use crate::client::Fleet;
use crate::meter::{Meter, Span};
use crate::options::Options;
use crate::pacer::Pacer;
use crate::pairs::{Board, CPU, connect, drain};
use crate::report::{Goal, Of, Outcome, SATURATED, compare};
use crate::target::{Running, Subject};

/// The rates of W2, in messages a second.
const LADDER: [u32; 7] = [500, 1000, 2000, 5000, 10_000, 20_000, 40_000];
/// What W2 calls good enough: delivery p99 and p99.9, in milliseconds.
const GOOD: (f64, f64) = (50.0, 250.0);

/// The measure: 5,000 messages a second, 10 s after 2 s.
pub(crate) async fn open(options: &Options) -> Result<bool> {
    let (warmup, secs) = options.spans(2.0, 10.0);
    let conns = options.conns.unwrap_or(1000) & !1;
    let rate = options
        .rates
        .first()
        .copied()
        .unwrap_or(5000)
        .clamp(1, 1_000_000);
    let size = options.size;
    let title = format!(
        "open: {rate} messages per second, {conns} connections, {size} bytes, \
         {secs} s after {warmup} s"
    );
    let goals = [Goal {
        row: "ack p99, ms".to_owned(),
        at_most: 20.0,
        of: Of::Itself,
    }];
    compare(
        options,
        &title,
        (3, Subject::BOTH, size),
        &goals,
        async |running| hold(running, conns, f64::from(rate), (warmup, secs)).await,
    )
    .await
}

/// One rate on new connections.
pub(crate) async fn hold(
    running: &Running,
    conns: u32,
    rate: f64,
    spans: (f64, f64),
) -> Result<Outcome> {
    let board = Board::new(conns)?;
    let fleet = connect(&running.place, conns, &board).await?;
    let step = at_rate(running, (&board, &fleet), rate, spans).await?;
    let mut outcome = Outcome {
        faults: fleet.faults(),
        ..Outcome::default()
    };
    outcome.faults.lost += step.missing;
    outcome.figure("messages per second", step.messages / step.span.secs);
    outcome.figure(CPU, step.span.server_us / step.messages);
    outcome.quantiles("ack", &board.ack.borrow(), &[50.0, 99.0, 99.9]);
    outcome.quantiles("delivery", &board.delivery.borrow(), &[50.0, 99.0, 99.9]);
    step.span.report(&mut outcome, running)?;
    Ok(outcome)
}

/// W2: the rate rises until the delivery's p99 or p99.9 is too high.
pub(crate) async fn w2(options: &Options) -> Result<bool> {
    let (warmup, secs) = options.spans(5.0, 20.0);
    let conns = options.conns.unwrap_or(1000) & !1;
    let size = options.size;
    let title = format!(
        "W2: {conns} connections, {size} bytes, delivery p99 <= {} ms and p99.9 <= {} ms, \
         {secs} s a rate",
        GOOD.0, GOOD.1
    );
    let ladder = if options.rates.is_empty() {
        LADDER.to_vec()
    } else {
        options.rates.clone()
    };
    compare(
        options,
        &title,
        (5, Subject::BOTH, size),
        &[],
        async |running| climb(running, conns, &ladder, (warmup, secs)).await,
    )
    .await
}

async fn climb(
    running: &Running,
    conns: u32,
    ladder: &[u32],
    spans: (f64, f64),
) -> Result<Outcome> {
    let board = Board::new(conns)?;
    let fleet = connect(&running.place, conns, &board).await?;
    let mut outcome = Outcome::default();
    let each = |rate: u32| {
        if rate == 1000 {
            quantiles(&mut outcome, "at 1,000/s", &board);
        }
    };
    let (highest, last) = highest_good(running, (&board, &fleet), ladder, spans, each).await?;
    let mut missing = last.as_ref().map_or(0, |step| step.missing);
    let mut last = last.map(|step| step.span);
    if highest > 0 && missing == 0 {
        let half = f64::from(highest) / 2.0;
        let step = at_rate(running, (&board, &fleet), half, spans).await?;
        missing = step.missing;
        quantiles(&mut outcome, "at half of it", &board);
        outcome.figure("at half of it: server CPU, µs per message", {
            step.span.server_us / step.messages
        });
        last = Some(step.span);
    }
    outcome.figures.insert(
        0,
        ("highest good rate, messages per second".to_owned(), {
            f64::from(highest)
        }),
    );
    if let Some(span) = last {
        span.report(&mut outcome, running)?;
    }
    outcome.faults = fleet.faults();
    outcome.faults.lost += missing;
    Ok(outcome)
}

/// The highest rate of a ladder that is good enough, 0 for none, and the last step that was tried.
pub(crate) async fn highest_good(
    running: &Running,
    (board, fleet): (&Rc<Board>, &Fleet),
    ladder: &[u32],
    spans: (f64, f64),
    mut each: impl FnMut(u32),
) -> Result<(u32, Option<Step>)> {
    let (mut highest, mut last) = (0, None);
    for rate in ladder {
        let step = at_rate(running, (board, fleet), f64::from(*rate), spans).await?;
        each(*rate);
        let good = step.good(board);
        last = Some(step);
        if !good {
            break;
        }
        highest = *rate;
    }
    Ok((highest, last))
}

fn quantiles(outcome: &mut Outcome, at: &str, board: &Board) {
    outcome.quantiles(
        &format!("{at}: ack"),
        &board.ack.borrow(),
        &[50.0, 99.0, 99.9],
    );
    outcome.quantiles(
        &format!("{at}: delivery"),
        &board.delivery.borrow(),
        &[50.0, 99.0, 99.9],
    );
}

/// One rate, held for a while.
pub(crate) struct Step {
    pub(crate) span: Span,
    /// Messages that were complete within the span.
    pub(crate) messages: f64,
    /// Still on their way after the drain.
    pub(crate) missing: u64,
}

impl Step {
    fn good(&self, board: &Board) -> bool {
        let delivery = board.delivery.borrow();
        let ms = |quantile: f64| delivery.value_at_quantile(quantile) as f64 / 1000.0;
        self.missing == 0
            && self.span.generator() <= SATURATED
            && ms(0.99) <= GOOD.0
            && ms(0.999) <= GOOD.1
    }
}

/// Sends at `rate`, the pairs in turn; measures after the warm-up, then drains.
pub(crate) async fn at_rate(
    running: &Running,
    (board, fleet): (&Rc<Board>, &Fleet),
    rate: f64,
    (warmup, secs): (f64, f64),
) -> Result<Step> {
    let mut pacer = Pacer::start(rate);
    let begin = Instant::now() + Duration::from_secs_f64(warmup);
    send_until(&mut pacer, fleet, begin).await;
    board.measure();
    let meter = Meter::start(running)?;
    let before = board.complete();
    send_until(&mut pacer, fleet, begin + Duration::from_secs_f64(secs)).await;
    let span = meter.stop(running)?;
    let messages = (board.complete() - before) as f64;
    // What is late still belongs to the histograms, so they run on through the drain.
    let missing = drain(board, fleet).await;
    board.measuring.set(false);
    // A quiet moment, so that one step doesn't weigh on the next.
    sleep(Duration::from_millis(200)).await;
    Ok(Step {
        span,
        messages,
        missing,
    })
}

/// Sends what is due until `end`.
async fn send_until(pacer: &mut Pacer, fleet: &Fleet, end: Instant) {
    /// Messages after which the connections get their turn, however late the schedule is.
    const BURST: u32 = 64;
    let mut burst = 0;
    while let Ok((number, at)) = timeout_at(end, pacer.due()).await {
        let conn = &fleet.conns[number as usize % fleet.conns.len()];
        conn.send(at);
        burst += 1;
        if burst >= BURST {
            burst = 0;
            tokio::task::yield_now().await;
        }
        if Instant::now() >= end {
            return;
        }
    }
}
