//! Statements whose values stand in their text: several of them can then go in one trip, and none
//! is kept prepared for each number of rows.
//!
//! Numbers are written as such, and texts as hexadecimal digits, which no setting of the server
//! and no character can end.

use std::fmt::Write as _;

use crate::server::statement::{Arg, ENTRY, Longer};

/// The longest text: the least that a server may be set up to take is 1 MiB
/// (`max_allowed_packet`), and it is read on one thread while the conversations are locked.
const TEXT_MAX: usize = 512 * 1024;

/// Texts that write entries and, with the last one, conversations that got longer, take their
/// stamps and commit; `None` when a part of them that can't be split is too long.
pub(super) fn end(
    stamps: i64,
    entries: &[Vec<Arg>],
    conversations: &[Longer],
) -> Option<Vec<String>> {
    let mut texts = inserts(entries)?;
    // A database that is one of several gives no stamp here, and its column takes no NULL: what
    // follows is not run then.
    let end = format!(
        "UPDATE im_meta SET stamp = LAST_INSERT_ID(IF(shard IS NULL, stamp + {stamps}, NULL)) \
         WHERE one = 1; {}; COMMIT",
        lengthen(&base(stamps), conversations)
    );
    match texts.last_mut() {
        Some(last) if last.len() + end.len() < TEXT_MAX - 2 => {
            last.push_str("; ");
            last.push_str(&end);
        }
        _ => texts.push(end),
    }
    let fit = texts.iter().all(|text| text.len() <= TEXT_MAX);
    fit.then_some(texts)
}

/// Entries, in as many texts as they need.
fn inserts(entries: &[Vec<Arg>]) -> Option<Vec<String>> {
    // What none of them has is left out: each value costs, NULL, too.
    let has = |at: &usize| entries.iter().any(|row| !is_null(&row[*at]));
    let columns: Vec<usize> = (0..ENTRY.columns.len()).filter(has).collect();
    let names: Vec<_> = columns.iter().map(|at| ENTRY.columns[*at].0).collect();
    let head = format!("INSERT INTO im_entry ({}) VALUES ", names.join(","));
    let mut texts: Vec<String> = Vec::new();
    let mut row = String::new();
    for entry in entries {
        row.clear();
        row.push('(');
        list(&mut row, &columns, |text, at| literal(text, &entry[*at]));
        row.push(')');
        match texts.last_mut() {
            Some(text) if text.len() + row.len() < TEXT_MAX => text.push(','),
            _ => texts.push(head.clone()),
        }
        let text = texts.last_mut()?;
        text.push_str(&row);
    }
    Some(texts)
}

const fn is_null(value: &Arg) -> bool {
    matches!(value, Arg::Int(None) | Arg::Text(None))
}

/// What takes stamps and writes conversations that got longer.
pub(super) fn stamp_and_lengthen(stamps: i64, conversations: &[Longer]) -> String {
    let lengthen = lengthen(&base(stamps), conversations);
    format!("{}; {lengthen}", stamp(stamps))
}

/// The last stamp is the statement's own answer, which the next one can ask for.
fn stamp(stamps: i64) -> String {
    format!("UPDATE im_meta SET stamp = LAST_INSERT_ID(stamp + {stamps}) WHERE shard IS NULL")
}

fn base(stamps: i64) -> String {
    format!("LAST_INSERT_ID() - {stamps}")
}

/// Conversations' heads and stamps, these above a base. By one table alone: with the values as a
/// second one, the server first writes down which rows it will change.
pub(super) fn lengthen(base: &str, conversations: &[Longer]) -> String {
    // `INTERVAL` finds a number's place among numbers that rise, by halves.
    let mut rows: Vec<_> = conversations.iter().collect();
    rows.sort_unstable_by_key(|it| it.no);
    let column = |of: fn(&Longer) -> i64| {
        let mut text = String::with_capacity(12 * rows.len());
        list(&mut text, &rows, |text, row| {
            let _ = write!(text, "{}", of(row));
        });
        text
    };
    let (no, head, stamp) = (
        column(|it| it.no),
        column(|it| it.head),
        column(|it| it.stamp),
    );
    format!(
        "UPDATE im_conversation SET head = ELT(INTERVAL(no, {no}), {head}), \
         stamp = {base} + ELT(INTERVAL(no, {no}), {stamp}) WHERE no IN ({no})"
    )
}

fn list<T>(text: &mut String, values: &[T], write: impl Fn(&mut String, &T)) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(text, value);
    }
}

fn literal(text: &mut String, value: &Arg) {
    match value {
        Arg::Int(Some(value)) => {
            let _ = write!(text, "{value}");
        }
        Arg::Text(Some(value)) => hex(text, value),
        _ => text.push_str("NULL"),
    }
}

fn hex(text: &mut String, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push_str("x'");
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    text.extend(
        value
            .bytes()
            .flat_map(|byte| [digit(byte >> 4), digit(byte)]),
    );
    text.push('\'');
}

/// Rows as JSON: a list of lists.
pub(super) fn json(rows: &[Vec<Arg>]) -> String {
    let mut text = String::with_capacity(64 * rows.len() + 2);
    text.push('[');
    list(&mut text, rows, |text, row| {
        text.push('[');
        list(text, row, |text, value| match value {
            Arg::Text(Some(value)) => quote(text, value),
            value => literal(text, value),
        });
        text.push(']');
    });
    text.push(']');
    text
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            '\0'..='\x1f' => {
                let _ = write!(text, "\\u{:04x}", u32::from(char));
            }
            _ => text.push(char),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_ends_a_text() {
        let mut text = String::new();
        hex(&mut text, "a'\\\0é");
        assert_eq!(text, "x'61275c00c3a9'");
    }

    #[test]
    fn rows_are_json() {
        let rows = [vec![Arg::from(1_i64), "a\"\\\n".into(), Arg::Text(None)]];
        assert_eq!(json(&rows), "[[1,\"a\\\"\\\\\\u000a\",NULL]]");
    }

    fn entry(body: &str) -> Vec<Arg> {
        let mut row = vec![Arg::Text(None); ENTRY.columns.len()];
        (row[0], row[8]) = (Arg::from(7_i64), body.into());
        row
    }

    #[test]
    fn many_entries_are_several_texts() {
        let rows: Vec<_> = (0..7).map(|_| entry(&"x".repeat(TEXT_MAX / 8))).collect();
        let texts = inserts(&rows).unwrap();
        assert_eq!(texts.len(), 3);
        for text in &texts {
            assert!(text.len() <= TEXT_MAX);
            assert!(text.starts_with("INSERT INTO im_entry (conv,body) VALUES (7,x'78"));
        }
        let rows = texts.iter().map(|text| text.matches("(7,x'").count());
        assert_eq!(rows.collect::<Vec<_>>(), [3, 3, 1]);
    }

    #[test]
    fn what_is_too_long_goes_another_way() {
        let row = entry(&"x".repeat(TEXT_MAX / 2));
        let longer = Longer {
            no: 1,
            head: 1,
            stamp: 1,
        };
        assert!(end(1, &[row], &[longer]).is_none());
        for few in [&[][..], &[entry("x")]] {
            let texts = end(1, few, &[longer]).unwrap();
            assert!(
                texts.len() == 1 && texts[0].ends_with("; COMMIT"),
                "{texts:?}"
            );
        }
    }
}
