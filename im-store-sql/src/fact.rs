//! Facts as every database holds them.

use im_core::model::{Fact, FactKey, FactTable, Timestamp};
use im_core::port::PortError;

use crate::error::corrupt;

/// A fact of what its row holds.
pub(crate) fn read(
    kind: &str,
    owner: String,
    key: String,
    value: String,
    at: Option<i64>,
) -> Result<Fact, PortError> {
    let table = FactTable::parse(kind).ok_or_else(|| corrupt("a kind of facts is none"))?;
    Ok(Fact {
        key: FactKey { table, owner, key },
        value,
        at: at.map(Timestamp),
    })
}
