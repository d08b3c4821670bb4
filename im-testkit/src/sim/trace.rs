//! What happened, line by line: hashed, and the last of it kept.

use std::collections::VecDeque;

/// Lines kept for a report.
const LINES_MAX: usize = 20_000;

/// A run's trace.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    count: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            lines: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, ms: u128, line: &str) {
        let line = format!("{ms:>7} {line}");
        // FNV-1a: enough to tell two runs apart.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The hash of every line, how many there were, and the last of them.
    pub(crate) fn finish(&mut self) -> (u64, u64, Vec<String>) {
        let lines = std::mem::take(&mut self.lines);
        (self.hash, self.count, lines.into())
    }
}
