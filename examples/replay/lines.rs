//! The logs: reading a file, and what of it people would send.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use imkit::core::model::UserId;

use crate::Result;

/// Who sends the lines that no member said: joins, notices. A nickname has no space.
pub(crate) const NARRATOR: &str = "the channel";
/// The longest title that a group may have.
const TITLE_CHARS_MAX: usize = 200;
/// A stamp that goes back by more than this many minutes is the next day's.
const NEXT_DAY: i64 = 12 * 60;
const DAY: i64 = 24 * 60;

/// A line to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) author: UserId,
    pub(crate) text: String,
    /// Minutes since the log's first stamp.
    pub(crate) minute: u32,
}

/// What was not sent as it stands in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    /// Lines without a text: nobody can send them.
    pub(crate) empty: u64,
    /// Lines longer than a message may be: cut into several.
    pub(crate) long: u64,
    /// Lines with bytes that are no UTF-8, or with U+0000: these became U+FFFD.
    pub(crate) mended: u64,
}

/// A log: a group, and what is said in it.
#[derive(Debug)]
pub(crate) struct Log {
    /// Its place among the logs.
    pub(crate) number: usize,
    pub(crate) title: String,
    /// Everybody who says something, the narrator first.
    pub(crate) members: Vec<UserId>,
    pub(crate) lines: Vec<Line>,
    pub(crate) odd: Oddities,
}

impl Log {
    /// Reads a file; texts longer than `chars_max` become several lines.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(crate) fn read(number: usize, path: &Path, chars_max: usize) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path
            .file_stem()
            .map_or_else(|| "log".into(), |name| name.to_string_lossy());
        let title = name.chars().take(TITLE_CHARS_MAX).collect();
        Self::parse(number, title, &bytes, chars_max)
    }

    fn parse(number: usize, title: String, bytes: &[u8], chars_max: usize) -> Result<Self> {
        let rows: Vec<(String, bool)> = bytes
            .split(|byte| *byte == b'\n')
            .map(|row| mended(row.strip_suffix(b"\r").unwrap_or(row)))
            .collect();
        let speakers: BTreeSet<&str> = rows.iter().filter_map(|(row, _)| said_by(row)).collect();
        let narrator = UserId::new(NARRATOR)?;
        let (mut odd, mut lines, mut clock) = (Oddities::default(), Vec::new(), Clock::default());
        for (row, was_mended) in &rows {
            let (stamp, rest) = stamp(row);
            let minute = clock.tick(stamp);
            let (nick, text) = said(rest);
            if text.trim().is_empty() {
                // The end of the file is no line that somebody forgot to fill.
                odd.empty += u64::from(!row.is_empty());
                continue;
            }
            odd.mended += u64::from(*was_mended);
            let nick = nick.filter(|nick| speakers.contains(nick));
            let author = nick.and_then(|nick| UserId::new(nick).ok());
            let author = author.unwrap_or_else(|| narrator.clone());
            let pieces = pieces(text, chars_max);
            odd.long += u64::from(pieces.len() > 1);
            lines.extend(pieces.into_iter().map(|text| Line {
                author: author.clone(),
                text,
                minute,
            }));
        }
        let authors: BTreeSet<&UserId> = lines.iter().map(|line| &line.author).collect();
        let others = authors.into_iter().filter(|author| **author != narrator);
        let members = std::iter::once(&narrator).chain(others).cloned().collect();
        Ok(Self {
            number,
            title,
            members,
            lines,
            odd,
        })
    }
}

/// Minutes since the first stamp, over midnights.
#[derive(Debug, Default)]
struct Clock {
    first: Option<i64>,
    last: i64,
    days: i64,
}

impl Clock {
    fn tick(&mut self, stamp: Option<i64>) -> u32 {
        if let Some(stamp) = stamp {
            if self.first.is_some() && stamp < self.last - NEXT_DAY {
                self.days += 1;
            }
            self.last = stamp;
            self.first.get_or_insert(stamp);
        }
        let minute = self.days * DAY + self.last - self.first.unwrap_or(0);
        u32::try_from(minute).unwrap_or(0)
    }
}

/// Text without what no message can hold, and whether there was any.
fn mended(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (text.to_owned(), false),
        _ => {
            let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
            (text, true)
        }
    }
}

/// `[HH:MM] `, in minutes, and what follows.
fn stamp(row: &str) -> (Option<i64>, &str) {
    let minutes = |inner: &str| {
        let (hour, minute) = inner.split_once(':')?;
        Some(hour.parse::<i64>().ok()? * 60 + minute.parse::<i64>().ok()?)
    };
    let cut = row.strip_prefix('[').and_then(|row| row.split_once(']'));
    match cut.and_then(|(inner, rest)| Some((minutes(inner)?, rest))) {
        Some((minutes, rest)) => (Some(minutes), rest.strip_prefix(' ').unwrap_or(rest)),
        None => (None, row),
    }
}

/// Whose line it is, as far as it says, and the text of it.
fn said(rest: &str) -> (Option<&str>, &str) {
    let first_word = |text: &'_ str| text.find(' ').unwrap_or(text.len());
    if let Some((nick, text)) = rest.strip_prefix('<').and_then(|row| row.split_once('>')) {
        return (Some(nick), text.strip_prefix(' ').unwrap_or(text));
    }
    for sign in ["* ", "=== "] {
        if let Some(text) = rest.strip_prefix(sign) {
            return (Some(&text[..first_word(text)]), rest);
        }
    }
    (None, rest)
}

/// The nickname that speaks or acts in a row. A `===` row tells of somebody who may never speak.
fn said_by(row: &str) -> Option<&str> {
    let rest = stamp(row).1;
    said(rest).0.filter(|_| !rest.starts_with("==="))
}

/// A text in pieces that a message can hold.
fn pieces(text: &str, chars_max: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let pieces = chars.chunks(chars_max.max(1));
    pieces.map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_with_a_text_is_a_line_of_who_said_it() {
        let log = "[23:58] <ann> hi\n=== bob is now known as rob\n[23:59] * ann waves\n\
                   [00:01] <rob> ok\n[00:01] <ann> \n=== ann [x@y] has left\nodd\n";
        let log = Log::parse(0, "t".to_owned(), log.as_bytes(), 100).unwrap();
        let lines: Vec<_> = log
            .lines
            .iter()
            .map(|line| (line.author.as_str(), line.text.as_str(), line.minute))
            .collect();
        let expected = [
            ("ann", "hi", 0),
            (NARRATOR, "=== bob is now known as rob", 0),
            ("ann", "* ann waves", 1),
            ("rob", "ok", 3),
            ("ann", "=== ann [x@y] has left", 3),
            (NARRATOR, "odd", 3),
        ];
        assert_eq!(lines, expected);
        let members: Vec<_> = log.members.iter().map(UserId::as_str).collect();
        assert_eq!(members, [NARRATOR, "ann", "rob"]);
        assert_eq!(log.odd.empty, 1);
    }

    #[test]
    fn what_no_message_can_hold_is_cut_or_mended_and_counted() {
        let log = Log::parse(0, "t".to_owned(), b"<a> xxxyyyz\n<b> \xff\0\n", 3).unwrap();
        let texts: Vec<_> = log.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["xxx", "yyy", "z", "\u{fffd}\u{fffd}"]);
        assert_eq!((log.odd.long, log.odd.mended), (1, 1));
    }
}
