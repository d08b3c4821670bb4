//! Pure decisions: who may do what, and what follows from it.

mod authorize;
mod body;
pub mod commit;
mod member_event;

pub use authorize::{Action, ActorView, authorize};
pub use body::{BodyFault, check_body};
pub use member_event::{MemberEvent, MemberEventOp};
