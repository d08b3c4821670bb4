//! What the fuzz targets check; each target in `fuzz_targets/` is one call.

pub mod codec;
pub mod delivery;
pub mod inbox;
pub mod moderation;
pub mod outbox;
pub mod room;
