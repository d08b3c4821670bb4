//! Statements of our own text alone; every value is bound.

use std::sync::Arc;

use im_core::model::{Family, Kind};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// A statement made of our own text alone.
pub(super) fn own(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

/// The *say* kinds as a list of SQL.
pub(super) fn say_kinds() -> String {
    let say: Vec<String> = Kind::ALL
        .iter()
        .filter(|kind| kind.family() == Family::Say)
        .map(|kind| format!("'{}'", kind.as_str()))
        .collect();
    say.join(", ")
}
