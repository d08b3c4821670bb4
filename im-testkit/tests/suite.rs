//! The in-memory adapters pass the suites that everybody's adapters pass.

mod memory;
