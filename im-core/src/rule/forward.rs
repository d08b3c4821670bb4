//! Forwarding: what is said in one conversation, said again in another by who could read it.
//!
//! Who said it first, and when, is written by the server alone: in the field `forwarded` of the
//! body, or in the items of a `merged` one.

use super::body::{BodyFault, Fields, NAME_CHARS_MAX, check_body};
use crate::frame::Limits;
use crate::model::{Body, Entry, Family, Kind, Value};

/// The most messages in one that is merged.
pub const ITEMS_MAX: usize = 100;
/// How deep merged messages hold merged ones.
pub const DEPTH_MAX: usize = 3;
/// The field that says who said it first.
const FORWARDED: &str = "forwarded";

/// Refuses what only the server says of a message: that it was forwarded, and from whom.
///
/// # Errors
/// [`BodyFault::Server`] for a merged body, a fault of the field for one that is `forwarded`.
pub fn check_own(body: &Body) -> Result<(), BodyFault> {
    if body.kind() == Kind::Merged {
        return Err(BodyFault::Server);
    }
    // Few bodies name it at all, and only those are read.
    if body.json().contains(FORWARDED) && body.value().get(FORWARDED).is_some() {
        let value = Value::Null;
        let fields = Fields {
            value: &value,
            path: "body",
        };
        return Err(fields.error(FORWARDED, "only the server writes it"));
    }
    Ok(())
}

/// Whether a message of this kind can be said again elsewhere.
#[must_use]
pub const fn can_be_forwarded(kind: Kind) -> bool {
    // A form is answered where it stands.
    matches!(kind.family(), Family::Say) && !matches!(kind, Kind::Form | Kind::FormAnswer)
}

/// A message as it is said again: `text` is what it says now, if it was edited. Of one that was
/// forwarded already, who said it first stays.
#[must_use]
pub fn forwarded(entry: &Entry, text: Option<&str>) -> Body {
    let mut value = now(entry, text);
    let first = value.take(FORWARDED);
    let first = first.unwrap_or_else(|| {
        Value::object([
            ("at", Value::from(entry.at.0)),
            ("from", entry.from.as_str().into()),
        ])
    });
    let Value::Object(fields) = value else {
        return entry.body.clone();
    };
    let fields = fields.into_iter().chain([(FORWARDED.into(), first)]);
    Body::new(&Value::object(fields)).unwrap_or_else(|_| entry.body.clone())
}

/// A message as an item of a merged one.
#[must_use]
pub fn item(entry: &Entry, text: Option<&str>) -> Value {
    Value::object([
        ("at", Value::from(entry.at.0)),
        ("body", now(entry, text)),
        ("from", entry.from.as_str().into()),
    ])
}

/// Who said a forwarded message first, and when: `{at, from}`.
#[must_use]
pub fn first_said(body: &Body) -> Option<Value> {
    body.value().take(FORWARDED)
}

fn now(entry: &Entry, text: Option<&str>) -> Value {
    let value = entry.body.value();
    let (Some(text), Value::Object(fields)) = (text, &value) else {
        return value;
    };
    let others = fields.iter().filter(|(field, _)| field != "text").cloned();
    Value::object(others.chain([("text".into(), Value::from(text.to_owned()))]))
}

/// Checks a merged body: 1 to [`ITEMS_MAX`] items, each with its sender, its time, and a body that
/// can be forwarded; merged ones at most [`DEPTH_MAX`] deep.
///
/// # Errors
/// The first fault, as of [`check_body`].
pub(super) fn merged(value: &Value, limits: &Limits) -> Result<(), BodyFault> {
    check_merged(value, limits, DEPTH_MAX)
}

fn check_merged(value: &Value, limits: &Limits, depth: usize) -> Result<(), BodyFault> {
    let path = "body";
    let fields = Fields { value, path };
    if depth == 0 {
        return Err(fields.error("items", "hold merged messages too deep"));
    }
    fields.opt_text("title", 1..=NAME_CHARS_MAX)?;
    let Value::Array(items) = fields.need("items")? else {
        return Err(fields.error("items", "must be an array"));
    };
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(fields.error("items", "must have 1 to 100 items"));
    }
    for value in items {
        let path = "body.items";
        let item = Fields { value, path };
        if !matches!(value, Value::Object(_)) {
            return Err(fields.error("items", "must be an array of objects"));
        }
        item.text("from", 1..=NAME_CHARS_MAX)?;
        item.count("at")?;
        let body = item.need("body")?;
        let made = Body::new(body).map_err(|error| item.error("body", &error.to_string()))?;
        match made.kind() {
            Kind::Merged => check_merged(body, limits, depth - 1)?,
            kind if can_be_forwarded(kind) => check_body(&made, limits)?,
            _ => return Err(item.error("body", "is none that can be forwarded")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ConversationId, Mentions, MessageId, NewEntry, Seq, Timestamp, UserId};

    fn entry(body: Body) -> Entry {
        Entry {
            conv: ConversationId::new("g").unwrap(),
            seq: Seq(1),
            new: NewEntry {
                id: MessageId(1),
                from: UserId::new("ana").unwrap(),
                at: Timestamp(7),
                cm_id: None,
                digest: 0,
                body,
                reply_to: None,
                mentions: Mentions::None,
                expires_at: None,
            },
        }
    }

    fn merge(bodies: &[Body]) -> Body {
        let items: Vec<Value> = bodies
            .iter()
            .map(|body| item(&entry(body.clone()), None))
            .collect();
        Body::of(Kind::Merged, [("items", Value::from(items))])
    }

    fn check(body: &Body) -> Result<(), BodyFault> {
        check_body(body, &Limits::default())
    }

    #[test]
    fn who_said_it_first_stays_however_often_it_is_forwarded() {
        let once = forwarded(&entry(Body::text("hi")), Some("edited"));
        let json = r#"{"forwarded":{"at":7,"from":"ana"},"kind":"text","text":"edited"}"#;
        assert_eq!(&**once.json(), json);
        assert_eq!(check(&once), Ok(()));
        let mut again = entry(once.clone());
        again.new.from = UserId::new("ben").unwrap();
        assert_eq!(forwarded(&again, None), once);
    }

    #[test]
    fn nobody_says_it_of_their_own_message() {
        let forged = forwarded(&entry(Body::text("hi")), None);
        assert!(matches!(check_own(&forged), Err(BodyFault::Field(_))));
        assert_eq!(
            check_own(&merge(&[Body::text("hi")])),
            Err(BodyFault::Server)
        );
        assert_eq!(check_own(&Body::text("it was \"forwarded\"")), Ok(()));
    }

    #[test]
    fn merged_ones_are_as_deep_as_they_may_be_and_no_deeper() {
        let mut body = Body::text("hi");
        for depth in 1..=DEPTH_MAX + 1 {
            body = merge(&[body, Body::text("x")]);
            assert_eq!(check(&body).is_ok(), depth <= DEPTH_MAX, "{depth}");
        }
    }

    #[test]
    fn what_is_merged_is_checked_item_by_item() {
        let text = Body::text("x");
        assert_eq!(check(&merge(&vec![text.clone(); ITEMS_MAX])), Ok(()));
        let none: &[Body] = &[];
        let recall = Body::of(Kind::Recall, [("target", Value::Int(1))]);
        let erased = Body::of(Kind::Erased, []);
        let empty = Body::text("");
        for bodies in [
            none,
            &vec![text; ITEMS_MAX + 1],
            &[recall],
            &[erased],
            &[empty],
        ] {
            assert!(check(&merge(bodies)).is_err(), "{bodies:?}");
        }
        let json: Arc<str> = r#"{"items":[7],"kind":"merged"}"#.into();
        assert!(check(&Body::from_stored(Kind::Merged, json)).is_err());
    }
}
