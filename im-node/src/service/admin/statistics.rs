//! The counts of days.

use std::collections::BTreeMap;

use im_core::frame::Failure;
use im_core::model::{FactTable, Value};
use im_core::port::FactQuery;
use im_core::rule::Power;

use crate::moderation::{Day, date, day_key, day_of, read_count};
use crate::service::params::Params;
use crate::service::table::Call;

/// Days in one call.
const DAYS_MAX: u64 = 92;
/// Rows read in one call: one of each start of a node and day.
const ROWS_MAX: usize = 5_000;

/// `admin.stats`: what happened on each of the last days, as the nodes have written it.
pub(in crate::service) async fn statistics(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Statistics).await?;
    let days = params.opt_count("days")?.unwrap_or(30).clamp(1, DAYS_MAX);
    // What this node has counted so far is of today too.
    call.inner.flush_counts().await;
    let today = day_of(call.inner.clock.timestamp());
    let first = today - i64::try_from(days).unwrap_or(1) + 1;
    let query = FactQuery::Of {
        table: FactTable::Count,
        owner: String::new(),
        after: Some(day_key(first)),
        below: Some(day_key(today + 1)),
        limit: ROWS_MAX,
    };
    let mut counted: BTreeMap<i64, Day> = BTreeMap::new();
    for (number, row) in call
        .inner
        .facts(&query)
        .await?
        .iter()
        .filter_map(read_count)
    {
        let day = counted.entry(number).or_default();
        day.messages += row.messages;
        day.groups += row.groups;
        day.seen.join(&row.seen);
    }
    let line = |(number, day): (&i64, &Day)| {
        Value::object([
            ("day", Value::from(date(*number))),
            ("messages", day.messages.into()),
            ("groups", day.groups.into()),
            ("users", day.seen.count().into()),
        ])
    };
    let days: Vec<Value> = counted.iter().map(line).collect();
    Ok(Value::object([("days", Value::from(days))]))
}
