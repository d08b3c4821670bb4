//! Carries a plan out: the chaos, and then the calm in which everything must heal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use im_core::model::Slot;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Call, Client, Command};
use super::cluster::node_id;
use super::oracle::Report;
use super::plan::Op;
use super::ports::StoreFault;
use super::world::World;
use crate::memory::Kept;

/// How long everything may take to heal: an outbox waits 300 s and a jitter before it tries again
/// what was refused to one who is muted.
const HEAL_MAX: Duration = Duration::from_secs(480);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long all stays well once it is.
const STAY: Duration = Duration::from_secs(2);

/// What the agenda holds: a step of the plan, or the end of one.
#[derive(Debug)]
enum Step {
    Begin(usize),
    Start(usize),
    StoreBack,
    ShardBack(usize),
    TierBack,
    TierBegins(Kept),
    Flows(usize),
    Wakes(usize),
    BusBack(usize),
    Together(usize, usize),
    RegistryBack,
}

/// See the [module](self).
pub(crate) struct Driver {
    world: Arc<World>,
    clients: Vec<mpsc::UnboundedSender<Command>>,
    tasks: Vec<JoinHandle<()>>,
    agenda: BTreeMap<(Instant, u64), Step>,
    next: u64,
}

impl Driver {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let (mut clients, mut tasks) = (Vec::new(), Vec::new());
        for number in 0..world.plan.clients.len() {
            let (commands, receiver) = mpsc::unbounded_channel();
            let client = Client::new(Arc::clone(&world), number, receiver);
            tasks.push(tokio::spawn(client.run()));
            clients.push(commands);
        }
        let mut driver = Self {
            world,
            clients,
            tasks,
            agenda: BTreeMap::new(),
            next: 0,
        };
        for at in 0..driver.world.plan.ops.len() {
            let ms = driver.world.plan.ops[at].0;
            let when = driver.world.start + Duration::from_millis(ms);
            driver.put(when, Step::Begin(at));
        }
        driver
    }

    /// Runs to the end, or to the first broken promise.
    pub(crate) async fn run(mut self) {
        for node in 0..self.world.plan.nodes {
            self.world.start_node(node);
        }
        let end = self.world.start + self.world.plan.chaos;
        while let Some(((at, _), step)) = self.agenda.pop_first() {
            if at > end {
                break;
            }
            sleep_until(at).await;
            if self.is_over() {
                return;
            }
            self.on_step(step).await;
            self.world.check_kept();
        }
        sleep_until(end).await;
        self.calm();
        self.heal().await;
        for node in 0..self.world.plan.nodes {
            self.world.kill_node(node, false);
        }
    }

    fn put(&mut self, at: Instant, step: Step) {
        self.next += 1;
        self.agenda.insert((at, self.next), step);
    }

    fn later(&mut self, ms: u64, step: Step) {
        self.put(Instant::now() + Duration::from_millis(ms), step);
    }

    fn is_over(&self) -> bool {
        if self.tasks.iter().any(JoinHandle::is_finished) {
            self.world
                .fail("no machine panics", "a client's machine did");
        }
        self.world.is_broken()
    }

    async fn on_step(&mut self, step: Step) {
        match step {
            Step::Begin(at) => {
                let op = self.world.plan.ops[at].1.clone();
                self.world.trace(|| format!("-- {op:?}"));
                self.on_op(op).await;
            }
            Step::Start(node) => self.world.start_node(node),
            Step::StoreBack => self.set_store_fault(None),
            Step::ShardBack(shard) => self.set_shard_fault(shard, None),
            Step::TierBack => self.set_tier_fault(None),
            Step::TierBegins(kept) => {
                if let Some((_, hot)) = &self.world.tier {
                    hot.begin_with(kept);
                }
            }
            Step::Flows(node) => self.world.bus.set_stalled(&node_id(node), false),
            Step::Wakes(node) => self.world.pause_node(node, false),
            Step::BusBack(node) => self.world.bus.set_away(&node_id(node), false),
            Step::Together(a, b) => {
                let (a, b) = (node_id(a), node_id(b));
                self.world.bus.set_apart(&a, &b, false);
            }
            Step::RegistryBack => self.world.registry.set_away(false),
        }
    }

    async fn on_op(&mut self, op: Op) {
        match op {
            Op::Kill {
                node,
                turns,
                silent,
                back_ms,
            } => {
                for _ in 0..turns {
                    yield_now().await;
                }
                self.world.kill_node(node, silent);
                self.later(back_ms, Step::Start(node));
            }
            Op::Drain { node, back_ms } => {
                self.world.drain_node(node);
                // A node that still drains then is started when all is calm.
                self.later(back_ms + 3_000, Step::Start(node));
            }
            Op::Jump { node, by_ms } => self.world.clocks[node].jump(by_ms),
            Op::Store { fault, ms } => {
                self.set_store_fault(Some(fault));
                self.later(ms, Step::StoreBack);
            }
            Op::BusAway { node, ms } => {
                self.world.bus.set_away(&node_id(node), true);
                self.later(ms, Step::BusBack(node));
            }
            Op::Apart { a, b, ms } => {
                self.world.bus.set_apart(&node_id(a), &node_id(b), true);
                self.later(ms, Step::Together(a, b));
            }
            Op::BusClosed { node } => self.world.bus.close(&node_id(node)),
            Op::RegistryAway { ms } => {
                self.world.registry.set_away(true);
                self.later(ms, Step::RegistryBack);
            }
            Op::Pause { node, ms } => {
                self.world.pause_node(node, true);
                self.later(ms, Step::Wakes(node));
            }
            other => self.on_layers_op(other),
        }
    }

    /// What only goes wrong with more than one store, and what the first plans did not have.
    fn on_layers_op(&mut self, op: Op) {
        match op {
            Op::RegistryForgets => self.world.registry.forget(),
            Op::BusStalled { node, ms } => {
                self.world.bus.set_stalled(&node_id(node), true);
                self.later(ms, Step::Flows(node));
            }
            Op::Shard { shard, fault, ms } => {
                self.set_shard_fault(shard, Some(fault));
                self.later(ms, Step::ShardBack(shard));
            }
            Op::Tier { fault, ms } => {
                self.set_tier_fault(Some(fault));
                self.later(ms, Step::TierBack);
            }
            Op::TierForgets => {
                if let Some((_, hot)) = &self.world.tier {
                    hot.forget();
                }
            }
            Op::TierGoesBack { ms } => {
                let kept = self.world.tier.as_ref().map(|(_, hot)| hot.keep());
                if let Some(kept) = kept {
                    self.later(ms, Step::TierBegins(kept));
                }
            }
            Op::Move {
                client,
                conv,
                shard,
                dies_ms,
            } => {
                let conv = self.world.conv(client, conv);
                if let Some(conv) = conv.filter(|_| shard < self.world.stores.len()) {
                    let dies = dies_ms.map(Duration::from_millis);
                    // It goes on by itself.
                    drop(self.world.start_move(Slot::of(&conv), shard, dies));
                }
            }
            other => self.on_client_op(other),
        }
    }

    fn set_store_fault(&self, fault: Option<StoreFault>) {
        for store in &self.world.stores {
            store.set_fault(fault);
        }
    }

    fn set_shard_fault(&self, shard: usize, fault: Option<StoreFault>) {
        if let Some(store) = self.world.stores.get(shard) {
            store.set_fault(fault);
        }
    }

    fn set_tier_fault(&self, fault: Option<StoreFault>) {
        if let Some((_, hot)) = &self.world.tier {
            hot.set_fault(fault);
        }
    }

    fn on_client_op(&self, op: Op) {
        let until = |ms| Instant::now() + Duration::from_millis(ms);
        let call = |method, what| Command::Call { method, what };
        let (client, command) = match op {
            Op::Say { client, to, count } => (client, Command::Say { to, count }),
            Op::Read { client } => (client, Command::Read),
            Op::StrayAcks { client } => (client, Command::StrayAcks),
            Op::Cut { client } => (client, Command::Cut),
            Op::HalfOpen { client, ms } => (client, Command::HalfOpen(until(ms))),
            Op::StopReading { client, ms } => (client, Command::StopReading(until(ms))),
            Op::StopTaking { client, ms } => (client, Command::StopTaking(until(ms))),
            Op::CrashClient { client, ms } => (client, Command::Crash(Duration::from_millis(ms))),
            Op::Create {
                client,
                group,
                members,
                hides,
            } => {
                let what = Call::Create {
                    group,
                    members,
                    hides,
                };
                (client, call("groups.create", what))
            }
            Op::Add {
                client,
                group,
                user,
            } => (client, call("groups.add", Call::Users { group, user })),
            Op::Remove {
                client,
                group,
                user,
            } => (client, call("groups.remove", Call::Users { group, user })),
            Op::Leave { client, group } => (client, call("groups.leave", Call::Group { group })),
            Op::Mute {
                client,
                group,
                user,
                ms,
            } => (client, call("groups.mute", Call::Mute { group, user, ms })),
            Op::Promote {
                client,
                group,
                user,
            } => (client, call("groups.role", Call::Promote { group, user })),
            _ => return,
        };
        self.tell(client, command);
    }

    fn tell(&self, client: usize, command: Command) {
        if let Some(commands) = self.clients.get(client) {
            // A client that panicked takes nothing; the run ends with that.
            let _ = commands.send(command);
        }
    }

    /// Ends every fault.
    fn calm(&self) {
        self.world.trace(|| "-- calm".to_owned());
        self.world.calm();
        for client in 0..self.clients.len() {
            self.tell(client, Command::Calm);
        }
    }

    async fn heal(&self) {
        let until = Instant::now() + HEAL_MAX;
        let mut well_since = None;
        loop {
            for node in 0..self.world.plan.nodes {
                self.world.start_node(node);
            }
            // What a dead mover asked for may come late.
            self.world.finish_moves();
            sleep(LOOK_EVERY).await;
            if self.is_over() {
                return;
            }
            let now = Instant::now();
            let reports = self.reports().await;
            match self.world.is_healed(&reports) {
                Ok(()) => {
                    let since = *well_since.get_or_insert(now);
                    if now - since >= STAY {
                        return self.world.observe_healed(&reports);
                    }
                }
                // It was well before, and is not any more: look again.
                Err(_) if now < until => well_since = None,
                Err(_) => return self.world.observe_healed(&reports),
            }
        }
    }

    async fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for client in 0..self.clients.len() {
            let (answer, report) = oneshot::channel();
            self.tell(client, Command::Report(answer));
            reports.extend(report.await.ok());
        }
        reports
    }
}
