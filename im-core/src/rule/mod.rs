//! Pure decisions: who may do what, and what follows from it.

mod authorize;
mod blob;
mod body;
pub mod commit;
pub mod forward;
mod mark;
mod member_event;
mod staff;
mod timeline;
mod words;

pub use authorize::{Action, ActorView, Barrier, ChangeWindows, Rights, authorize};
pub use blob::{
    BLOB_NAME_CHARS_MAX, BLOBS_MAX, harmless_name, is_shown, may_name_blobs, named_blobs,
    names_blob, suits, with_found,
};
pub use body::{BodyFault, check_body};
pub use mark::{Change, EditMark, Mark, mark_key, marks_below, marks_from};
pub use member_event::{MemberEvent, MemberEventOp};
pub use staff::{Power, Staff, StaffRole, may_act_on, staff_may};
pub use timeline::{Message, Stamped, Timeline};
pub use words::{QUERY_WORDS_MAX, SEARCHED, Scope, TEXT_WORDS_MAX, Term, Words, said, words_of};
