//! The texts of a body that people read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use im_core::model::{Kind, Value};

/// The names of fields that the protocol gives to what people send: no text of theirs.
const FIELDS: [&str; 27] = [
    "answers",
    "blob",
    "data",
    "duration_ms",
    "emoji",
    "fields",
    "form",
    "forwarded",
    "height",
    "items",
    "kind",
    "lat",
    "lng",
    "mime",
    "name",
    "on",
    "pack",
    "size",
    "sticker",
    "target",
    "text",
    "thumb",
    "title",
    "transcript",
    "type",
    "url",
    "width",
];

/// What is met in a body.
pub(crate) enum Seen<'a> {
    /// A text, which may be changed.
    Text(&'a mut Cow<'static, str>),
    /// A number, which may be replaced.
    Number(&'a mut Value),
    /// A key of an object that is none of the protocol's. It may be changed; of two that become the
    /// same, one is told apart.
    Key(&'a mut Cow<'static, str>),
}

/// Shows every text, number and key of a body, also of fields that the protocol does not know: they
/// are passed on, so somebody may read them.
pub(crate) fn visit(body: &mut Value, see: &mut dyn FnMut(Seen<'_>)) {
    let kind = body.get("kind").and_then(Value::as_text);
    let kind = kind.and_then(Kind::parse);
    let Value::Object(fields) = body else { return };
    for (key, value) in fields.iter_mut() {
        match value {
            Value::Array(items) if kind == Some(Kind::Merged) && key == "items" => {
                items.iter_mut().for_each(|item| visit_item(item, see));
            }
            value if is_unread(kind, key, value) => {}
            value => visit_value(value, see),
        }
        if !FIELDS.contains(&&**key) {
            see(Seen::Key(key));
        }
    }
    settle(fields);
}

/// What nobody reads of a body of that kind: kinds, and ids of what lies elsewhere.
fn is_unread(kind: Option<Kind>, field: &str, value: &Value) -> bool {
    match (field, value) {
        ("kind", Value::Text(_)) => true,
        // The server's own; who sends one is refused.
        ("forwarded", Value::Object(fields)) => fields
            .iter()
            .all(|(key, _)| matches!(&**key, "at" | "from")),
        ("blob" | "mime" | "thumb", Value::Text(_)) => match kind {
            Some(Kind::Image | Kind::Video | Kind::Voice | Kind::File) => true,
            Some(Kind::Card) => field == "blob",
            _ => false,
        },
        ("pack" | "sticker", Value::Text(_)) => kind == Some(Kind::Sticker),
        ("type", Value::Text(_)) => kind == Some(Kind::Custom),
        _ => false,
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
        Value::Int(_) | Value::Float(_) => see(Seen::Number(value)),
        Value::Array(items) => items.iter_mut().for_each(|item| visit_value(item, see)),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                see(Seen::Key(key));
                visit_value(value, see);
            }
            settle(fields);
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Puts the fields of an object whose keys were changed in order again, each with a key of its own.
fn settle(fields: &mut [(Cow<'static, str>, Value)]) {
    if fields.is_sorted_by(|(one, _), (next, _)| one < next) {
        return;
    }
    let mut taken = BTreeSet::new();
    for ((key, _), number) in fields.iter_mut().zip(1..) {
        while !taken.insert(key.clone()) {
            *key = format!("{key} #{number}").into();
        }
    }
    fields.sort_by(|(one, _), (next, _)| one.cmp(next));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is met in a body; texts become `*`, numbers `#`, keys end in `:`.
    fn met(body: &str) -> (Vec<String>, Value) {
        let mut value = Value::from_json(body).unwrap();
        let mut met = Vec::new();
        visit(&mut value, &mut |seen| match seen {
            Seen::Text(text) => {
                met.push(text.to_string());
                *text = "*".into();
            }
            Seen::Number(number) => {
                met.push(number.to_json());
                *number = "#".into();
            }
            Seen::Key(key) => met.push(format!("{key}:")),
        });
        (met, value)
    }

    #[test]
    fn every_text_is_met_that_somebody_may_read() {
        let (met, value) = met(
            r#"{"kind":"form","title":"t","fields":[{"name":"n","label":"l"}],
            "own":{"x":["y",1]}}"#,
        );
        assert_eq!(
            met,
            ["label:", "l", "name:", "n", "x:", "y", "1", "own:", "t"]
        );
        let masked = r##"{"fields":[{"label":"*","name":"*"}],"kind":"form",
            "own":{"x":["*","#"]},"title":"*"}"##;
        assert_eq!(value, Value::from_json(masked).unwrap());
    }

    #[test]
    fn of_merged_messages_the_bodies_are_met_and_not_who_said_them() {
        let (met, _) = met(r#"{"kind":"merged","title":"t","items":[
            {"from":"u","at":1,"body":{"kind":"text","text":"x"}},
            {"from":"u","at":1,"body":{"kind":"merged","items":[
                {"from":"u","at":1,"body":{"kind":"text","text":"y"}}]}}]}"#);
        assert_eq!(met, ["x", "y", "t"]);
    }

    #[test]
    fn what_nobody_reads_is_passed_over_where_it_belongs_and_nowhere_else() {
        for (body, expected) in [
            (
                r#"{"kind":"image","blob":"b","mime":"m","thumb":"t"}"#,
                &[][..],
            ),
            (r#"{"kind":"sticker","sticker":"s","pack":"p"}"#, &[]),
            (r#"{"kind":"custom","type":"t"}"#, &[]),
            (
                r#"{"kind":"text","text":"x","forwarded":{"at":1,"from":"u"}}"#,
                &["x"],
            ),
            (
                r#"{"kind":"text","text":"x","blob":"b","type":"t"}"#,
                &["b", "x", "t"],
            ),
            (r#"{"kind":"image","thumb":{"a":"b"}}"#, &["a:", "b"]),
            (
                r#"{"kind":"card","blob":"b","thumb":"t","pack":["p"]}"#,
                &["p", "t"],
            ),
            (r#"{"kind":"text","forwarded":{"by":"x"}}"#, &["by:", "x"]),
        ] {
            assert_eq!(met(body).0, expected, "{body}");
        }
    }

    #[test]
    fn keys_that_become_the_same_are_told_apart() {
        let mut value = Value::from_json(r#"{"kind":"text","a":1,"b":2,"z":{"c":3,"d":4}}"#);
        let value = value.as_mut().unwrap();
        visit(value, &mut |seen| {
            if let Seen::Key(key) = seen {
                *key = "same".into();
            }
        });
        let expected = r#"{"kind":"text","same":1,"same #2":2,"same #4":{"same":3,"same #2":4}}"#;
        assert_eq!(*value, Value::from_json(expected).unwrap());
    }
}
