//! What the parts of a run share: one thread, so no lock is ever waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use im_core::model::{ConversationId, Timestamp, UserId};
use im_core::port::Clock as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cluster::Slot;
use super::net::{Lag, Wire};
use super::oracle::{Event, Oracle, Report, Violation};
use super::plan::Plan;
use super::planted::Planted;
use super::ports::{SimBus, SimClock, SimRegistry, SimStore};
use super::trace::Trace;
use super::{Configure, id};
use crate::memory::{MemoryStore, TokenTable};

/// See the [module](self).
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) planted: Option<Planted>,
    pub(crate) configure: Configure,
    pub(crate) start: Instant,
    pub(crate) store: Arc<SimStore>,
    pub(crate) bus: Arc<SimBus>,
    pub(crate) registry: Arc<SimRegistry>,
    pub(crate) clocks: Vec<Arc<SimClock>>,
    pub(crate) auth: Arc<TokenTable>,
    pub(crate) slots: Mutex<Vec<Slot>>,
    /// Every wire that an end still holds.
    pub(crate) wires: Mutex<BTreeMap<u64, Arc<Wire>>>,
    /// The groups made, by the number of their making.
    pub(crate) groups: Mutex<BTreeMap<usize, ConversationId>>,
    calm: AtomicBool,
    next_wire: AtomicU64,
    rng: Mutex<fastrand::Rng>,
    oracle: Mutex<Oracle>,
    trace: Mutex<Trace>,
}

impl World {
    pub(crate) fn new(plan: Plan, planted: Option<Planted>, configure: Configure) -> Arc<Self> {
        let seeds = |name: u64| plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name;
        let store_clock = Arc::new(SimClock::new(0));
        let memory = Arc::new(MemoryStore::with_clock(store_clock));
        let users: Vec<UserId> = (0..plan.users).map(user_id).collect();
        let store = SimStore::planted(Arc::clone(&memory), plan.store, seeds(1), planted);
        let bus = SimBus::new(plan.bus, seeds(2));
        if planted == Some(Planted::NoSweep) {
            bus.tell_nobody();
        }
        let registry = SimRegistry::new(plan.tuning.lease, plan.registry_slow_ms, seeds(3));
        let of_clients = plan.clients.iter().map(|device| user_id(device.user));
        let oracle = Oracle::new(memory, of_clients.collect(), plan.tuning.window);
        let mut rng = fastrand::Rng::with_seed(seeds(4));
        // Clocks of different machines differ.
        let clocks = (0..plan.nodes)
            .map(|_| Arc::new(SimClock::new(rng.i64(-2_000..=2_000))))
            .collect();
        Arc::new(Self {
            slots: Mutex::new((0..plan.nodes).map(|_| Slot::Down).collect()),
            plan,
            planted,
            configure,
            start: Instant::now(),
            store: Arc::new(store),
            bus: Arc::new(bus),
            registry: Arc::new(registry),
            clocks,
            auth: Arc::new(TokenTable::of_users(&users)),
            wires: Mutex::default(),
            groups: Mutex::default(),
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
        self.store.calm();
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
        self.oracle.lock().violation().is_some()
    }

    /// What is not well yet.
    pub(crate) fn is_healed(&self, reports: &[Report]) -> Result<(), String> {
        self.refresh();
        self.oracle.lock().is_healed(reports, self.earliest())
    }

    /// Shows the oracle how everybody stands when all must be well.
    pub(crate) fn observe_healed(&self, reports: &[Report]) {
        let earliest = self.earliest();
        self.observe(&Event::Healed { reports, earliest });
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

pub(crate) fn user_id(number: usize) -> UserId {
    id(UserId::new(format!("u{number}")))
}
