//! Whether a body from a client is well made: the fields of each kind, their types and bounds.

use std::ops::RangeInclusive;

use super::forward::merged;
use crate::frame::{ErrorCode, Failure, FieldError, Limits};
use crate::model::{Body, Family, Kind, Value};

/// The characters of an uploaded object's id.
const BLOB_CHARS: RangeInclusive<usize> = 1..=256;
/// The characters of a file's name, of a place's, of a title.
pub(super) const NAME_CHARS_MAX: usize = 255;
/// The characters of a media type (RFC 6838 allows 127 on either side of the slash; none is near).
const MIME_CHARS: RangeInclusive<usize> = 1..=127;
/// The characters of a short name: a custom type, a form's field.
const WORD_CHARS: RangeInclusive<usize> = 1..=64;
/// The characters of a reaction: the longest emoji sequences have about ten.
const EMOJI_CHARS: RangeInclusive<usize> = 1..=32;
/// The characters of a link.
const URL_CHARS: RangeInclusive<usize> = 1..=2_048;
/// The fields of a form and of its answer.
const FORM_FIELDS_MAX: usize = 100;
/// Degrees north and east.
const LATITUDE_MAX: f64 = 90.0;
const LONGITUDE_MAX: f64 = 180.0;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A field is missing or misshapen: `bad_frame`.
    #[error("{0}")]
    Field(FieldError),
    /// A text, or the whole, is larger than a limit: `too_large`.
    #[error("{0}")]
    TooLarge(FieldError),
    /// Only the server writes this kind: `forbidden`.
    #[error("body.kind: only the server writes it")]
    Server,
}

impl From<BodyFault> for Failure {
    fn from(fault: BodyFault) -> Self {
        let code = match fault {
            BodyFault::Field(_) => ErrorCode::BadFrame,
            BodyFault::TooLarge(_) => ErrorCode::TooLarge,
            BodyFault::Server => ErrorCode::Forbidden,
        };
        Self::new(code, fault.to_string())
    }
}

/// Checks the fields of a client's body. Fields that its kind doesn't have are kept and not
/// looked at; `null` counts as absent.
///
/// # Errors
/// See [`BodyFault`]; the field is named from the frame on, as in `body.text`.
pub fn check_body(body: &Body, limits: &Limits) -> Result<(), BodyFault> {
    if body.kind().family() == Family::Server {
        return Err(BodyFault::Server);
    }
    // The canonical text can be longer than the frame was: `1e15` is four bytes on the wire.
    if body.json().len() > limits.frame_bytes {
        let what = format_args!("has more than {} bytes as JSON", limits.frame_bytes);
        return Err(BodyFault::TooLarge(FieldError::new("body", what)));
    }
    if is_plain_text(body, limits.text_chars) {
        return Ok(());
    }
    let value = body.value();
    let fields = Fields {
        value: &value,
        path: "body",
    };
    match body.kind() {
        Kind::Text => fields.long_text("text", limits.text_chars),
        Kind::Image | Kind::Video | Kind::Voice | Kind::File => media(&fields, limits),
        Kind::Sticker => sticker(&fields),
        Kind::Location => location(&fields),
        Kind::Card => card(&fields, limits),
        Kind::Form => form(&fields),
        Kind::FormAnswer => form_answer(&fields),
        Kind::Custom => custom(&fields),
        Kind::Merged => merged(&value, limits),
        Kind::Edit => {
            fields.seq("target")?;
            fields.long_text("text", limits.text_chars)
        }
        Kind::Recall => fields.seq("target"),
        Kind::React => {
            fields.seq("target")?;
            fields.text("emoji", EMOJI_CHARS)?;
            fields.opt_flag("on")
        }
        Kind::Pin => {
            fields.seq("target")?;
            fields.opt_flag("on")
        }
        Kind::Member
        | Kind::Group
        | Kind::Announce
        | Kind::Call
        | Kind::Desk
        | Kind::Audit
        | Kind::Erased => Err(BodyFault::Server),
    }
}

/// Most messages are this, and to see it the text need not be parsed again.
fn is_plain_text(body: &Body, chars_max: usize) -> bool {
    body.plain_text()
        .is_some_and(|text| !text.is_empty() && is_within(text, chars_max))
}

fn media(fields: &Fields<'_>, limits: &Limits) -> Result<(), BodyFault> {
    fields.text("blob", BLOB_CHARS)?;
    fields.text("name", 0..=NAME_CHARS_MAX)?;
    fields.count("size")?;
    fields.text("mime", MIME_CHARS)?;
    for field in ["width", "height", "duration_ms"] {
        fields.opt_count(field)?;
    }
    fields.opt_text("thumb", BLOB_CHARS)?;
    fields.opt_long_text("transcript", limits.text_chars)
}

fn sticker(fields: &Fields<'_>) -> Result<(), BodyFault> {
    fields.text("sticker", BLOB_CHARS)?;
    fields.opt_text("pack", BLOB_CHARS)?;
    fields.opt_text("emoji", EMOJI_CHARS)
}

fn location(fields: &Fields<'_>) -> Result<(), BodyFault> {
    fields.degrees("lat", LATITUDE_MAX)?;
    fields.degrees("lng", LONGITUDE_MAX)?;
    fields.opt_text("name", 0..=NAME_CHARS_MAX)
}

fn card(fields: &Fields<'_>, limits: &Limits) -> Result<(), BodyFault> {
    fields.text("title", 1..=NAME_CHARS_MAX)?;
    fields.opt_long_text("text", limits.text_chars)?;
    fields.opt_text("blob", BLOB_CHARS)?;
    fields.opt_text("url", URL_CHARS)?;
    // Clients make a link of it, so it must not be a script.
    match fields.get("url").and_then(Value::as_text) {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            Err(fields.error("url", "must start with https:// or http://"))
        }
        _ => Ok(()),
    }
}

fn form(fields: &Fields<'_>) -> Result<(), BodyFault> {
    fields.opt_text("title", 0..=NAME_CHARS_MAX)?;
    let Value::Array(items) = fields.need("fields")? else {
        return Err(fields.error("fields", "must be an array"));
    };
    if items.is_empty() || items.len() > FORM_FIELDS_MAX {
        return Err(fields.error("fields", "must have 1 to 100 items"));
    }
    for item in items {
        if !matches!(item, Value::Object(_)) {
            return Err(fields.error("fields", "must be an array of objects"));
        }
        let item = Fields {
            value: item,
            path: "body.fields",
        };
        item.text("name", WORD_CHARS)?;
        item.text("type", WORD_CHARS)?;
        item.opt_text("label", 0..=NAME_CHARS_MAX)?;
        item.opt_flag("required")?;
    }
    Ok(())
}

fn form_answer(fields: &Fields<'_>) -> Result<(), BodyFault> {
    fields.seq("form")?;
    let Value::Object(answers) = fields.need("answers")? else {
        return Err(fields.error("answers", "must be an object"));
    };
    if answers.len() > FORM_FIELDS_MAX {
        return Err(fields.error("answers", "must have at most 100 fields"));
    }
    Ok(())
}

fn custom(fields: &Fields<'_>) -> Result<(), BodyFault> {
    fields.text("type", WORD_CHARS)
}

/// The fields of an object inside a body, looked at and not taken.
pub(super) struct Fields<'a> {
    pub(super) value: &'a Value,
    pub(super) path: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn error(&self, field: &str, what: &str) -> BodyFault {
        BodyFault::Field(FieldError::new(format!("{}.{field}", self.path), what))
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.value
            .get(field)
            .filter(|value| !matches!(value, Value::Null))
    }

    pub(super) fn need(&self, field: &str) -> Result<&'a Value, BodyFault> {
        self.get(field)
            .ok_or_else(|| self.error(field, "is missing"))
    }

    pub(super) fn text(&self, field: &str, chars: RangeInclusive<usize>) -> Result<(), BodyFault> {
        self.need(field)?;
        self.opt_text(field, chars)
    }

    pub(super) fn opt_text(
        &self,
        field: &str,
        chars: RangeInclusive<usize>,
    ) -> Result<(), BodyFault> {
        let (min, max) = chars.into_inner();
        match self.get(field) {
            None => Ok(()),
            Some(Value::Text(text)) if text.len() >= min && is_within(text, max) => Ok(()),
            Some(_) => {
                let what = format!("must be a text of {min} to {max} characters");
                Err(self.error(field, &what))
            }
        }
    }

    /// A text that people write: not empty, and too long is an error of its own.
    fn long_text(&self, field: &str, chars_max: usize) -> Result<(), BodyFault> {
        self.need(field)?;
        self.opt_long_text(field, chars_max)
    }

    fn opt_long_text(&self, field: &str, chars_max: usize) -> Result<(), BodyFault> {
        match self.get(field) {
            None => Ok(()),
            Some(Value::Text(text)) if text.is_empty() => Err(self.error(field, "is empty")),
            Some(Value::Text(text)) if is_within(text, chars_max) => Ok(()),
            Some(Value::Text(_)) => Err(BodyFault::TooLarge(FieldError::new(
                format!("{}.{field}", self.path),
                format_args!("has more than {chars_max} characters"),
            ))),
            Some(_) => Err(self.error(field, "must be a text")),
        }
    }

    pub(super) fn count(&self, field: &str) -> Result<(), BodyFault> {
        self.need(field)?;
        self.opt_count(field)
    }

    fn opt_count(&self, field: &str) -> Result<(), BodyFault> {
        match self.get(field) {
            None => Ok(()),
            Some(Value::Int(0..)) => Ok(()),
            Some(_) => Err(self.error(field, "must be an integer from 0")),
        }
    }

    fn seq(&self, field: &str) -> Result<(), BodyFault> {
        match self.need(field)? {
            Value::Int(1..) => Ok(()),
            _ => Err(self.error(field, "must be an integer from 1")),
        }
    }

    fn opt_flag(&self, field: &str) -> Result<(), BodyFault> {
        match self.get(field) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(_) => Err(self.error(field, "must be true or false")),
        }
    }

    fn degrees(&self, field: &str, max: f64) -> Result<(), BodyFault> {
        let degrees = match self.need(field)? {
            Value::Int(int) => *int as f64,
            Value::Float(float) => *float,
            _ => f64::NAN,
        };
        if degrees.abs() <= max {
            Ok(())
        } else {
            Err(self.error(field, &format!("must be a number from -{max} to {max}")))
        }
    }
}

/// Whether a text has at most so many characters (Unicode scalar values).
fn is_within(text: &str, chars_max: usize) -> bool {
    // A text of few bytes has few characters: the count is only taken when it could matter.
    text.len() <= chars_max || text.chars().count() <= chars_max
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIMENS: &[&str] = &[
        r#"{"kind":"text","text":"hi"}"#,
        r#"{"kind":"image","blob":"b","name":"n","size":1,"mime":"image/png","width":1,
            "height":1,"duration_ms":1,"thumb":"t","transcript":"s"}"#,
        r#"{"kind":"video","blob":"b","name":"n","size":1,"mime":"video/mp4"}"#,
        r#"{"kind":"voice","blob":"b","name":"n","size":1,"mime":"audio/ogg"}"#,
        r#"{"kind":"file","blob":"b","name":"n","size":1,"mime":"text/plain"}"#,
        r#"{"kind":"sticker","sticker":"s","pack":"p","emoji":"e"}"#,
        r#"{"kind":"location","lat":-90,"lng":0.5,"name":"n"}"#,
        r#"{"kind":"card","title":"t","text":"x","blob":"b","url":"https://x"}"#,
        r#"{"kind":"form","title":"t","fields":[{"name":"n","type":"text","label":"l",
            "required":true}]}"#,
        r#"{"kind":"form_answer","form":1,"answers":{"n":"x"}}"#,
        r#"{"kind":"custom","type":"t","data":1}"#,
        r#"{"kind":"merged","title":"t","items":[{"from":"a","at":1,"body":{"kind":"text",
            "text":"x"}}]}"#,
        r#"{"kind":"edit","target":1,"text":"x"}"#,
        r#"{"kind":"recall","target":1}"#,
        r#"{"kind":"react","target":1,"emoji":"e","on":true}"#,
        r#"{"kind":"pin","target":1,"on":false}"#,
    ];

    fn check(value: &Value) -> Result<(), BodyFault> {
        check_body(&Body::new(value).unwrap(), &Limits::default())
    }

    fn parse(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    fn with(value: &Value, field: &str, new: Option<Value>) -> Value {
        let Value::Object(fields) = value else {
            panic!("no object")
        };
        let others = fields.iter().filter(|(key, _)| key != field).cloned();
        Value::object(others.chain(new.map(|new| (field.to_owned().into(), new))))
    }

    #[test]
    fn every_client_kind_has_a_body_that_is_good_with_whatever_stands_beside_it() {
        for kind in Kind::ALL {
            let good = SPECIMENS
                .iter()
                .map(|text| parse(text))
                .find(|value| value.get("kind").and_then(Value::as_text) == Some(kind.as_str()));
            match kind.family() {
                Family::Say | Family::Change => {
                    let extra = with(&good.unwrap(), "x-extra", Some(parse("[{}]")));
                    assert_eq!(check(&extra), Ok(()), "{kind:?}");
                }
                Family::Server => {
                    let body = Body::of(*kind, []);
                    let refused = check_body(&body, &Limits::default());
                    assert_eq!(refused, Err(BodyFault::Server), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn every_field_of_every_type_is_good_or_named() {
        let samples = [
            "true",
            "0",
            "-1",
            "0.5",
            "91",
            "-181",
            r#""""#,
            r#""x""#,
            "[]",
            "[1]",
            "{}",
            r#"{"a":1}"#,
            "[{}]",
            "9007199254740991",
        ];
        let long = Value::from("x".repeat(5_000));
        for specimen in SPECIMENS {
            let good = parse(specimen);
            let Value::Object(fields) = &good else {
                panic!("no object")
            };
            for (field, old) in fields.iter().filter(|(field, _)| field != "kind") {
                for sample in samples.iter().map(|text| parse(text)).chain([long.clone()]) {
                    let same_type = std::mem::discriminant(&sample) == std::mem::discriminant(old);
                    match check(&with(&good, field, Some(sample.clone()))) {
                        Ok(()) if field == "data" || same_type => {}
                        Ok(()) if matches!(&**field, "lat" | "lng") => {}
                        Ok(()) => panic!("{specimen}: {field} = {sample:?}"),
                        Err(BodyFault::Field(error) | BodyFault::TooLarge(error)) => {
                            assert!(error.field.starts_with(&format!("body.{field}")), "{error}");
                        }
                        Err(BodyFault::Server) => panic!("{specimen}"),
                    }
                }
                let absent = check(&with(&good, field, None));
                assert_eq!(absent, check(&with(&good, field, Some(Value::Null))));
            }
        }
    }

    #[test]
    fn a_text_is_counted_in_characters_and_too_long_is_not_misshapen() {
        let text = |text: &str| {
            check(&Value::object(
                [("kind", "text"), ("text", text)].map(|(field, text)| (field, Value::from(text))),
            ))
        };
        for unit in ["x", "é", "𝄞", "\"", "\n"] {
            assert_eq!(text(&unit.repeat(4_000)), Ok(()), "{unit}");
            assert!(
                matches!(text(&unit.repeat(4_001)), Err(BodyFault::TooLarge(_))),
                "{unit}"
            );
        }
        assert!(matches!(text(""), Err(BodyFault::Field(_))));
        assert!(matches!(
            check(&Value::object([("kind", Value::from("text"))])),
            Err(BodyFault::Field(_))
        ));
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        for (body, good) in [
            (r#"{"kind":"location","lat":90,"lng":-180}"#, true),
            (r#"{"kind":"location","lat":90.0001,"lng":0}"#, false),
            (r#"{"kind":"location","lat":0,"lng":180.5}"#, false),
            (r#"{"kind":"location","lat":0}"#, false),
            (r#"{"kind":"react","target":0,"emoji":"e"}"#, false),
            (r#"{"kind":"react","target":1,"emoji":""}"#, false),
            (r#"{"kind":"card","title":"t","url":"javascript:x"}"#, false),
            (r#"{"kind":"card","title":"","url":"https://x"}"#, false),
            (r#"{"kind":"form","fields":[]}"#, false),
            (r#"{"kind":"form","fields":[{"name":"n"}]}"#, false),
            (r#"{"kind":"custom"}"#, false),
        ] {
            assert_eq!(check(&parse(body)).is_ok(), good, "{body}");
        }
        for (chars, good) in [(256, true), (257, false)] {
            let blob = with(&parse(SPECIMENS[2]), "blob", Some("é".repeat(chars).into()));
            assert_eq!(check(&blob).is_ok(), good);
        }
    }

    #[test]
    fn a_body_that_grew_beyond_a_frame_is_too_large() {
        let data = vec![Value::Int(1_000_000_000_000_000); 5_000];
        let body = Value::object([
            ("kind", Value::from("custom")),
            ("type", "t".into()),
            ("data", data.into()),
        ]);
        assert!(matches!(check(&body), Err(BodyFault::TooLarge(_))));
    }
}
