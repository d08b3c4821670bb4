//! The texts of a body that people read.

use std::borrow::Cow;

use im_core::model::{Kind, Value};

/// Fields of bodies that nobody reads: kinds, and ids of what lies elsewhere.
const UNREAD: [&str; 8] = [
    "blob",
    "forwarded",
    "kind",
    "mime",
    "pack",
    "sticker",
    "thumb",
    "type",
];

/// What is met in a body.
pub(crate) enum Seen<'a> {
    /// A text, which may be changed.
    Text(&'a mut Cow<'static, str>),
    /// A key of an object within the body; those of the body itself are the protocol's.
    Key(&'a str),
}

/// Shows every text of a body, also of fields that the protocol does not know: they are passed on,
/// so somebody may read them.
pub(crate) fn visit(body: &mut Value, see: &mut dyn FnMut(Seen<'_>)) {
    let is_merged = body.get("kind").and_then(Value::as_text) == Some(Kind::Merged.as_str());
    let Value::Object(fields) = body else { return };
    for (key, value) in fields {
        if let (true, "items", Value::Array(items)) = (is_merged, &**key, &mut *value) {
            items.iter_mut().for_each(|item| visit_item(item, see));
        } else if UNREAD.binary_search(&&**key).is_err() {
            visit_value(value, see);
        }
    }
}

/// A message within one that is merged: its own body, and not who said it.
fn visit_item(item: &mut Value, see: &mut dyn FnMut(Seen<'_>)) {
    let Value::Object(fields) = item else { return };
    let body = fields.iter_mut().find(|(key, _)| key == "body");
    if let Some((_, body)) = body {
        visit(body, see);
    }
}

/// The same of any value, and of all its keys.
pub(crate) fn visit_value(value: &mut Value, see: &mut dyn FnMut(Seen<'_>)) {
    match value {
        Value::Text(text) => see(Seen::Text(text)),
        Value::Array(items) => items.iter_mut().for_each(|item| visit_value(item, see)),
        Value::Object(fields) => {
            for (key, value) in fields {
                see(Seen::Key(key));
                visit_value(value, see);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_met_that_somebody_may_read() {
        let body = r#"{"kind":"form","blob":"b","title":"t","fields":[{"name":"n","label":"l"}],
            "own":{"x":["y",1]}}"#;
        let mut value = Value::from_json(body).unwrap();
        let mut met = Vec::new();
        visit(&mut value, &mut |seen| match seen {
            Seen::Text(text) => {
                met.push(text.to_string());
                *text = "*".into();
            }
            Seen::Key(key) => met.push(format!("{key}:")),
        });
        assert_eq!(met, ["label:", "l", "name:", "n", "x:", "y", "t"]);
        let masked = r#"{"blob":"b","fields":[{"label":"*","name":"*"}],"kind":"form",
            "own":{"x":["*",1]},"title":"*"}"#;
        assert_eq!(value, Value::from_json(masked).unwrap());
    }

    #[test]
    fn of_merged_messages_the_bodies_are_met_and_not_who_said_them() {
        let body = r#"{"kind":"merged","title":"t","items":[
            {"from":"u","at":1,"body":{"kind":"text","text":"x"}},
            {"from":"u","at":1,"body":{"kind":"merged","items":[
                {"from":"u","at":1,"body":{"kind":"text","text":"y"}}]}}]}"#;
        let mut value = Value::from_json(body).unwrap();
        let mut met = Vec::new();
        visit(&mut value, &mut |seen| match seen {
            Seen::Text(text) => met.push(text.to_string()),
            Seen::Key(key) => panic!("{key}"),
        });
        assert_eq!(met, ["x", "y", "t"]);
    }

    #[test]
    fn the_fields_that_nobody_reads_are_sorted() {
        assert!(UNREAD.is_sorted());
    }
}
