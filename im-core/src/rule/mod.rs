//! Pure decisions: who may do what, and what follows from it.

mod authorize;
mod member_event;

pub use authorize::{Action, ActorView, authorize};
pub use member_event::{MemberEvent, MemberEventOp};
