//! The steps of a plan.

use super::super::ports::StoreFault;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// To a user, by number.
    User(usize),
    /// To a group, by the number of its making.
    Group(usize),
}

/// A step: something that a client does, or something that goes wrong. Clients, users, nodes and
/// groups are numbered from 0; times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum Op {
    /// Sends so many messages at once.
    Say { client: usize, to: To, count: usize },
    /// Reads a conversation to where the client stands.
    Read { client: usize },
    /// Makes a group.
    Create {
        client: usize,
        group: usize,
        members: Vec<usize>,
        hides: bool,
    },
    /// Adds a user.
    Add {
        client: usize,
        group: usize,
        user: usize,
    },
    /// Removes a user.
    Remove {
        client: usize,
        group: usize,
        user: usize,
    },
    /// Leaves.
    Leave { client: usize, group: usize },
    /// Mutes a user, or with 0 lets them speak again.
    Mute {
        client: usize,
        group: usize,
        user: usize,
        ms: u64,
    },
    /// Makes a user an admin.
    Promote {
        client: usize,
        group: usize,
        user: usize,
    },
    /// Acks twice, beyond the head, and what it does not have.
    StrayAcks { client: usize },

    /// The client's connection breaks, with what is on its way.
    Cut { client: usize },
    /// Nothing passes on the client's connection for a while, and nobody is told.
    HalfOpen { client: usize, ms: u64 },
    /// The client reads nothing from the network.
    StopReading { client: usize, ms: u64 },
    /// The client's application takes nothing from its inbox.
    StopTaking { client: usize, ms: u64 },
    /// The client dies, and comes back with what its disk holds.
    CrashClient { client: usize, ms: u64 },

    /// A node dies after so many turns of the scheduler; its clients are told or not.
    Kill {
        node: usize,
        turns: u32,
        silent: bool,
        back_ms: u64,
    },
    /// A node shuts down in order, and comes back.
    Drain { node: usize, back_ms: u64 },
    /// A node's clock jumps.
    Jump { node: usize, by_ms: i64 },

    /// The store is away, full or hangs.
    Store { fault: StoreFault, ms: u64 },
    /// The bus can't be reached from a node.
    BusAway { node: usize, ms: u64 },
    /// Two nodes don't hear each other.
    Apart { a: usize, b: usize, ms: u64 },
    /// A node's subscription ends.
    BusClosed { node: usize },
    /// The registry is away.
    RegistryAway { ms: u64 },
    /// The registry forgets everything.
    RegistryForgets,
    /// A node's process sleeps, so that its leases may end.
    Pause { node: usize, ms: u64 },
    /// What the bus has for a node waits.
    BusStalled { node: usize, ms: u64 },
    /// One of several stores is away, full or hangs.
    Shard {
        shard: usize,
        fault: StoreFault,
        ms: u64,
    },
    /// An operator moves the slot of the conversation that a client sends to, and may die on the
    /// way.
    Move {
        client: usize,
        conv: To,
        shard: usize,
        dies_ms: Option<u64>,
    },
    /// The hot tier is away, full or hangs.
    Tier { fault: StoreFault, ms: u64 },
    /// The hot tier forgets everything.
    TierForgets,
    /// The hot tier forgets what it was told last.
    TierGoesBack { ms: u64 },
}
