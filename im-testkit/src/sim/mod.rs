//! The simulator: a cluster of real nodes, their clients, and everything between them that can go
//! wrong, from one seed.
//!
//! A [`Plan`] is drawn from a seed. [`run`] carries it out on paused time and one thread: nodes of
//! `im-node` over a shared store in memory, clients made of `im-core`'s machines, and between them
//! a store, a bus, a registry, clocks and a network that fail as the seed says. An oracle that sees
//! what every client sees, and what passes on every wire, checks the promises of the protocol at
//! every step. Then every fault is turned off, and all must heal by itself.
//!
//! The same plan gives the same trace, hash for hash. A plan that breaks a promise is
//! [shrunk](shrink): operations and weather are left out for as long as it still does.
//!
//! ```
//! let report = im_testkit::sim::run(&im_testkit::sim::Plan::calm(1), &Default::default());
//! assert_eq!(report.violation, None);
//! ```

mod client;
mod cluster;
mod driver;
mod layers;
mod net;
mod oracle;
mod panics;
mod plan;
mod planted;
mod ports;
mod seeds;
mod shrink;
mod stack;
mod trace;
mod world;

use std::fmt;
use std::sync::Arc;

use im_core::model::IdError;
use im_node::NodeBuilder;

pub use layers::{Lanes, Layers, Spread};
pub use oracle::Violation;
pub use plan::{Device, Op, Plan, Tier, To, Tuning};
pub use planted::Planted;
pub use ports::{
    BusWeather, Gate, SimAtNode, SimBus, SimClock, SimHot, SimHotNode, SimRegistry, SimShared,
    SimStore, SimStoreNode, StoreFault, StoreWeather,
};
pub use seeds::{first_broken, run_seeds};
pub use shrink::{Shrunk, shrink};

use self::driver::Driver;
use self::world::World;

/// What an embedder adds to every node.
type Configure = Arc<dyn Fn(NodeBuilder) -> NodeBuilder + Send + Sync>;

/// How plans are run.
#[derive(Clone)]
pub struct Options {
    /// A bug put in on purpose.
    pub planted: Option<Planted>,
    configure: Configure,
    layers: Option<Arc<dyn Layers>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            planted: None,
            configure: Arc::new(|builder| builder),
            layers: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("planted", &self.planted)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// With a bug put in on purpose.
    #[must_use]
    pub fn planted(planted: Planted) -> Self {
        Self {
            planted: Some(planted),
            ..Self::default()
        }
    }

    /// With stores made of stores, for plans that ask for them; without, all plans run on one.
    #[must_use]
    pub fn layers(mut self, layers: impl Layers) -> Self {
        self.layers = Some(Arc::new(layers));
        self
    }

    /// With something of the embedder's in every node: hooks, a directory. It must be repeatable:
    /// no clock but tokio's, no chance of its own.
    #[must_use]
    pub fn configure(
        mut self,
        configure: impl Fn(NodeBuilder) -> NodeBuilder + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// The hash of the whole trace.
    pub hash: u64,
    /// How many lines the trace has.
    pub lines: u64,
    /// Its last lines.
    pub trace: Vec<String>,
}

/// Carries a plan out on this thread.
///
/// # Panics
/// When no tokio runtime can be built, or inside one.
#[must_use]
pub fn run(plan: &Plan, options: &Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let Ok(runtime) = runtime else {
        unreachable!("a runtime without IO needs nothing of the system")
    };
    Planted::plant(options.planted);
    let watch = panics::watch();
    let world = runtime.block_on(async {
        let world = World::new(plan.clone(), options);
        Driver::new(Arc::clone(&world)).run().await;
        world
    });
    drop(runtime);
    Planted::plant(None);
    if let Some(panic) = watch.end() {
        world.fail("nothing panics", &panic);
    }
    let (hash, lines, trace, violation) = world.finish();
    Report {
        violation,
        hash,
        lines,
        trace,
    }
}

/// An id of the simulator's own.
fn id<T>(made: Result<T, IdError>) -> T {
    match made {
        Ok(id) => id,
        Err(error) => unreachable!("the simulator's ids are good: {error}"),
    }
}
