//! Mentions as a store keeps them: JSON, as on the wire.

use im_core::model::{Mentions, UserId, Value};
use im_core::port::PortError;

use crate::error::corrupt;

/// Reads them.
pub(crate) fn read_mentions(text: &str) -> Result<Mentions, PortError> {
    let bad = || corrupt("mentions are none");
    match Value::from_json(text).map_err(|_| bad())? {
        Value::Text(all) if all == "*" => Ok(Mentions::All),
        Value::Array(users) => {
            let ids = users
                .iter()
                .map(|user| user.as_text().and_then(|id| id.parse().ok()));
            ids.collect::<Option<Vec<UserId>>>()
                .map(Mentions::Users)
                .ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}

/// Mentions as the store keeps them: JSON, as on the wire.
pub(crate) fn write_mentions(mentions: &Mentions) -> Option<String> {
    match mentions {
        Mentions::None => None,
        Mentions::All => Some(Value::from("*").to_json()),
        Mentions::Users(users) => {
            let users: Vec<Value> = users.iter().map(|user| user.as_str().into()).collect();
            Some(Value::from(users).to_json())
        }
    }
}
