//! What is read before and after the measured span.

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::report::{GENERATOR, Outcome};
use crate::target::Running;
use crate::{Result, proc};

/// Longest latency that is told apart, in microseconds; longer ones count as this.
const LONGEST: u64 = 120_000_000;

/// The start of a span.
#[derive(Debug)]
pub(crate) struct Meter {
    at: Instant,
    server: f64,
    own: f64,
}

/// What a span took.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) secs: f64,
    /// CPU of the server's process tree, in microseconds.
    pub(crate) server_us: f64,
    own_secs: f64,
}

impl Meter {
    pub(crate) fn start(running: &Running) -> Result<Self> {
        let own = proc::cpu_of(std::process::id())?;
        Ok(Self {
            at: Instant::now(),
            server: running.cpu()?,
            own,
        })
    }

    pub(crate) fn stop(&self, running: &Running) -> Result<Span> {
        Ok(Span {
            secs: self.at.elapsed().as_secs_f64(),
            server_us: (running.cpu()? - self.server) * 1e6,
            own_secs: proc::cpu_of(std::process::id())? - self.own,
        })
    }
}

impl Span {
    /// How busy the generator was, in per cent of a core.
    pub(crate) fn generator(&self) -> f64 {
        100.0 * self.own_secs / self.secs
    }

    /// The rows that every scenario has.
    pub(crate) fn report(&self, outcome: &mut Outcome, running: &Running) -> Result<()> {
        let memory = running.memory()?;
        outcome.figure("server, % of a core", self.server_us / self.secs / 1e4);
        outcome.figure(GENERATOR, self.generator());
        outcome.figure("server RSS, MiB", memory.rss / 1024.0);
        Ok(())
    }
}

/// An empty histogram of latencies, in microseconds.
pub(crate) fn latencies() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

/// Records a latency given in nanoseconds.
pub(crate) fn record(times: &mut Histogram<u64>, nanos: u64) {
    times.saturating_record(nanos / 1000);
}
