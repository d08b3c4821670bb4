//! The nodes of a run: started, killed at whatever await they stand, drained.

use std::sync::Arc;
use std::time::Duration;

use im_core::frame::{Codec, Limits};
use im_core::model::NodeId;
use im_core::port::Clock;
use im_node::{Node, Settings, StartError};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::net::{Wire, pump};
use super::oracle::Event;
use super::planted::Planted;
use super::ports::{Gate, SimStoreNode};
use super::world::World;
use super::{id, plan::Tuning};

/// How long a node that could not start waits before it tries again.
const START_AGAIN: Duration = Duration::from_millis(500);
/// Characters of a text: few, so that pages are small too.
const TEXT_CHARS: usize = 200;
/// A sweep that never comes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A node's place in the cluster.
#[derive(Debug, Default)]
pub(crate) enum Slot {
    /// Nothing runs.
    #[default]
    Down,
    /// It tries to start.
    Starting(AbortHandle),
    /// It runs.
    Up(Running),
}

/// A node that runs.
#[derive(Debug)]
pub(crate) struct Running {
    node: Node,
    parts: Vec<Arc<SimStoreNode>>,
    /// What a node passes that others see.
    gate: Arc<Gate>,
    /// The transports' tasks.
    pumps: Vec<(u64, AbortHandle)>,
    draining: Option<AbortHandle>,
}

pub(crate) fn node_id(number: usize) -> NodeId {
    id(NodeId::new(format!("n{number}")))
}

fn settings(node: usize, tuning: &Tuning, planted: Option<Planted>) -> Settings {
    let frame_bytes = 4 * TEXT_CHARS + 1_024;
    let no_sweep = planted == Some(Planted::NoSweep);
    Settings {
        node: node_id(node),
        limits: Limits {
            frame_bytes,
            page_bytes: frame_bytes,
            text_chars: TEXT_CHARS,
            window: tuning.window,
            ack_ms: tuning.ack_ms,
            sends_per_s: tuning.sends_per_s,
            ..Limits::default()
        },
        heartbeat: tuning.heartbeat,
        sweep: if no_sweep { NEVER } else { tuning.sweep },
        // Nothing in a run is ever due.
        due: NEVER,
        commit_deadline: tuning.commit_deadline,
        lanes: tuning.lanes,
        batch_max: tuning.batch_max,
        drain: Duration::from_secs(2),
        reconnect_ms: (50, 1_000),
        ..Settings::default()
    }
}

impl World {
    /// Starts a node, trying until it is up.
    pub(crate) fn start_node(self: &Arc<Self>, number: usize) {
        if !matches!(self.slots.lock().get(number), Some(Slot::Down)) {
            return;
        }
        let world = Arc::clone(self);
        let task = tokio::spawn(async move {
            loop {
                match world.try_start(number).await {
                    Ok(running) => return world.node_is_up(number, running),
                    Err(error) => world.trace(|| format!("n{number} does not start: {error}")),
                }
                sleep(START_AGAIN).await;
            }
        });
        self.set_slot(number, Slot::Starting(task.abort_handle()));
    }

    async fn try_start(&self, number: usize) -> Result<Running, StartError> {
        let gate: Arc<Gate> = Arc::default();
        let stack = self.stack(&gate).await?;
        let clock: Arc<dyn Clock> = Arc::<super::ports::SimClock>::clone(&self.clocks[number]);
        let auth = Arc::<crate::memory::TokenTable>::clone(&self.auth);
        let bus = self.bus.of_node(&node_id(number), Arc::clone(&gate));
        let mut builder = Node::builder(stack.store, auth)
            .cluster(bus, self.registry.of_node(Arc::clone(&gate)))
            .clock(clock)
            .settings(settings(number, &self.plan.tuning, self.planted));
        if let Some((count, of)) = stack.lanes {
            builder = builder.lanes_by(count, move |conv| of(conv));
        }
        Ok(Running {
            node: (self.configure)(builder).start().await?,
            parts: stack.parts,
            gate,
            pumps: Vec::new(),
            draining: None,
        })
    }

    fn node_is_up(&self, number: usize, running: Running) {
        self.trace(|| format!("n{number} is up"));
        self.set_slot(number, Slot::Up(running));
    }

    /// A node's process sleeps, or goes on.
    pub(crate) fn pause_node(&self, number: usize, paused: bool) {
        if let Some(Slot::Up(running)) = self.slots.lock().get(number) {
            running.gate.shut(paused);
        }
    }

    /// Every node is up, and does not mean to go.
    pub(crate) fn all_are_up(&self) -> Result<(), String> {
        let slots = self.slots.lock();
        let is_up = |slot: &Slot| matches!(slot, Slot::Up(node) if node.draining.is_none());
        match slots.iter().position(|slot| !is_up(slot)) {
            Some(down) => Err(format!("n{down} is not up")),
            None => Ok(()),
        }
    }

    /// Connects to a node; `None` when nobody listens there.
    pub(crate) fn dial(
        self: &Arc<Self>,
        client: usize,
        number: usize,
        codec: Codec,
        capacity: usize,
    ) -> Option<Arc<Wire>> {
        let mut slots = self.slots.lock();
        let Some(Slot::Up(running)) = slots.get_mut(number) else {
            return None;
        };
        let wire = self.wire(number, capacity);
        let connection = running.node.connect(codec, None);
        self.trace(|| format!("c{client} dials n{number}: w{}", wire.id));
        let event = Event::Dialled {
            wire: wire.id,
            client,
        };
        self.observe(&event);
        let gate = Arc::clone(&running.gate);
        let pump = pump(Arc::clone(self), Arc::clone(&wire), connection, gate);
        let task = tokio::spawn(pump);
        running.pumps.retain(|(_, pump)| !pump.is_finished());
        running.pumps.push((wire.id, task.abort_handle()));
        Some(wire)
    }

    /// A node dies where it stands. Those connected to it see it, or nothing.
    pub(crate) fn kill_node(&self, number: usize, silent: bool) {
        let slot = self.slots.lock().get_mut(number).map(std::mem::take);
        let running = match slot {
            Some(Slot::Up(running)) => running,
            Some(Slot::Starting(task)) => return task.abort(),
            Some(Slot::Down) | None => return,
        };
        self.trace(|| format!("n{number} dies, silent={silent}"));
        running.node.kill();
        for part in &running.parts {
            part.kill();
        }
        if let Some(draining) = running.draining {
            draining.abort();
        }
        for (id, pump) in running.pumps {
            if pump.is_finished() {
                continue;
            }
            pump.abort();
            self.observe(&Event::Ended { wire: id });
            let wire = self.wires.lock().get(&id).cloned();
            if let Some(wire) = wire {
                wire.hold(silent);
                wire.cut();
            }
        }
    }

    /// A node shuts down in order, and then is down.
    pub(crate) fn drain_node(self: &Arc<Self>, number: usize) {
        let mut slots = self.slots.lock();
        let Some(Slot::Up(running)) = slots.get_mut(number) else {
            return;
        };
        if running.draining.is_some() {
            return;
        }
        let (world, node) = (Arc::clone(self), running.node.clone());
        let task = tokio::spawn(async move {
            node.shutdown().await;
            world.trace(|| format!("n{number} has shut down"));
            world.kill_node(number, false);
        });
        running.draining = Some(task.abort_handle());
    }

    fn set_slot(&self, number: usize, slot: Slot) {
        if let Some(place) = self.slots.lock().get_mut(number) {
            *place = slot;
        }
    }
}
