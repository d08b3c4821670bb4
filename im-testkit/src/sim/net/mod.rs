//! The network between clients and nodes.

mod pipe;
mod pump;
mod wire;

pub(crate) use pump::pump;
pub(crate) use wire::{Down, Lag, Up, Wire};
