//! The text of every statement that is put together, made once in a process.
//!
//! Statements over a varying number of rows have a text for each power of two. One prepared
//! statement for each size is enough then; what is left over is bound to NULL, and the statement
//! drops those rows. Only plain `?` placeholders where rows are many: sqlx looks numbered ones up
//! by name, which costs more than the insert itself.

use std::sync::LazyLock;

use sqlx::SqlStr;

use super::rows::{CONVERSATION, ENTRY, MEMBER, PACKED};
use crate::mentions::mentions_sql;
use crate::text::{UNREAD_MAX, own, say_kinds};

/// The most rows of one statement: 256 rows of 13 columns stay below SQLite's 32,766 parameters.
pub(super) const ROWS_MAX: usize = 256;

/// Users asked for in one statement.
pub(super) const USERS_MAX: usize = 512;

/// A statement in every size.
#[derive(Debug)]
pub(super) struct Sized {
    sizes: Vec<SqlStr>,
}

impl Sized {
    fn new(max: usize, text: impl Fn(usize) -> String) -> Self {
        let sizes = (0..=max.ilog2()).map(|power| own(text(1 << power)));
        Self {
            sizes: sizes.collect(),
        }
    }

    /// `before` and `after` stand around `VALUES (?, …), …`.
    fn values(before: &str, columns: usize, after: &str) -> Self {
        let row = row(columns);
        Self::new(ROWS_MAX, |rows| {
            let rows = vec![row.as_str(); rows].join(",");
            format!("{before} VALUES {rows} {after}")
        })
    }

    /// `before` and `after` stand around `IN (?, …)`.
    fn among(max: usize, before: &str, after: &str) -> Self {
        Self::new(max, |count| {
            format!("{before} IN ({}) {after}", places(count))
        })
    }

    /// The smallest text that takes so many, and how many it takes.
    pub(super) fn of(&self, count: usize) -> (SqlStr, usize) {
        let power = count.next_power_of_two().ilog2() as usize;
        let power = power.min(self.sizes.len() - 1);
        (self.sizes[power].clone(), 1 << power)
    }
}

/// An insert of exactly so many rows: a row of NULLs would be one.
#[derive(Debug)]
pub(super) struct Exact {
    into: &'static str,
    row: String,
    whole: SqlStr,
}

impl Exact {
    fn new(into: &'static str, columns: usize) -> Self {
        let row = row(columns);
        let whole = Self::text(into, &row, ROWS_MAX);
        Self { into, row, whole }
    }

    fn text(into: &str, row: &str, rows: usize) -> SqlStr {
        own(format!("{into} VALUES {}", vec![row; rows].join(",")))
    }

    /// The text for so many rows, and whether it is one that recurs: worth a place in the
    /// statement cache.
    pub(super) fn of(&self, rows: usize) -> (SqlStr, bool) {
        match rows {
            ROWS_MAX => (self.whole.clone(), true),
            _ => (Self::text(self.into, &self.row, rows), false),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Texts {
    /// Entries in commit order.
    pub(super) insert: Sized,
    /// Earlier sends under (conversation, sender, `cm_id`), as far as they are indexed.
    pub(super) probe: Sized,
    /// The largest `cm_id` of (conversation, sender), as far as it is indexed.
    pub(super) newest: Sized,
    /// Conversations by id.
    pub(super) conversations: Sized,
    /// A conversation by its number.
    pub(super) conversation: SqlStr,
    /// Conversations that changed after a stamp, in that order.
    pub(super) changed: SqlStr,
    /// Of a conversation, some members' rows.
    pub(super) members: Sized,
    /// A conversation, and of some users those who are or were members.
    pub(super) view: Sized,
    /// Those who are members now, by user above one.
    pub(super) members_after: SqlStr,
    /// A user's conversations and places in them.
    pub(super) list: SqlStr,
    /// Whole rows of members.
    pub(super) write_members: Exact,
    /// A log between two places, the lowest first; one value.
    pub(super) log_up: SqlStr,
    /// The same, the highest first.
    pub(super) log_down: SqlStr,
    /// The entry under (conversation, sender, `cm_id`), as far as it is indexed.
    pub(super) sent: SqlStr,
    /// The entry under (conversation, sender) with the largest `cm_id`, as far as it is indexed.
    pub(super) newest_entry: SqlStr,
    /// The same as `sent`, indexed or not.
    pub(super) sent_anywhere: SqlStr,
    /// What the indexes have not, after an `n`.
    pub(super) tail: SqlStr,
    /// *Say* entries of others, to [`UNREAD_MAX`], and those of them that mention a user.
    pub(super) count_say: SqlStr,
    /// The indexes.
    pub(super) index_seq: Exact,
    pub(super) index_cm: Exact,
    /// Entries whose words are not in the full-text index, after the last that are.
    pub(super) untexted: SqlStr,
    /// Words of entries that still say something.
    pub(super) text: Sized,
}

pub(super) static TEXTS: LazyLock<Texts> = LazyLock::new(|| Texts {
    insert: Sized::values(
        "INSERT INTO im_entry (n, conv, seq, id, sender, at, cm_id, digest, kind, body, \
         reply_to, mentions, expires_at) SELECT * FROM (",
        13,
        ") WHERE column1 IS NOT NULL",
    ),
    probe: Sized::values(
        "SELECT f.conv, e.seq, e.id, e.sender, e.at, e.cm_id, e.digest, e.kind, '{}', \
         NULL, NULL, NULL, c.id FROM (",
        3,
        ") p JOIN im_entry_cm f ON f.conv = p.column1 AND f.sender = p.column2 \
         AND f.cm_id = p.column3 JOIN im_entry e ON e.n = f.n \
         JOIN im_conversation c ON c.no = f.conv",
    ),
    newest: Sized::values(
        "SELECT p.column1, p.column2, (SELECT max(f.cm_id) FROM im_entry_cm f \
         WHERE f.conv = p.column1 AND f.sender = p.column2) FROM (",
        2,
        ") p WHERE p.column1 IS NOT NULL",
    ),
    conversations: Sized::among(
        ROWS_MAX,
        &format!("SELECT {CONVERSATION} FROM im_conversation c WHERE c.id"),
        "",
    ),
    conversation: own(format!(
        "SELECT {CONVERSATION} FROM im_conversation c WHERE c.no = ?"
    )),
    changed: own(format!(
        "SELECT {CONVERSATION} FROM im_conversation c WHERE c.stamp > ? ORDER BY c.stamp LIMIT ?"
    )),
    members: Sized::among(
        ROWS_MAX,
        &format!("SELECT {MEMBER} FROM im_member m WHERE m.conv = ? AND m.user_id"),
        "",
    ),
    // One statement, so that the version and the members are of one moment.
    view: Sized::among(
        USERS_MAX,
        &format!(
            "SELECT {CONVERSATION}, {MEMBER} FROM im_conversation c LEFT JOIN im_member m \
             ON m.conv = c.no AND m.user_id"
        ),
        "WHERE c.id = ?",
    ),
    members_after: own(format!(
        "SELECT {MEMBER} FROM im_member m \
         WHERE m.conv = (SELECT no FROM im_conversation WHERE id = ?) \
         AND m.user_id > ? AND m.left_seq IS NULL ORDER BY m.user_id LIMIT ?"
    )),
    list: own(format!(
        "SELECT {CONVERSATION}, {MEMBER} FROM im_member m JOIN im_conversation c ON c.no = m.conv \
         WHERE m.user_id = ?"
    )),
    write_members: Exact::new(
        "INSERT OR REPLACE INTO im_member (conv, user_id, role, first_seq, left_seq, version, \
         muted_until, delivered_seq, read_seq, stamp)",
        10,
    ),
    log_up: log("ASC"),
    log_down: log("DESC"),
    sent: own(format!(
        "SELECT {ENTRY} FROM im_entry_cm f JOIN im_entry e ON e.n = f.n \
         WHERE f.conv = ? AND f.sender = ? AND f.cm_id = ?"
    )),
    newest_entry: own(format!(
        "SELECT {ENTRY} FROM im_entry_cm f JOIN im_entry e ON e.n = f.n \
         WHERE f.conv = ? AND f.sender = ? ORDER BY f.cm_id DESC LIMIT 1"
    )),
    sent_anywhere: own(format!(
        "SELECT {ENTRY} FROM im_entry e WHERE e.n = (SELECT n FROM im_entry_cm \
         WHERE conv = ?1 AND sender = ?2 AND cm_id = ?3) UNION ALL \
         SELECT {ENTRY} FROM im_entry e WHERE e.n > (SELECT merged FROM im_meta) \
         AND e.conv = ?1 AND e.sender = ?2 AND e.cm_id = ?3 LIMIT 1"
    )),
    tail: own(format!(
        "SELECT e.n, e.conv, c.id, {ENTRY} \
         FROM im_entry e JOIN im_conversation c ON c.no = e.conv \
         WHERE e.n > ? AND e.seq > c.head ORDER BY e.n"
    )),
    count_say: count_say(),
    // Rows that are there already are left: a merge whose outcome was unknown is done again.
    index_seq: Exact::new("INSERT OR IGNORE INTO im_entry_seq (conv, seq, n)", 3),
    index_cm: Exact::new(
        "INSERT OR IGNORE INTO im_entry_cm (conv, sender, cm_id, n)",
        4,
    ),
    untexted: own(
        "SELECT e.n, c.id, e.kind, e.body FROM im_entry e JOIN im_conversation c ON c.no = e.conv \
         WHERE e.n > (SELECT texted FROM im_meta) ORDER BY e.n LIMIT ?"
            .to_owned(),
    ),
    text: Sized::values(
        "INSERT INTO im_text (rowid, words) SELECT e.n, t.column2 FROM (",
        2,
        ") t JOIN im_entry e ON e.n = t.column1 AND e.kind <> 'erased'",
    ),
});

/// A read of entries as one value: a row each would cost more in the driver than in SQLite.
fn log(order: &str) -> SqlStr {
    own(format!(
        "SELECT group_concat(line, char(30)) FROM (SELECT {PACKED} AS line \
         FROM im_entry_seq s JOIN im_entry e ON e.n = s.n \
         WHERE s.conv = ? AND s.seq > ? AND s.seq < ? ORDER BY s.seq {order} LIMIT ?)"
    ))
}

fn count_say() -> SqlStr {
    own(format!(
        "SELECT count(*), count(CASE WHEN mentioned THEN 1 END) FROM (SELECT {} AS mentioned \
         FROM im_entry_seq s JOIN im_entry e ON e.n = s.n \
         WHERE s.conv = ? AND s.seq > ? AND s.seq <= ? AND s.seq < ? AND e.sender <> ? \
         AND e.kind IN ({}) ORDER BY s.seq LIMIT {UNREAD_MAX})",
        mentions_sql(|what, of| format!("instr({of}, {what})")),
        say_kinds()
    ))
}

/// `?, ?, …`
fn places(count: usize) -> String {
    vec!["?"; count].join(",")
}

fn row(columns: usize) -> String {
    format!("({})", places(columns))
}
