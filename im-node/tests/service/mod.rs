//! What users can do, called as the host program calls it.

mod admin;
mod announcements;
mod change;
mod channels;
mod due;
mod forward;
mod friends;
mod groups;
mod invites;
mod joining;
mod keep;
pub(crate) mod kit;
mod media;
mod mentions;
mod own;
mod person;
mod push;
mod races;
mod requests;
mod search;
mod stickers;
