//! What the texts of all dialects share.

use std::sync::Arc;

use im_core::model::{Family, Kind};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// Where counting *say* entries for `unread` ends.
pub(crate) const UNREAD_MAX: usize = 999;

/// A statement made of our own text alone; every value is bound. Shared: a text of another kind
/// would be copied with each use.
pub(crate) fn own(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

/// The *say* kinds as a list of SQL.
pub(crate) fn say_kinds() -> String {
    let say: Vec<String> = Kind::ALL
        .iter()
        .filter(|kind| kind.family() == Family::Say)
        .map(|kind| format!("'{}'", kind.as_str()))
        .collect();
    say.join(",")
}
