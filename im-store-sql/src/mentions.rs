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

/// Whether an entry `e` mentions a user, in SQL; `find` says whether the text in its first place
/// is in the other one. Its two values are [`marks`].
pub(crate) fn mentions_sql(find: impl Fn(&str, &str) -> String) -> String {
    let (first, later) = (find("?", "e.mentions"), find("?", "e.mentions"));
    format!("(e.mentions = '\"*\"' OR {first} > 0 OR {later} > 0)")
}

/// What stands in the mentions of a user: their id as the first of the array, and as a later one.
/// In a text a quote has a backslash before it, so nothing else looks like this.
pub(crate) fn marks(user: &UserId) -> [String; 2] {
    let id = Value::from(user.as_str()).to_json();
    [format!("[{id}"), format!(",{id}")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_mentioned_is_found() {
        let ids = [
            "a", "a\"", "x\"a", "x,\"a", "[\"a", "\\", "a\\", "é", "aa", "*", " a",
        ];
        let user = |id: &str| UserId::new(id).unwrap();
        for first in ids {
            for second in ids {
                let mentions = Mentions::Users(vec![user(first), user(second)]);
                let text = write_mentions(&mentions).unwrap();
                for id in ids {
                    let found = marks(&user(id)).iter().any(|mark| text.contains(mark));
                    assert_eq!(found, mentions.includes(&user(id)), "{id} in {text}");
                }
            }
        }
    }
}
