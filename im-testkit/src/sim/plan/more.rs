//! What a plan has beyond one store: a tier, several stores, and what goes wrong with them. It is
//! drawn apart, so that what was drawn before stays what it was.

use std::time::Duration;

use super::draw::{pick, plain};
use super::{Op, Plan, Tier, To};
use crate::sim::ports::{StoreFault, StoreWeather};

/// What sets the second draw of a seed apart from the first.
const APART: u64 = 0x6d6f_7265;

/// Moves that a plan of several stores begins.
const MOVES_MAX: usize = 16;

/// See [`Plan::draw`].
pub(super) fn plan(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed ^ APART);
    let mut plan = plain(seed);
    // Of ten plans, three have a tier, three several stores, two both.
    let kind = rng.u8(0..10);
    if matches!(kind, 2..=4 | 8..=9) {
        plan.tier = Some(tier(&mut rng));
    }
    if matches!(kind, 5..=9) {
        plan.shards = rng.usize(2..=3);
    }
    // Calm plans stay calm.
    let faults = if plan.ops.iter().any(|(_, op)| is_fault(op)) {
        rng.usize(0..=10)
    } else {
        0
    };
    let chaos_ms = plan.chaos.as_millis() as u64;
    for _ in 0..faults {
        let op = fault(&mut rng, &plan);
        plan.ops.push((rng.u64(200..chaos_ms), op));
    }
    if plan.shards > 1 {
        for _ in 0..rng.usize(1..=MOVES_MAX) {
            a_move(&mut rng, &mut plan, chaos_ms);
        }
    }
    // A stable sort: what was drawn first comes first.
    plan.ops.sort_by_key(|(ms, _)| *ms);
    plan
}

const fn is_fault(op: &Op) -> bool {
    matches!(
        op,
        Op::Cut { .. }
            | Op::HalfOpen { .. }
            | Op::Kill { .. }
            | Op::Drain { .. }
            | Op::Store { .. }
    )
}

fn tier(rng: &mut fastrand::Rng) -> Tier {
    let weather = StoreWeather {
        slow_ms: *pick(rng, &[0, 2, 20, 120]),
        ..StoreWeather::default()
    };
    let mut one_in = || if rng.bool() { rng.u32(10..60) } else { 0 };
    let weather = StoreWeather {
        fail_before: one_in(),
        fail_after: one_in(),
        hang: one_in(),
        fail_read: one_in(),
        ..weather
    };
    let is_wild = rng.bool();
    Tier {
        is_cached: rng.bool(),
        keep: *pick(rng, &[1, 6, 1_000]),
        backlog_max: *pick(rng, &[5, 100_000]),
        warm_within: Duration::from_secs(*pick(rng, &[0, 5, 60])),
        flush_every: Duration::from_millis(*pick(rng, &[20, 100, 700])),
        flush_entries: *pick(rng, &[1, 4, 2_000]),
        weather: if is_wild {
            weather
        } else {
            StoreWeather {
                slow_ms: weather.slow_ms,
                ..StoreWeather::default()
            }
        },
    }
}

fn fault(rng: &mut fastrand::Rng, plan: &Plan) -> Op {
    let node = rng.usize(0..plan.nodes);
    let ms = *pick(rng, &[100, 800, 3_000, 12_000]);
    let fault = *pick(rng, &[StoreFault::Away, StoreFault::Full, StoreFault::Hang]);
    match (rng.u8(0..100), plan.tier) {
        (0..=24, Some(_)) => Op::Tier { fault, ms },
        // What was answered may be lost with a tier that answers first.
        (25..=34, Some(tier)) if !tier.is_cached => Op::TierForgets,
        (35..=44, Some(tier)) if !tier.is_cached => Op::TierGoesBack { ms },
        (45..=59, _) if plan.shards > 1 => Op::Shard {
            shard: rng.usize(0..plan.shards),
            fault,
            ms,
        },
        (60..=69, _) => Op::RegistryForgets,
        (70..=84, _) => Op::BusStalled { node, ms },
        _ => Op::Pause { node, ms },
    }
}

/// A move, under those who write.
fn a_move(rng: &mut fastrand::Rng, plan: &mut Plan, chaos_ms: u64) {
    let client = rng.usize(0..plan.clients.len());
    let conv = match rng.u8(0..4) {
        0 => To::User(rng.usize(0..plan.users)),
        _ => To::Group(rng.usize(0..2)),
    };
    let ms = rng.u64(200..chaos_ms);
    let a_move = Op::Move {
        client,
        conv,
        shard: rng.usize(0..plan.shards),
        dies_ms: *pick(rng, &[None, None, Some(20), Some(200), Some(1_500)]),
    };
    plan.ops.push((ms, a_move));
    for _ in 0..rng.usize(0..=3) {
        let client = match conv {
            To::User(_) => client,
            To::Group(_) => rng.usize(0..plan.clients.len()),
        };
        let say = Op::Say {
            client,
            to: conv,
            count: rng.usize(1..=4),
        };
        let late = rng.u64(0..=600);
        plan.ops.push(((ms + late).min(chaos_ms - 1), say));
    }
}
