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

/// What writes entries and conversations that got longer, takes their stamps and commits; `None`
/// when that is too long.
pub(super) fn end(stamps: i64, entries: &[Vec<Arg>], conversations: &[Longer]) -> Option<String> {
    let mut text = String::with_capacity(512 * entries.len() + 64 * conversations.len() + 512);
    if !entries.is_empty() {
        let _ = write!(text, "INSERT INTO im_entry ({}) VALUES ", ENTRY.names());
        list(&mut text, entries, |text, row| {
            text.push('(');
            list(text, row, literal);
            text.push(')');
        });
        text.push_str("; ");
    }
    // A database that is one of several gives no stamp here, and its column takes no NULL: what
    // follows is not run then.
    let _ = write!(
        text,
        "UPDATE im_meta SET stamp = LAST_INSERT_ID(IF(shard IS NULL, stamp + {stamps}, NULL)) \
         WHERE one = 1; "
    );
    text.push_str(&lengthen(&base(stamps), conversations));
    text.push_str("; COMMIT");
    (text.len() <= TEXT_MAX).then_some(text)
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

    #[test]
    fn what_is_too_long_goes_another_way() {
        let row = vec![Arg::from("x".repeat(TEXT_MAX / 2).as_str())];
        let longer = Longer {
            no: 1,
            head: 1,
            stamp: 1,
        };
        assert!(end(1, &[row], &[longer]).is_none());
        assert!(end(1, &[], &[longer]).is_some_and(|text| text.ends_with("; COMMIT")));
    }
}
