//! What the world must provide: traits that adapters implement, few and small, used as `dyn`.
//!
//! Each has a conformance suite in `im-testkit` that every adapter passes.

mod auth;
mod blob;
mod bus;
mod clock;
mod directory;
mod error;
mod fact;
mod hooks;
mod hot;
mod push;
mod registry;
mod search;
mod shard;
mod store;

pub use auth::{AuthError, Authenticator, Identity};
pub use blob::{
    Blobs, Content, Inspect, Judgement, ObjectKey, PUT_BYTES_MAX, Probe, Probed, READ_BYTES_MAX,
    Signed, Suspect,
};
pub use bus::{Bus, Capability, Incoming, Subscription, To};
pub use clock::Clock;
pub use directory::{Directory, Standing};
pub use error::{PortError, PortErrorKind};
pub use fact::{FactQuery, Put, Was, next_start};
pub use hooks::{Hooks, Verdict};
pub use hot::{Hot, HotAnswer, HotCommit, HotView, Lag, Pending, Settle, Warming, Which};
pub use push::{Push, PushError, PushNote};
pub use registry::{Lease, Registry, Route};
pub use search::{Find, Found, Hits, Search, Spot};
pub use shard::{Cargo, CargoQuery, Holding, Holdings, Phase, Place, Shard};
pub use store::{
    Appended, Changed, ChangedConversation, Commit, Committed, CursorMove, Departed, FirstSeq,
    Hold, LogQuery, MemberChange, MemberOp, MembershipLine, MembershipPage, NewConversation,
    Record, RecordKey, Rejected, Run, Store, View, Write,
};
