//! The binary as an operator and a person at a browser meet it.

mod http;
mod life;
mod page;
mod process;
mod start;
