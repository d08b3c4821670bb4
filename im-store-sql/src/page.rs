//! A page of a log under way: how many entries and bytes still fit.

use im_core::model::Entry;

/// Rows of a page's first read; what follows is sized by what they were.
pub(crate) const FIRST_ROWS: usize = 64;

/// A page under way.
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) limit: usize,
    bytes: usize,
}

impl Page {
    pub(crate) fn new(limit: usize, bytes: usize) -> Self {
        Self {
            entries: Vec::with_capacity(limit.min(256)),
            limit,
            bytes,
        }
    }

    /// Takes an entry if there is room. False when nothing more fits.
    pub(crate) fn take(&mut self, entry: Entry) -> bool {
        let size = entry.body.json().len();
        if self.entries.len() >= self.limit || (size > self.bytes && !self.entries.is_empty()) {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(size);
        self.entries.push(entry);
        self.entries.len() < self.limit
    }

    /// Takes entries while there is room. False when nothing more fits.
    pub(crate) fn take_all(&mut self, entries: impl Iterator<Item = Entry>) -> bool {
        for entry in entries {
            if !self.take(entry) {
                return false;
            }
        }
        self.has_room()
    }

    pub(crate) const fn has_room(&self) -> bool {
        self.entries.len() < self.limit && (self.bytes > 0 || self.entries.is_empty())
    }

    /// How many more rows fit, if they are as large as those so far.
    pub(crate) fn rows_to_come(&self) -> usize {
        let taken: usize = self
            .entries
            .iter()
            .map(|entry| entry.body.json().len())
            .sum();
        let average = (taken / self.entries.len().max(1)).max(1);
        (self.bytes / average).clamp(1, self.limit.max(1))
    }
}
