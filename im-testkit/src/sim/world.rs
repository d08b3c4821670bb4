//! What the parts of a run share: one thread, so no lock is ever waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use im_core::model::{ConversationId, DeviceId, Timestamp, UserId, direct_id};
use im_core::port::Clock;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};

use super::cluster::{Slot, node_id};
use super::layers::Layers;
use super::net::{Lag, Wire};
use super::oracle::{Event, Oracle, Report, Truth, Violation};
use super::plan::{Plan, Tier, To};
use super::planted::Planted;
use super::ports::{SimBus, SimClock, SimHot, SimRegistry, SimStore};
use super::trace::Trace;
use super::{Configure, Options, id};
use crate::memory::{MemoryHot, MemoryStore, TokenTable};

/// A lease that outlives every run.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// See the [module](self).
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) planted: Option<Planted>,
    pub(crate) configure: Configure,
    pub(crate) layers: Option<Arc<dyn Layers>>,
    pub(crate) start: Instant,
    /// More than one only with layers.
    pub(crate) stores: Vec<Arc<SimStore>>,
    pub(crate) store_clock: Arc<SimClock>,
    /// Only with layers.
    pub(crate) tier: Option<(Tier, Arc<SimHot>)>,
    pub(crate) bus: Arc<SimBus>,
    pub(crate) registry: Arc<SimRegistry>,
    pub(crate) clocks: Vec<Arc<SimClock>>,
    pub(crate) auth: Arc<TokenTable>,
    pub(crate) slots: Mutex<Vec<Slot>>,
    /// Every wire that an end still holds.
    pub(crate) wires: Mutex<BTreeMap<u64, Arc<Wire>>>,
    /// The groups made, by the number of their making.
    pub(crate) groups: Mutex<BTreeMap<usize, ConversationId>>,
    /// Who goes on with moves that others began.
    pub(super) finishing: Mutex<BTreeMap<im_core::model::Slot, JoinHandle<()>>>,
    /// Numbers that only one has.
    pub(super) numbers: AtomicU64,
    calm: AtomicBool,
    next_wire: AtomicU64,
    rng: Mutex<fastrand::Rng>,
    oracle: Mutex<Oracle>,
    trace: Mutex<Trace>,
}

impl World {
    pub(crate) fn new(plan: Plan, options: &Options) -> Arc<Self> {
        let seeds = |name: u64| plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name;
        let planted = options.planted;
        let store_clock = Arc::new(SimClock::new(0));
        let memories = memories(&plan, options, &store_clock);
        let stores = memories.iter().zip(0..).map(|(memory, at)| {
            let store = SimStore::new(Arc::clone(memory), plan.store, seeds(1 + 1_000 * at));
            Arc::new(store.plant(planted))
        });
        let stores = stores.collect();
        let tier = plan.tier.filter(|_| options.layers.is_some());
        let hot = tier.map(|tier| Arc::new(MemoryHot::new(tier.keep, tier.backlog_max)));
        let truth = Truth::new(&memories, hot.clone().filter(|_| is_cached(tier)));
        let tier = tier.zip(hot).map(|(tier, hot)| {
            let hot = SimHot::new(hot, tier.weather, seeds(5)).plant(planted);
            (tier, Arc::new(hot))
        });
        let bus = SimBus::new(plan.bus, seeds(2));
        if planted == Some(Planted::NoSweep) {
            bus.tell_nobody();
        }
        let lease = match planted {
            Some(Planted::LeaseForever) => FOREVER,
            _ => plan.tuning.lease,
        };
        let registry = SimRegistry::new(lease, plan.registry_slow_ms, seeds(3));
        let of_clients = plan.clients.iter().map(|device| user_id(device.user));
        let oracle = Oracle::new(truth, of_clients.collect(), plan.tuning.window);
        let mut rng = fastrand::Rng::with_seed(seeds(4));
        // Clocks of different machines differ.
        let clocks = (0..plan.nodes)
            .map(|_| Arc::new(SimClock::new(rng.i64(-2_000..=2_000))))
            .collect();
        let users: Vec<UserId> = (0..plan.users).map(user_id).collect();
        Arc::new(Self {
            slots: Mutex::new((0..plan.nodes).map(|_| Slot::Down).collect()),
            plan,
            planted,
            configure: Arc::clone(&options.configure),
            layers: options.layers.clone(),
            start: Instant::now(),
            stores,
            store_clock,
            tier,
            bus: Arc::new(bus),
            registry: Arc::new(registry),
            clocks,
            auth: Arc::new(TokenTable::of_users(&users)),
            wires: Mutex::default(),
            groups: Mutex::default(),
            finishing: Mutex::default(),
            numbers: AtomicU64::new(1),
            calm: AtomicBool::new(false),
            next_wire: AtomicU64::new(1),
            rng: Mutex::new(rng),
            oracle: Mutex::new(oracle),
            trace: Mutex::new(Trace::new()),
        })
    }

    /// Whether every fault is over.
    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Ends the faults of everything that is shared.
    pub(crate) fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
        for store in &self.stores {
            store.calm();
        }
        if let Some((_, hot)) = &self.tier {
            hot.calm();
        }
        for node in 0..self.plan.nodes {
            self.pause_node(node, false);
        }
        self.bus.calm();
        self.registry.calm();
        let wires: Vec<_> = self.wires.lock().values().cloned().collect();
        for wire in wires {
            wire.calm();
            wire.hold(false);
        }
    }

    /// A new wire to a node.
    pub(crate) fn wire(&self, node: usize, capacity: usize) -> Arc<Wire> {
        let id = self.next_wire.fetch_add(1, Ordering::Relaxed);
        let mut rng = self.rng.lock();
        let calm = self.is_calm();
        let slow = if calm { 5 } else { self.plan.network_slow_ms };
        let lag = Lag {
            base_ms: rng.u64(0..=slow / 2),
            jitter_ms: slow,
            spike_ms: if calm { 0 } else { slow * 10 },
        };
        let wire = Arc::new(Wire::new(id, node, capacity, lag, rng.fork()));
        self.wires.lock().insert(id, Arc::clone(&wire));
        wire
    }

    /// Writes a line into the trace.
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        let ms = self.start.elapsed().as_millis();
        self.trace.lock().push(ms, &line());
    }

    /// Shows the oracle what happened.
    pub(crate) fn observe(&self, event: &Event<'_>) {
        self.refresh();
        self.oracle.lock().observe(event);
    }

    /// Shows the oracle what is new in the store.
    pub(crate) fn refresh(&self) {
        let lines = self.oracle.lock().refresh();
        for line in lines {
            self.trace(|| line);
        }
    }

    /// Something went wrong that is no promise of its own.
    pub(crate) fn fail(&self, invariant: &'static str, what: &str) {
        self.oracle.lock().fail(invariant, what);
    }

    pub(crate) fn is_broken(&self) -> bool {
        let at_stores = self.stores.iter().any(|store| store.has_circled());
        let at_tier = |(_, hot): &(Tier, Arc<SimHot>)| hot.has_circled();
        if at_stores || self.tier.as_ref().is_some_and(at_tier) {
            self.fail(
                "nobody runs in circles",
                "a store or tier was asked again and again, without a wait in between",
            );
        }
        self.oracle.lock().violation().is_some()
    }

    /// Looks whether everything that was stored still is.
    pub(crate) fn check_kept(&self) {
        self.refresh();
        self.oracle.lock().check_kept();
    }

    /// The conversation that a client sends to, if there is one.
    pub(crate) fn conv(&self, client: usize, to: To) -> Option<ConversationId> {
        match to {
            To::User(other) => {
                let user = user_id(self.plan.clients.get(client)?.user);
                Some(direct_id(&user, &user_id(other)))
            }
            To::Group(group) => self.groups.lock().get(&group).cloned(),
        }
    }

    /// Slots that are on their way, and where they are read.
    pub(crate) fn slots_under_way(&self) -> Vec<(im_core::model::Slot, usize)> {
        self.oracle.lock().truth().slots_under_way()
    }

    /// What is not well yet.
    pub(crate) fn is_healed(&self, reports: &[Report]) -> Result<(), String> {
        self.refresh();
        let oracle = self.oracle.lock();
        oracle.is_healed(reports, self.earliest())?;
        drop(oracle);
        self.is_well(reports)
    }

    /// Shows the oracle how everybody stands when all must be well.
    pub(crate) fn observe_healed(&self, reports: &[Report]) {
        let earliest = self.earliest();
        self.check_kept();
        let unwell = self.is_well(reports).err();
        self.observe(&Event::Healed {
            reports,
            earliest,
            unwell,
        });
    }

    /// Whether the nodes are well, and what they share.
    fn is_well(&self, reports: &[Report]) -> Result<(), String> {
        self.all_are_up()?;
        if let Some((slot, _)) = self.slots_under_way().first() {
            return Err(format!("slot {slot} is on its way"));
        }
        self.oracle.lock().truth().is_cold()?;
        let here = |report: &Report| Some((report.client, report.node?));
        for (client, node) in reports.iter().filter_map(here) {
            let user = user_id(self.plan.clients[client].user);
            let (device, at) = (device_id(client), node_id(node));
            let routes = self.registry.routes(&user);
            let route = routes.iter().find(|route| route.device == device);
            if route.is_none_or(|route| route.node != at) {
                return Err(format!(
                    "c{client} is at n{node}, and registered at {route:?}"
                ));
            }
        }
        Ok(())
    }

    /// The earliest time that a node's clock shows.
    pub(crate) fn earliest(&self) -> Timestamp {
        let times = self.clocks.iter().map(|clock| clock.timestamp());
        times.min().unwrap_or(Timestamp(0))
    }

    /// The hash and the last lines of the trace, and what was found.
    pub(crate) fn finish(&self) -> (u64, u64, Vec<String>, Option<Violation>) {
        let violation = self.oracle.lock().violation().cloned();
        let (hash, count, lines) = self.trace.lock().finish();
        (hash, count, lines, violation)
    }
}

/// The stores of a run: several only if somebody can put them together.
fn memories(plan: &Plan, options: &Options, clock: &Arc<SimClock>) -> Vec<Arc<MemoryStore>> {
    let count = match options.layers {
        Some(_) => plan.shards,
        None => 1,
    };
    let memory = |_| {
        let clock: Arc<dyn Clock> = Arc::<SimClock>::clone(clock);
        Arc::new(MemoryStore::with_clock(clock))
    };
    (0..count).map(memory).collect()
}

fn is_cached(tier: Option<Tier>) -> bool {
    tier.is_some_and(|tier| tier.is_cached)
}

pub(crate) fn user_id(number: usize) -> UserId {
    id(UserId::new(format!("u{number}")))
}

pub(crate) fn device_id(client: usize) -> DeviceId {
    id(DeviceId::new(format!("d{client}")))
}
