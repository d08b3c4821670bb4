//! Plain data: ids, entries, bodies, conversations, members.

mod blob;
mod body;
mod conversation;
mod entry;
mod fact;
mod id;
mod json;
mod push;
mod slot;
mod stamps;
mod value;

pub use blob::{Blob, BlobFound, BlobId, BlobState, Upload, UploadPart, UploadState};
pub use body::{Body, BodyError, Family, Kind};
pub use conversation::{Conversation, ConversationKind, Member, Role, direct_id, requested_id};
pub use entry::{Draft, Entry, Mentions, NewEntry, Target};
pub use fact::{Fact, FactKey, FactOwner, FactTable, everyone, place_of};
pub use id::{
    CmId, ConnectionId, ConversationId, DeviceId, Epoch, Holder, IdError, MessageId, NodeId, Seq,
    Stamp, Timestamp, UserId,
};
pub use json::JsonError;
pub(crate) use json::read_json;
pub use push::PushTarget;
pub use slot::Slot;
pub use stamps::{Stamps, StampsError};
pub use value::{DEPTH_MAX, INTEGER_MAX, Value, Violation};
pub(crate) use value::{FRAME_DEPTH_MAX, NESTING_MAX, write_display, write_json_text};
