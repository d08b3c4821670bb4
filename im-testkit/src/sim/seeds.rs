//! One run after the other, each of a seed of its own.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Options, Plan, Report, Violation, run};

/// Runs the plan drawn from each of `seeds`, on as many threads as the machine runs at once, and
/// shows each plan with what came of it to `seen`, on the thread that ran it. After a break no
/// further run begins. True when `seen` never broke off.
///
/// # Panics
/// When `seen` does: after the other threads have ended.
pub fn run_seeds(
    seeds: impl Iterator<Item = u64> + Send,
    options: &Options,
    seen: impl Fn(&Plan, Report) -> ControlFlow<()> + Sync,
) -> bool {
    let (seeds, broken) = (Mutex::new(seeds), AtomicBool::new(false));
    let next = || seeds.lock().next();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !broken.load(Ordering::Relaxed)
                    && let Some(seed) = next()
                {
                    let plan = Plan::draw(seed);
                    let report = run(&plan, options);
                    if seen(&plan, report).is_break() {
                        broken.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    !broken.into_inner()
}

/// The first of `seeds` whose run breaks a promise, and the promise: with a bug put in on purpose,
/// the seed that catches it.
#[must_use]
pub fn first_broken(
    seeds: impl IntoIterator<Item = u64>,
    options: &Options,
) -> Option<(u64, Violation)> {
    seeds.into_iter().find_map(|seed| {
        let violation = run(&Plan::draw(seed), options).violation?;
        Some((seed, violation))
    })
}
