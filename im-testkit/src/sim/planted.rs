//! Bugs put in on purpose: a simulator that does not find them proves nothing.

/// A planted bug. Those that live inside `im-core` or `im-node` exist only with the feature
/// `planted`, which no shipped crate turns on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// The store does not recognise a retry.
    NoDedupe,
    /// `sent` is said before the commit, which a crash may lose.
    AckBeforeCommit,
    /// The store does not look at `expect_version`.
    ExpectVersionIgnored,
    /// Nothing asks the store what the bus has lost.
    NoSweep,
    /// A client sends again under another `cm_id`.
    ResendRenamed,
    /// A room applies what comes, whatever is missing before it.
    RoomIgnoresGaps,
    /// A room goes on pushing to who was removed.
    RemovalIgnored,
    /// A connection is pushed to, however much it has not acked.
    WindowIgnored,
    /// The flusher tells the tier that the store has what it does not have yet.
    AckBeforeCold,
    /// A tier that went back in time does not say so. It matters with `cached` only, and no plan
    /// lets such a tier go back.
    NoDoubt,
    /// The store does not look at who holds a log.
    NoFence,
    /// A store takes what is for a slot that it has not.
    SlotUnfenced,
    /// The lease of a node that died never ends.
    LeaseForever,
}

impl Planted {
    /// Every one of them.
    pub const ALL: [Self; 12] = [
        Self::NoDedupe,
        Self::AckBeforeCommit,
        Self::ExpectVersionIgnored,
        Self::NoSweep,
        Self::ResendRenamed,
        Self::RoomIgnoresGaps,
        Self::RemovalIgnored,
        Self::WindowIgnored,
        Self::AckBeforeCold,
        Self::NoFence,
        Self::SlotUnfenced,
        Self::LeaseForever,
    ];

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        let in_core = matches!(
            self,
            Self::RoomIgnoresGaps | Self::RemovalIgnored | Self::WindowIgnored
        );
        !in_core || cfg!(feature = "planted")
    }

    /// Plants what lives in the core on this thread, and takes out what was there before.
    pub(crate) fn plant(planted: Option<Self>) {
        #[cfg(feature = "planted")]
        {
            use im_core::planted::{Bug, plant};
            plant(match planted {
                Some(Self::RoomIgnoresGaps) => Some(Bug::RoomIgnoresGaps),
                Some(Self::RemovalIgnored) => Some(Bug::RemovalIgnored),
                Some(Self::WindowIgnored) => Some(Bug::WindowIgnored),
                _ => None,
            });
        }
        let _ = planted;
    }
}
