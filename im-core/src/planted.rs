//! Bugs put in on purpose, so that a test can show that the simulator finds them. Built only with
//! the feature `planted`, which nothing that ships turns on; and then still off until planted.

use std::cell::Cell;

/// A bug of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A room applies the next entry that it has, whatever is missing before it.
    RoomIgnoresGaps,
    /// A room does not let go of who was removed.
    RemovalIgnored,
    /// A delivery takes no notice of its window.
    WindowIgnored,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in every machine of this thread, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
