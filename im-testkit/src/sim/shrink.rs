//! Making a failing plan smaller.

use super::ports::{BusWeather, StoreWeather};
use super::{Options, Plan, Report, Violation, run};

/// A plan that still breaks the same promise, with as little in it as was found.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Which operations of the first plan are left, by their places.
    pub kept: Vec<usize>,
    /// What its run came to.
    pub report: Report,
    /// How many runs it took.
    pub runs: u32,
}

/// Leaves out operations and weather for as long as the same promise is broken, in at most `runs`
/// runs. `report` is what the whole plan came to.
#[must_use]
pub fn shrink(plan: &Plan, report: Report, options: &Options, runs: u32) -> Shrunk {
    let mut shrinker = Shrinker {
        options,
        left: runs,
        best: Shrunk {
            plan: plan.clone(),
            kept: (0..plan.ops.len()).collect(),
            report,
            runs: 0,
        },
    };
    shrinker.weather();
    shrinker.ops(plan);
    // With fewer operations the weather may not matter any more.
    shrinker.weather();
    shrinker.best.runs = runs - shrinker.left;
    shrinker.best
}

struct Shrinker<'a> {
    options: &'a Options,
    left: u32,
    best: Shrunk,
}

impl Shrinker<'_> {
    /// Whether that plan breaks the same promise; then it is the best.
    fn try_plan(&mut self, plan: Plan, kept: Vec<usize>) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        let report = run(&plan, self.options);
        let name = |violation: &Option<Violation>| violation.as_ref().map(|it| it.invariant);
        let same = name(&report.violation) == name(&self.best.report.violation);
        if same {
            let runs = 0;
            self.best = Shrunk {
                plan,
                kept,
                report,
                runs,
            };
        }
        same
    }

    fn weather(&mut self) {
        let changes: [fn(&mut Plan); 8] = [
            |plan| plan.bus = BusWeather::default(),
            |plan| plan.store = StoreWeather::default(),
            |plan| plan.store.slow_ms = 0,
            |plan| plan.registry_slow_ms = 0,
            |plan| plan.network_slow_ms = 2,
            |plan| plan.tier = None,
            |plan| plan.shards = 1,
            |plan| {
                if let Some(tier) = &mut plan.tier {
                    tier.weather = StoreWeather::default();
                }
            },
        ];
        for change in changes {
            let mut plan = self.best.plan.clone();
            change(&mut plan);
            let kept = self.best.kept.clone();
            self.try_plan(plan, kept);
        }
    }

    /// Leaves out halves, then quarters, down to single ones.
    fn ops(&mut self, whole: &Plan) {
        let mut size = self.best.kept.len().div_ceil(2);
        while size > 0 && self.left > 0 {
            let mut from = 0;
            while from < self.best.kept.len() {
                let mut kept = self.best.kept.clone();
                kept.drain(from..(from + size).min(kept.len()));
                let base = Plan {
                    ops: whole.ops.clone(),
                    ..self.best.plan.clone()
                };
                if !self.try_plan(base.with_ops(&kept), kept) {
                    from += size;
                }
                if self.left == 0 {
                    return;
                }
            }
            size /= 2;
        }
    }
}
