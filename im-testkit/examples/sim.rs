//! Whole clusters under faults, each from one seed: `scripts/sim` runs this.
//!
//! `--seeds N` runs seeds 1 to N, `--seed S` one of them with its trace (of one that fails, the
//! whole trace of the smallest plan that still does), `--planted` the bugs put in on purpose, each
//! of which must be caught.

#[path = "../tests/sim/layers.rs"]
mod layers;

use std::ops::ControlFlow;
use std::process::ExitCode;

use im_testkit::sim::{
    Options, Plan, Planted, Report, Violation, first_broken, run, run_seeds, shrink,
};

/// Seeds after which a planted bug counts as not caught.
const PLANTED_SEEDS_MAX: u64 = 200;
/// Runs that shrinking a failing plan may take.
const SHRINK_RUNS: u32 = 80;
/// Lines of a failing run's trace that are printed.
const TRACE_LINES: usize = 60;
/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let good = match words[..] {
        ["--planted"] => planted(),
        ["--seeds", count] => count.parse().is_ok_and(seeds),
        ["--seed", seed] => seed.parse().is_ok_and(one),
        _ => {
            eprintln!("usage: sim --seeds N | --seed S | --planted");
            false
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options(planted: Option<Planted>) -> Options {
    let options = planted.map_or_else(Options::default, Options::planted);
    options.layers(layers::OurLayers)
}

fn seeds(count: u64) -> bool {
    let good = run_seeds(1..=count, &options(None), |plan, report| {
        if report.violation.is_some() {
            explain(plan, report, TRACE_LINES);
            return ControlFlow::Break(());
        }
        if plan.seed.is_multiple_of(PROGRESS_EVERY) {
            println!("{} of {count}", plan.seed);
        }
        ControlFlow::Continue(())
    });
    if good {
        println!("{count} seeds ok");
    }
    good
}

fn one(seed: u64) -> bool {
    let plan = Plan::draw(seed);
    let report = run(&plan, &options(None));
    let (lines, hash) = (report.lines, report.hash);
    let good = report.violation.is_none();
    if good {
        for line in &report.trace {
            println!("{line}");
        }
    } else {
        explain(&plan, report, usize::MAX);
    }
    println!("seed {seed}: {lines} lines, hash {hash:016x}");
    good
}

/// Prints what was broken, with the smallest plan that was found to break it.
fn explain(plan: &Plan, report: Report, most: usize) {
    let seed = plan.seed;
    let shrunk = shrink(plan, report, &options(None), SHRINK_RUNS);
    if let Some(Violation { invariant, what }) = &shrunk.report.violation {
        println!("seed {seed} breaks: {invariant}\n  {what}");
    }
    let telling = |line: &&String| !line.ends_with(" ping") && !line.ends_with(" pong");
    let lines: Vec<_> = shrunk.report.trace.iter().filter(telling).collect();
    println!("the last of the shrunk run's trace, without heartbeats:");
    for line in &lines[lines.len().saturating_sub(most)..] {
        println!("  {line}");
    }
    println!(
        "{} of {} operations are left:",
        shrunk.kept.len(),
        plan.ops.len()
    );
    for (ms, op) in &shrunk.plan.ops {
        println!("  {ms:>6} {op:?}");
    }
    println!("again: cargo run -p im-testkit --example sim -- --seed {seed}");
}

fn planted() -> bool {
    let mut good = true;
    for planted in Planted::ALL {
        match first_broken(1..=PLANTED_SEEDS_MAX, &options(Some(planted))) {
            Some((seed, Violation { invariant, .. })) => {
                println!("{planted:?}: caught by seed {seed}: {invariant}");
            }
            None => {
                println!("{planted:?}: NOT caught in {PLANTED_SEEDS_MAX} seeds");
                good = false;
            }
        }
    }
    good
}
