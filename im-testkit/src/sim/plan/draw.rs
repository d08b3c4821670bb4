//! Drawing a plan from a seed.

use std::time::Duration;

use im_core::frame::Codec;

use super::{Device, Op, Plan, To, Tuning};
use crate::sim::ports::{BusWeather, StoreFault, StoreWeather};

/// Groups that a run makes.
const GROUPS_MAX: usize = 3;
/// An hour: what a clock jumps.
const HOUR_MS: i64 = 3_600_000;

pub(super) fn calm(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let device = |user| Device {
        user,
        codec: Codec::Json,
        per_target: usize::MAX,
        capacity: 64,
    };
    let say = |client: usize| Op::Say {
        client,
        to: To::User(1 - client),
        count: 2,
    };
    Plan {
        seed,
        nodes: 1,
        users: 2,
        clients: vec![device(0), device(1)],
        tuning: Tuning {
            window: 16,
            ack_ms: 5_000,
            sends_per_s: 50,
            heartbeat: Duration::from_secs(5),
            sweep: Duration::from_secs(1),
            commit_deadline: Duration::from_secs(2),
            lanes: 1,
            batch_max: 16,
            lease: Duration::from_secs(5),
        },
        store: StoreWeather::default(),
        shards: 1,
        tier: None,
        bus: BusWeather::default(),
        registry_slow_ms: 0,
        network_slow_ms: 5,
        chaos: Duration::from_secs(3),
        ops: (0..6)
            .map(|at| (500 + at * 100 + rng.u64(0..100), say(at as usize % 2)))
            .collect(),
    }
}

/// See [`Plan::plain`].
pub(super) fn plain(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let nodes = rng.usize(2..=3);
    let users = rng.usize(2..=5);
    let clients = rng.usize(3..=8).max(users);
    let clients: Vec<Device> = (0..clients)
        .map(|at| device(&mut rng, if at < users { at } else { at % users }))
        .collect();
    let chaos_ms = rng.u64(6_000..=25_000);
    let mut plan = Plan {
        seed,
        nodes,
        users,
        clients,
        tuning: tuning(&mut rng),
        store: store(&mut rng),
        shards: 1,
        tier: None,
        bus: bus(&mut rng),
        registry_slow_ms: rng.u64(0..=200),
        network_slow_ms: *pick(&mut rng, &[2, 10, 60, 200]),
        chaos: Duration::from_millis(chaos_ms),
        ops: Vec::new(),
    };
    plan.ops = ops(&mut rng, &plan, chaos_ms);
    plan
}

pub(super) fn pick<'a, T>(rng: &mut fastrand::Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

fn device(rng: &mut fastrand::Rng, user: usize) -> Device {
    Device {
        user,
        codec: *pick(rng, &[Codec::Json, Codec::MessagePack]),
        per_target: *pick(rng, &[1, 4, usize::MAX]),
        capacity: *pick(rng, &[4, 16, 128]),
    }
}

fn tuning(rng: &mut fastrand::Rng) -> Tuning {
    Tuning {
        window: *pick(rng, &[1, 3, 8, 64]),
        ack_ms: *pick(rng, &[1_000, 3_000, 30_000]),
        sends_per_s: *pick(rng, &[3, 50]),
        heartbeat: Duration::from_millis(*pick(rng, &[1_500, 5_000])),
        sweep: Duration::from_millis(*pick(rng, &[500, 3_000])),
        commit_deadline: Duration::from_millis(*pick(rng, &[700, 3_000])),
        lanes: rng.usize(1..=2),
        batch_max: *pick(rng, &[1, 4, 64]),
        lease: Duration::from_secs(*pick(rng, &[2, 6])),
    }
}

fn store(rng: &mut fastrand::Rng) -> StoreWeather {
    let slow_ms = *pick(rng, &[0, 3, 40, 300]);
    if rng.bool() {
        return StoreWeather {
            slow_ms,
            ..StoreWeather::default()
        };
    }
    let mut one_in = || if rng.bool() { rng.u32(8..60) } else { 0 };
    StoreWeather {
        slow_ms,
        fail_before: one_in(),
        fail_after: one_in(),
        fail_some: one_in(),
        hang: one_in(),
        fail_read: one_in(),
    }
}

fn bus(rng: &mut fastrand::Rng) -> BusWeather {
    BusWeather {
        lost: *pick(rng, &[0, 5, 30, 100]),
        doubled: *pick(rng, &[0, 10, 50]),
        garbled: *pick(rng, &[0, 0, 5]),
        slow_ms: *pick(rng, &[0, 20, 100, 1_500]),
    }
}

fn ops(rng: &mut fastrand::Rng, plan: &Plan, chaos_ms: u64) -> Vec<(u64, Op)> {
    let count = rng.usize(25..=80);
    // How wild it gets: of so many steps in a hundred, one is a fault.
    let faults = *pick(rng, &[0, 10, 25, 50]);
    let mut times: Vec<u64> = (0..count).map(|_| rng.u64(200..chaos_ms)).collect();
    times.sort_unstable();
    let mut groups = 0;
    let mut ops = Vec::with_capacity(count);
    for (at, ms) in times.into_iter().enumerate() {
        let op = if at < 2 || groups == 0 && at < 6 {
            groups += 1;
            create(rng, plan, groups - 1)
        } else if rng.u32(0..100) < faults {
            fault(rng, plan)
        } else {
            work(rng, plan, &mut groups)
        };
        ops.push((ms, op));
    }
    ops
}

fn create(rng: &mut fastrand::Rng, plan: &Plan, group: usize) -> Op {
    let mut members: Vec<usize> = (0..plan.users).filter(|_| rng.u8(0..4) > 0).collect();
    members.sort_unstable();
    Op::Create {
        client: rng.usize(0..plan.clients.len()),
        group,
        members,
        hides: rng.bool(),
    }
}

fn work(rng: &mut fastrand::Rng, plan: &Plan, groups: &mut usize) -> Op {
    let client = rng.usize(0..plan.clients.len());
    let user = rng.usize(0..plan.users);
    let group = rng.usize(0..(*groups).max(1));
    match rng.u8(0..100) {
        0..=44 => Op::Say {
            client,
            to: if rng.u8(0..3) == 0 {
                To::User(user)
            } else {
                To::Group(group)
            },
            count: if rng.u8(0..6) == 0 {
                rng.usize(2..=12)
            } else {
                1
            },
        },
        45..=54 => Op::Add {
            client,
            group,
            user,
        },
        55..=66 => Op::Remove {
            client,
            group,
            user,
        },
        67..=72 => Op::Leave { client, group },
        73..=78 => Op::Mute {
            client,
            group,
            user,
            ms: *pick(rng, &[0, 2_000, 100_000_000]),
        },
        79..=83 => Op::Promote {
            client,
            group,
            user,
        },
        84..=92 => Op::Read { client },
        93..=95 => Op::StrayAcks { client },
        _ if *groups < GROUPS_MAX => {
            *groups += 1;
            create(rng, plan, *groups - 1)
        }
        _ => Op::Read { client },
    }
}

fn fault(rng: &mut fastrand::Rng, plan: &Plan) -> Op {
    let client = rng.usize(0..plan.clients.len());
    let node = rng.usize(0..plan.nodes);
    let ms = *pick(rng, &[100, 800, 3_000, 12_000]);
    match rng.u8(0..100) {
        0..=15 => Op::Cut { client },
        16..=25 => Op::HalfOpen { client, ms },
        26..=33 => Op::StopReading { client, ms },
        34..=39 => Op::StopTaking { client, ms },
        40..=47 => Op::CrashClient { client, ms },
        48..=63 => Op::Kill {
            node,
            turns: *pick(rng, &[0, 1, 3, 10, 40]),
            silent: rng.bool(),
            back_ms: ms,
        },
        64..=69 => Op::Drain { node, back_ms: ms },
        70..=76 => Op::Jump {
            node,
            by_ms: *pick(rng, &[-HOUR_MS, HOUR_MS]),
        },
        77..=84 => Op::Store {
            fault: *pick(rng, &[StoreFault::Away, StoreFault::Full, StoreFault::Hang]),
            ms,
        },
        85..=89 => Op::BusAway { node, ms },
        90..=94 => Op::Apart {
            a: node,
            b: (node + 1) % plan.nodes,
            ms,
        },
        95..=96 => Op::BusClosed { node },
        _ => Op::RegistryAway { ms },
    }
}
