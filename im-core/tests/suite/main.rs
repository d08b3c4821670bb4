//! What the core promises, seen from outside.

mod vectors;
