//! What users can do, called as the host program calls it.

mod admin;
mod change;
mod due;
mod forward;
mod friends;
mod joining;
mod keep;
pub(crate) mod kit;
mod media;
mod own;
mod person;
mod push;
mod search;
mod stickers;
