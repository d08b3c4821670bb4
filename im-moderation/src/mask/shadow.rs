//! A text as the rules read it: one form of each digit, dash and space, with the places where they
//! stand; and its numbers.

use std::ops::Range;

/// Between two groups of digits of one number are at most so many characters, as in `(977) 625`.
const GAP_MAX: usize = 2;

/// Stands for what has been found. No rule takes it for a part of anything.
const HIDDEN: char = '*';

/// A character in its plain form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) c: char,
    /// Its first byte in the text.
    pub(super) start: usize,
    /// The byte behind it.
    pub(super) end: usize,
}

/// A text in plain characters.
pub(super) struct Shadow {
    pub(super) cells: Vec<Cell>,
    groups: Vec<Group>,
}

/// Digits without anything between them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// In cells.
    pub(super) range: Range<usize>,
    /// The number before is so near that both may be one.
    pub(super) is_joined: bool,
}

/// Whether there is something in `text` without which no rule finds anything: a digit or an `@`.
pub(super) fn is_suspicious(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'0'..=b'9' | b'@' => true,
        // The full-width ones are EF BC 90 to 99, and A0.
        0xef => matches!(bytes.get(at + 1..at + 3), Some([0xbc, 0x90..=0x99 | 0xa0])),
        _ => false,
    })
}

impl Shadow {
    pub(super) fn new(text: &str) -> Self {
        let mut cells = Vec::with_capacity(text.len());
        for (start, c) in text.char_indices() {
            let end = start + c.len_utf8();
            match plain(c) {
                Some(c) => cells.push(Cell { c, start, end }),
                // What isn't seen belongs to what is before it.
                None => {
                    if let Some(last) = cells.last_mut() {
                        last.end = end;
                    }
                }
            }
        }
        let groups = groups(&cells);
        Self { cells, groups }
    }

    /// Takes out what has been found, so that no other rule sees a part of it. The ranges are
    /// bytes.
    pub(super) fn hide<'r>(&mut self, found: impl Iterator<Item = &'r Range<usize>>) {
        let mut is_changed = false;
        for range in found {
            let start = self.cells.partition_point(|cell| cell.end <= range.start);
            let hidden = self.cells.iter_mut().skip(start);
            for cell in hidden.take_while(|cell| cell.start < range.end) {
                cell.c = HIDDEN;
            }
            is_changed = true;
        }
        if is_changed {
            self.groups = groups(&self.cells);
        }
    }

    /// Runs of digits, in order.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn at(&self, cell: usize) -> Option<char> {
        self.cells.get(cell).map(|cell| cell.c)
    }

    pub(super) fn before(&self, cell: usize) -> Option<char> {
        self.at(cell.checked_sub(1)?)
    }

    /// Bytes of the text that these cells stand for; `cells` is not empty.
    pub(super) fn bytes(&self, cells: Range<usize>) -> Range<usize> {
        let start = self.cells.get(cells.start).map_or(0, |cell| cell.start);
        let last = cells.end.checked_sub(1).and_then(|at| self.cells.get(at));
        start..last.map_or(start, |cell| cell.end)
    }

    /// The digits among these cells.
    pub(super) fn digits(&self, cells: Range<usize>) -> Vec<u8> {
        let cells = self.cells.get(cells).unwrap_or_default();
        let digits = cells.iter().filter_map(|cell| cell.c.to_digit(10));
        digits
            .filter_map(|digit| u8::try_from(digit).ok())
            .collect()
    }

    /// What stands between the group and the one before.
    pub(super) fn gap(&self, group: usize) -> &[Cell] {
        let (Some(this), Some(before)) = (
            self.groups.get(group),
            group.checked_sub(1).and_then(|at| self.groups.get(at)),
        ) else {
            return &[];
        };
        self.cells
            .get(before.range.end..this.range.start)
            .unwrap_or_default()
    }

    /// Whether digits that begin and end here are a number of their own: not a part of a decimal,
    /// of a name with digits in it, or of something longer.
    pub(super) fn is_whole(&self, cells: Range<usize>) -> bool {
        self.starts_whole(cells.start) && self.ends_whole(cells.end)
    }

    pub(super) fn starts_whole(&self, start: usize) -> bool {
        match self.before(start) {
            Some('.') => !self.is_digit(start.checked_sub(2)),
            Some('_') => false,
            // `tel138…` is a number, `a1f138…` is none.
            Some(c) if c.is_ascii_alphanumeric() => {
                let before = self.cells[..start].iter().rev().map(|cell| cell.c);
                let mut name = before.take_while(char::is_ascii_alphanumeric);
                name.all(|c| c.is_ascii_alphabetic())
            }
            _ => true,
        }
    }

    pub(super) fn ends_whole(&self, end: usize) -> bool {
        match self.at(end) {
            Some('.') => !self.is_digit(Some(end + 1)),
            Some('_') => false,
            next => !next.is_some_and(|c| c.is_ascii_alphanumeric()),
        }
    }

    fn is_digit(&self, cell: Option<usize>) -> bool {
        cell.and_then(|cell| self.at(cell))
            .is_some_and(|c| c.is_ascii_digit())
    }
}

/// The plain form of what stands in numbers and addresses; nothing for what isn't seen.
fn plain(c: char) -> Option<char> {
    Some(match c {
        ' '..='~' => c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}' => {
            return None;
        }
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' | '\t' => ' ',
        other => other,
    })
}

fn groups(cells: &[Cell]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut at = 0;
    while at < cells.len() {
        if !cells[at].c.is_ascii_digit() {
            at += 1;
            continue;
        }
        let length = cells[at..]
            .iter()
            .take_while(|cell| cell.c.is_ascii_digit())
            .count();
        let is_joined = groups.last().is_some_and(|last| {
            let gap = &cells[last.range.end..at];
            gap.len() <= GAP_MAX && gap.iter().all(|cell| " -.()/".contains(cell.c))
        });
        groups.push(Group {
            range: at..at + length,
            is_joined,
        });
        at += length;
    }
    groups
}
