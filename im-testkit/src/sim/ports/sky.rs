//! What becomes of a call of a store or a tier, drawn from a seed.

use std::time::Duration;

use im_core::port::{PortError, PortErrorKind};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::gate::Gate;

/// How often what goes wrong, goes wrong: each is "one call in so many", 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreWeather {
    /// A call takes at most so many milliseconds before it happens, and again before it answers.
    pub slow_ms: u64,
    /// A write fails before it happens.
    pub fail_before: u32,
    /// A write happens and fails all the same: its outcome is unknown.
    pub fail_after: u32,
    /// Of a batch, some fail.
    pub fail_some: u32,
    /// A write takes seconds, so that nobody waits for its answer any more.
    pub hang: u32,
    /// A read fails.
    pub fail_read: u32,
}

/// What goes wrong with every call for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing works.
    Away,
    /// Nothing can be written.
    Full,
    /// Nothing answers in time.
    Hang,
}

/// The longest that a hanging write takes; it happens before or after the wait.
const HANG_MS: std::ops::RangeInclusive<u64> = 1_000..=9_000;

/// Calls at one moment beyond which somebody runs in circles: without a wait in between, time would
/// stand still for ever.
const CALLS_MAX: u32 = 5_000;
/// How long each call waits from then on.
const CIRCLES_WAIT: Duration = Duration::from_millis(1);

/// The weather over one store or tier.
#[derive(Debug)]
pub(super) struct Sky(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: fastrand::Rng,
    weather: StoreWeather,
    fault: Option<StoreFault>,
    /// The moment of the last call, and how many there were at it.
    calls: (Instant, u32),
    circled: bool,
}

/// What will happen to one write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    before: Duration,
    after: Duration,
    /// It goes on when nobody waits for it any more.
    detached: bool,
    happens: bool,
    fails: Fails,
    /// What it fails with.
    pub(super) kind: PortErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    None,
    /// By a bit for each part of the call.
    Some(u64),
    All,
}

impl Sky {
    pub(super) fn new(weather: StoreWeather, seed: u64) -> Self {
        Self(Mutex::new(State {
            rng: fastrand::Rng::with_seed(seed),
            weather,
            fault: None,
            calls: (Instant::now(), 0),
            circled: false,
        }))
    }

    pub(super) fn set_fault(&self, fault: Option<StoreFault>) {
        self.0.lock().fault = fault;
    }

    /// Ends every fault, and the weather.
    pub(super) fn calm(&self) {
        let mut state = self.0.lock();
        state.fault = None;
        state.weather = StoreWeather::default();
    }

    /// What will happen to the next write.
    pub(super) async fn fate(&self) -> Fate {
        self.pace().await;
        self.0.lock().fate()
    }

    /// Whether somebody called and called at one moment.
    pub(super) fn has_circled(&self) -> bool {
        self.0.lock().circled
    }

    async fn pace(&self) {
        if self.0.lock().is_circling() {
            sleep(CIRCLES_WAIT).await;
        }
    }

    /// A read, through a node's gate.
    pub(super) async fn read<T>(
        &self,
        gate: &Gate,
        call: impl FnOnce() -> T,
    ) -> Result<T, PortError> {
        gate.pass().await;
        self.pace().await;
        let (before, after, fails) = self.0.lock().read();
        pause(before).await;
        if fails {
            gate.pass().await;
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        let answer = call();
        // What is true when it is read may be old when it arrives.
        pause(after).await;
        gate.pass().await;
        Ok(answer)
    }

    /// A write that is one whole.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        gate: &Gate,
        work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let fate = self.fate().await;
        match fate.carry_out(gate, work).await {
            Some(answer) if !fate.loses(0) => answer,
            _ => Err(PortError::new(fate.kind)),
        }
    }
}

impl State {
    /// Counts a call.
    fn is_circling(&mut self) -> bool {
        let now = Instant::now();
        if self.calls.0 != now {
            self.calls = (now, 0);
        }
        self.calls.1 += 1;
        self.circled |= self.calls.1 > CALLS_MAX;
        self.circled
    }

    fn fate(&mut self) -> Fate {
        let (before, after) = self.waits();
        let (weather, fault) = (self.weather, self.fault);
        let mut fate = Fate {
            before,
            after,
            detached: self.rng.bool(),
            happens: true,
            fails: Fails::None,
            kind: PortErrorKind::Unavailable,
        };
        let hangs = self.one_in(weather.hang) || fault == Some(StoreFault::Hang);
        if fault == Some(StoreFault::Full) {
            fate.happens = false;
            fate.kind = PortErrorKind::Exhausted;
        } else if fault == Some(StoreFault::Away) || self.one_in(weather.fail_before) {
            fate.happens = false;
        } else if self.one_in(weather.fail_after) {
            fate.fails = Fails::All;
        } else if self.one_in(weather.fail_some) {
            fate.fails = Fails::Some(self.rng.u64(..));
        }
        if hangs {
            let long = self.long();
            if self.rng.bool() {
                fate.before += long;
            } else {
                fate.after += long;
            }
        }
        fate
    }

    /// How long the next read takes before it happens and before it answers, and whether it fails.
    fn read(&mut self) -> (Duration, Duration, bool) {
        let (mut before, after) = self.waits();
        let unlucky = self.one_in(self.weather.fail_read);
        if self.fault == Some(StoreFault::Hang) {
            before += self.long();
        }
        (
            before,
            after,
            unlucky || self.fault == Some(StoreFault::Away),
        )
    }

    fn waits(&mut self) -> (Duration, Duration) {
        let slow_ms = self.weather.slow_ms;
        let mut wait = || Duration::from_millis(self.rng.u64(0..=slow_ms));
        (wait(), wait())
    }

    fn one_in(&mut self, many: u32) -> bool {
        many > 0 && self.rng.u32(0..many) == 0
    }

    fn long(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(HANG_MS))
    }
}

impl Fate {
    /// Does the work when its time comes; `None` when it never does.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        gate: &Gate,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        gate.pass().await;
        let before = self.before;
        if !self.happens {
            pause(before).await;
            gate.pass().await;
            return None;
        }
        let (done, answer) = oneshot::channel();
        let work = async move {
            pause(before).await;
            // Whoever asked may have gone meanwhile; it has happened all the same.
            let _ = done.send(work());
        };
        if self.detached {
            tokio::spawn(work);
        } else {
            work.await;
        }
        let answer = answer.await.ok();
        pause(self.after).await;
        gate.pass().await;
        answer
    }

    /// Whether the answer of that part of the call is lost.
    pub(super) const fn loses(&self, part: usize) -> bool {
        match self.fails {
            Fails::None => false,
            Fails::Some(bits) => bits >> (part % 64) & 1 == 1,
            Fails::All => true,
        }
    }
}

async fn pause(long: Duration) {
    // A sleep of nothing would still give way to others.
    if !long.is_zero() {
        sleep(long).await;
    }
}
