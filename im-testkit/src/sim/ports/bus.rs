//! A bus that loses, doubles, reorders and delays, and that breaks for one node or between two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_core::model::NodeId;
use im_core::port::{Bus, Capability, Incoming, PortError, PortErrorKind, Subscription, To};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::gate::Gate;

/// The largest message.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The most messages that wait for a node; beyond it the oldest is lost, and the node told.
const QUEUE_MAX: usize = 256;

/// How often messages fare ill: in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusWeather {
    /// Lost.
    pub lost: u8,
    /// Delivered twice, the second time later.
    pub doubled: u8,
    /// Replaced by something that can't be read.
    pub garbled: u8,
    /// A message takes at most so many milliseconds, each another time: so they overtake.
    pub slow_ms: u64,
}

/// The bus of a run: every node reaches it by [`of_node`](Self::of_node).
#[derive(Debug)]
pub struct SimBus {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: fastrand::Rng,
    weather: BusWeather,
    /// Nodes that the bus can't be reached from.
    away: BTreeSet<NodeId>,
    /// Pairs of nodes that don't hear each other, and are not told so.
    apart: BTreeSet<(NodeId, NodeId)>,
    /// Nodes for which everything waits.
    stalled: BTreeSet<NodeId>,
    /// Whether nodes are told that they may have missed messages.
    tells: bool,
    queues: BTreeMap<u64, Arc<Queue>>,
    next: u64,
}

#[derive(Debug)]
struct Queue {
    node: NodeId,
    arrived: Notify,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: BTreeMap<(Instant, u64), Bytes>,
    next: u64,
    missed: bool,
    closed: bool,
    stalled: bool,
}

impl SimBus {
    /// A bus with that weather.
    #[must_use]
    pub fn new(weather: BusWeather, seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                rng: fastrand::Rng::with_seed(seed),
                weather,
                away: BTreeSet::new(),
                apart: BTreeSet::new(),
                stalled: BTreeSet::new(),
                tells: true,
                queues: BTreeMap::new(),
                next: 0,
            }),
        }
    }

    /// Never tell a node that it may have missed messages: a planted bug.
    pub(crate) fn tell_nobody(&self) {
        self.state.lock().tells = false;
    }

    /// The bus as that node reaches it, through its gate.
    #[must_use]
    pub fn of_node(self: &Arc<Self>, node: &NodeId, gate: Arc<Gate>) -> Arc<dyn Bus> {
        Arc::new(NodeBus {
            bus: Arc::clone(self),
            node: node.clone(),
            gate,
        })
    }

    /// Cuts a node off, or lets it back: then it is told that it may have missed messages.
    pub fn set_away(&self, node: &NodeId, away: bool) {
        let mut state = self.state.lock();
        if away {
            state.away.insert(node.clone());
        } else if state.away.remove(node) && state.tells {
            for queue in state.queues.values().filter(|queue| queue.node == *node) {
                queue.waiting.lock().missed = true;
                queue.arrived.notify_one();
            }
        }
    }

    /// Lets all that is for a node wait, or go on.
    pub fn set_stalled(&self, node: &NodeId, stalled: bool) {
        let mut state = self.state.lock();
        if stalled {
            state.stalled.insert(node.clone());
        } else {
            state.stalled.remove(node);
        }
        for queue in state.queues.values().filter(|queue| queue.node == *node) {
            queue.waiting.lock().stalled = stalled;
            queue.arrived.notify_one();
        }
    }

    /// Two nodes don't hear each other, or do again; neither is told.
    pub fn set_apart(&self, a: &NodeId, b: &NodeId, apart: bool) {
        let mut state = self.state.lock();
        for pair in [(a.clone(), b.clone()), (b.clone(), a.clone())] {
            if apart {
                state.apart.insert(pair);
            } else {
                state.apart.remove(&pair);
            }
        }
    }

    /// Ends a node's subscriptions, as a broker that was set up anew does.
    pub fn close(&self, node: &NodeId) {
        let state = self.state.lock();
        for queue in state.queues.values().filter(|queue| queue.node == *node) {
            queue.waiting.lock().closed = true;
            queue.arrived.notify_one();
        }
    }

    /// Ends every fault, and the weather.
    pub fn calm(&self) {
        let away = std::mem::take(&mut self.state.lock().away);
        for node in away {
            self.state.lock().away.insert(node.clone());
            self.set_away(&node, false);
        }
        let stalled = self.state.lock().stalled.clone();
        for node in stalled {
            self.set_stalled(&node, false);
        }
        let mut state = self.state.lock();
        state.apart.clear();
        state.weather = BusWeather::default();
    }

    fn publish(&self, from: &NodeId, to: &To, payload: &Bytes) -> Result<(), PortError> {
        let mut state = self.state.lock();
        if state.away.contains(from) {
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        let State {
            rng,
            weather,
            away,
            apart,
            queues,
            ..
        } = &mut *state;
        for queue in queues.values() {
            let is_meant = match to {
                To::Node(node) => *node == queue.node,
                To::All => true,
            };
            let pair = (from.clone(), queue.node.clone());
            if !is_meant || away.contains(&queue.node) || apart.contains(&pair) {
                continue;
            }
            let mut percent = |of: u8| rng.u8(0..100) < of;
            let copies = match (percent(weather.lost), percent(weather.doubled)) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
            for _ in 0..copies {
                let garbled = rng.u8(0..100) < weather.garbled;
                let payload = match garbled {
                    true => Bytes::from_static(b"\xc1 not a message"),
                    false => payload.clone(),
                };
                let late = Duration::from_millis(rng.u64(0..=weather.slow_ms));
                queue.push(Instant::now() + late, payload);
            }
        }
        Ok(())
    }

    fn subscribe(
        self: &Arc<Self>,
        node: &NodeId,
        gate: Arc<Gate>,
    ) -> Result<Box<dyn Subscription>, PortError> {
        let mut state = self.state.lock();
        if state.away.contains(node) {
            return Err(PortError::new(PortErrorKind::Unavailable));
        }
        let id = state.next;
        state.next += 1;
        let queue = Arc::new(Queue {
            node: node.clone(),
            arrived: Notify::new(),
            waiting: Mutex::new(Waiting {
                stalled: state.stalled.contains(node),
                ..Waiting::default()
            }),
        });
        state.queues.insert(id, Arc::clone(&queue));
        let bus = Arc::clone(self);
        Ok(Box::new(NodeSubscription {
            bus,
            id,
            queue,
            gate,
        }))
    }
}

impl Queue {
    fn push(&self, at: Instant, payload: Bytes) {
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.messages.insert((at, number), payload);
        if waiting.messages.len() > QUEUE_MAX {
            waiting.messages.pop_first();
            waiting.missed = true;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// What to tell now, or when to look again.
    fn poll(&self) -> Result<Option<Incoming>, Option<Instant>> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Ok(None);
        }
        if waiting.stalled {
            return Err(None);
        }
        if std::mem::take(&mut waiting.missed) {
            return Ok(Some(Incoming::Reconnected));
        }
        let Some(first) = waiting.messages.first_entry() else {
            return Err(None);
        };
        let at = first.key().0;
        if at > Instant::now() {
            return Err(Some(at));
        }
        Ok(Some(Incoming::Message(first.remove())))
    }
}

#[derive(Debug)]
struct NodeBus {
    bus: Arc<SimBus>,
    node: NodeId,
    gate: Arc<Gate>,
}

#[async_trait]
impl Bus for NodeBus {
    fn capability(&self) -> Capability {
        Capability {
            durable: false,
            ordered: false,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            alone: false,
        }
    }

    async fn publish(&self, to: To, payload: Bytes) -> Result<(), PortError> {
        self.gate.pass().await;
        self.bus.publish(&self.node, &to, &payload)
    }

    async fn subscribe(&self, node: &NodeId) -> Result<Box<dyn Subscription>, PortError> {
        self.gate.pass().await;
        self.bus.subscribe(node, Arc::clone(&self.gate))
    }
}

#[derive(Debug)]
struct NodeSubscription {
    bus: Arc<SimBus>,
    id: u64,
    queue: Arc<Queue>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Subscription for NodeSubscription {
    async fn next(&mut self) -> Option<Incoming> {
        loop {
            self.gate.pass().await;
            let at = match self.queue.poll() {
                Ok(incoming) => return incoming,
                Err(at) => at,
            };
            match at {
                None => self.queue.arrived.notified().await,
                Some(at) => tokio::select! {
                    biased;
                    () = self.queue.arrived.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }
}

impl Drop for NodeSubscription {
    fn drop(&mut self) {
        self.bus.state.lock().queues.remove(&self.id);
    }
}
