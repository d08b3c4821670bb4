//! What voids a run.

/// What went wrong on one connection, or on all of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    /// Sends that the server answered with `err`.
    pub(crate) refused: u64,
    /// Connections that ended on their own.
    pub(crate) closed: u64,
    /// How often the server put a conversation `behind`. Allowed, but worth knowing.
    pub(crate) behind: u64,
    /// The first fault in words.
    pub(crate) first: Option<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.refused += other.refused;
        self.closed += other.closed;
        self.behind += other.behind;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }

    /// True when the run doesn't count.
    pub(crate) fn void(&self) -> bool {
        let sums = [self.lost, self.doubled, self.reordered, self.corrupt];
        sums.iter().any(|sum| *sum > 0) || self.refused > 0 || self.closed > 0
    }

    /// Keeps the first fault in words.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(what());
        }
    }
}

/// Enough of some bytes for a message to a person.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned()
}
