//! The logs: reading a file, and what of it people would send.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use imkit::core::model::UserId;

use crate::Result;

/// Who sends the lines that no member said: joins, notices. A nickname has no space.
pub(crate) const NARRATOR: &str = "the channel";
/// The longest title that a group may have.
const TITLE_CHARS_MAX: usize = 200;
/// A stamp that goes back by no more than this many minutes is taken for disorder.
const DISORDER: i64 = 60;
/// One that goes back further is later than the one before by half a day or a whole one: there are
/// logs by clocks of twelve hours.
const HALF_DAY: i64 = 12 * 60;
/// What is shown of a row that is wrong.
const SHOWN_CHARS: usize = 40;

/// A line to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) author: UserId,
    pub(crate) text: String,
    /// How long after the log's first stamp. Lines of one minute are spread over it.
    pub(crate) due: Duration,
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
    /// When the file can't be read, when a row of it is of no known form, or none has a text. They
    /// name the file, and the line.
    pub(crate) fn read(number: usize, path: &Path, chars_max: usize) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path
            .file_stem()
            .map_or_else(|| "log".into(), |name| name.to_string_lossy());
        let title = name.chars().take(TITLE_CHARS_MAX).collect();
        let log = Self::parse(number, title, &bytes, chars_max);
        log.map_err(|wrong| format!("{}:{wrong}", path.display()).into())
    }

    fn parse(number: usize, title: String, bytes: &[u8], chars_max: usize) -> Result<Self, String> {
        let rows: Vec<(String, bool)> = bytes
            .split(|byte| *byte == b'\n')
            .map(|row| mended(row.strip_suffix(b"\r").unwrap_or(row)))
            .collect();
        for (at, (row, _)) in (1..).zip(&rows) {
            check(row).map_err(|wrong| {
                let shown: String = row.chars().take(SHOWN_CHARS).collect();
                format!("{at}: {wrong}: {shown:?}")
            })?;
        }
        let speakers: BTreeSet<&str> = rows.iter().filter_map(|(row, _)| said_by(row)).collect();
        let narrator = UserId::new(NARRATOR).map_err(|error| error.to_string())?;
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
                due: Duration::from_secs(minute * 60),
            }));
        }
        if lines.is_empty() {
            return Err("1: there is no line with a text in it".to_owned());
        }
        spread(&mut lines);
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

/// Minutes since the first stamp, over midnights and noons; never back.
#[derive(Debug, Default)]
struct Clock {
    last: Option<i64>,
    passed: u64,
}

impl Clock {
    fn tick(&mut self, stamp: Option<i64>) -> u64 {
        let Some(stamp) = stamp else {
            return self.passed;
        };
        let mut step = stamp - self.last.unwrap_or(stamp);
        if (-DISORDER..0).contains(&step) {
            return self.passed;
        }
        while step < 0 {
            step += HALF_DAY;
        }
        self.last = Some(stamp);
        self.passed += step.unsigned_abs();
        self.passed
    }
}

/// Lines of one minute come at equal distances within it.
fn spread(lines: &mut [Line]) {
    for minute in lines.chunk_by_mut(|a, b| a.due == b.due) {
        let count = u32::try_from(minute.len()).unwrap_or(u32::MAX);
        for (place, line) in (0..).zip(minute) {
            line.due += Duration::from_secs(60) / count * place;
        }
    }
}

/// Whether a row is of a form that is known.
fn check(row: &str) -> Result<(), &'static str> {
    let cut = row.strip_prefix('[').and_then(|row| row.split_once(']'));
    let is_stamped = cut.map(|(inner, _)| minutes(inner).is_some());
    match is_stamped {
        Some(true) => Ok(()),
        Some(false) => Err("no time of day in the brackets"),
        None if row.is_empty() || said(row).0.is_some() || row.starts_with("===") => Ok(()),
        None => Err("not a row of a chat log, which begins with [HH:MM], <nick>, * or ==="),
    }
}

/// `HH:MM`.
fn minutes(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: i64| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number)?;
        (0..below).contains(&number).then_some(number)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
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
                   [00:01] <rob> ok\n[00:01] <ann> \n=== ann [x@y] has left\n\
                   [00:01] -odd- notice\n";
        let log = Log::parse(0, "t".to_owned(), log.as_bytes(), 100).unwrap();
        let lines: Vec<_> = log
            .lines
            .iter()
            .map(|line| (line.author.as_str(), line.text.as_str(), line.due.as_secs()))
            .collect();
        let expected = [
            ("ann", "hi", 0),
            (NARRATOR, "=== bob is now known as rob", 30),
            ("ann", "* ann waves", 60),
            ("rob", "ok", 180),
            ("ann", "=== ann [x@y] has left", 200),
            (NARRATOR, "-odd- notice", 220),
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

    #[test]
    fn the_clock_goes_over_midnight_and_over_the_noon_of_twelve_hours_and_never_back() {
        let passed = |stamps: &[&str]| -> Vec<u64> {
            let mut clock = Clock::default();
            let stamps = stamps.iter().map(|stamp| minutes(stamp));
            stamps.map(|stamp| clock.tick(stamp)).collect()
        };
        assert_eq!(passed(&["23:58", "23:59", "00:01"]), [0, 1, 3]);
        assert_eq!(
            passed(&["12:58", "01:02", "12:59", "01:00"]),
            [0, 4, 721, 722]
        );
        assert_eq!(passed(&["10:05", "10:03", "10:06"]), [0, 0, 1]);
    }

    #[test]
    fn a_file_of_another_form_is_refused_at_its_line() {
        let parse = |text: &[u8]| Log::parse(0, "t".to_owned(), text, 100).map(|_| ());
        for (text, line) in [
            (&b""[..], "1: there is no line"),
            (b"\n\n", "1: there is no line"),
            (b"[10:00] <a> \n", "1: there is no line"),
            (b"[10:00] <a> x\nname,age\n", "2: not a row"),
            (b"\x89PNG\r\n\x1a\n", "1: not a row"),
            (b"[10:00] <a> x\n\n[24:00] <a> x", "3: no time of day"),
            (b"[+1:00] <a> x", "1: no time of day"),
            (b"{\"a\": 1}", "1: not a row"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(refused.starts_with(line), "{refused}");
        }
        assert_eq!(parse(b"<a> x"), Ok(()));
    }
}
