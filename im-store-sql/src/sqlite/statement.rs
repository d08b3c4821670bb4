//! Statements of many rows, each text made and prepared once.
//!
//! Rows go in padded statements of 1, 2, 4 … rows: parameters that are not bound are NULL, and
//! the statement drops those rows. Only plain `?` placeholders: sqlx looks numbered ones up by
//! name, which costs more than the insert itself.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The most rows of one statement: 256 rows of 13 columns stay below SQLite's 32,766 parameters.
pub(super) const ROWS_MAX: usize = 256;

/// One statement in every size.
#[derive(Debug)]
pub(super) struct Padded {
    sizes: Vec<SqlStr>,
}

impl Padded {
    /// `before` and `after` stand around `VALUES (…), …`.
    pub(super) fn new(before: &str, columns: usize, after: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let sizes = (0..=ROWS_MAX.ilog2())
            .map(|power| {
                let rows = vec![row.as_str(); 1 << power].join(",");
                // Made of our own text alone; every value is bound.
                AssertSqlSafe(format!("{before} VALUES {rows} {after}")).into_sql_str()
            })
            .collect();
        Self { sizes }
    }

    /// The smallest statement that takes so many rows (at most [`ROWS_MAX`]).
    pub(super) fn of(&self, rows: usize) -> SqlStr {
        let power = rows.next_power_of_two().ilog2() as usize;
        self.sizes[power.min(self.sizes.len() - 1)].clone()
    }
}

/// A statement made of our own text alone.
pub(super) fn own(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// `?, ?, …`
pub(super) fn places(count: usize) -> String {
    vec!["?"; count].join(",")
}
