//! What users can do, called as the host program calls it.

mod change;
mod due;
mod forward;
mod friends;
mod joining;
mod kit;
mod own;
mod push;
