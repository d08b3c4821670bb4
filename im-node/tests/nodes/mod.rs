//! Nodes that share a store, a bus and a registry, and connections to them without a socket.

mod bus;
mod device;
mod epoch;
mod groups;
mod kit;
mod large;
mod late;
mod life;
mod lists;
mod presence;
