//! The node's own adapters pass the suites that everybody's adapters pass.

mod local;
