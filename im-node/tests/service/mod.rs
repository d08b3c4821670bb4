//! What users can do, called as the host program calls it.

mod change;
mod kit;
mod own;
