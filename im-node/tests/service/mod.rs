//! What users can do, called as the host program calls it.

mod change;
mod friends;
mod kit;
mod own;
