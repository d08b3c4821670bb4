//! JSON values as bodies may hold them: the same in JSON and MessagePack, comparable, bounded.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserializer, Serialize, Serializer};

/// The largest integer that every client can hold: 2^53 − 1 (JavaScript's safe integers).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// How deep a value may nest; an object in an object is 2.
const DEPTH_MAX: usize = 32;

/// A JSON value, its objects sorted by key, so that equal values have equal text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer within ±[`INTEGER_MAX`].
    Int(i64),
    /// A finite number that is no integer.
    Float(f64),
    /// A text without U+0000.
    Text(Cow<'static, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object: sorted by key, no key twice.
    Object(Vec<(Cow<'static, str>, Self)>),
}

// Its floats are finite, so equality is reflexive.
impl Eq for Value {}

/// What breaks the rules of a value although it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An integer beyond ±(2^53 − 1).
    #[error("an integer is beyond 2^53 - 1")]
    Integer,
    /// NaN or an infinity.
    #[error("a number is not finite")]
    NotFinite,
    /// The same key twice in one object.
    #[error("a key stands twice in one object")]
    DuplicateKey,
    /// More than 32 levels.
    #[error("nested deeper than 32")]
    Depth,
    /// U+0000 in a text.
    #[error("a text holds U+0000")]
    Nul,
    /// A surrogate without its other half.
    #[error("a text holds a lone surrogate")]
    Surrogate,
    /// A MessagePack type that JSON has not (bin, ext), or a key that is no text.
    #[error("a type that JSON does not have")]
    Type,
}

impl Value {
    /// An object of the given fields; the last of a key that stands twice wins.
    #[must_use]
    pub fn object<K: Into<Cow<'static, str>>>(fields: impl IntoIterator<Item = (K, Self)>) -> Self {
        let mut fields: Vec<_> = fields
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect();
        sort_fields(&mut fields);
        Self::Object(fields)
    }

    /// The field of an object; `None` too when this is no object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        let at = fields.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&fields[at].1)
    }

    /// Takes a field out of an object.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        let at = fields.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(fields.remove(at).1)
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The integer, if this is one.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        if let Self::Int(int) = self {
            Some(*int)
        } else {
            None
        }
    }

    /// Its canonical JSON text: sorted keys, no white space. Equal values have equal texts.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(128);
        self.write_json(&mut out);
        out
    }

    /// Appends its canonical JSON text.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Int(int) => write_display(out, int),
            Self::Float(float) => write_json_float(out, *float),
            Self::Text(text) => write_json_text(out, text),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (i, (key, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_json_text(out, key);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }

    /// Reads a value and the first rule that it breaks.
    ///
    /// # Errors
    /// The format's own error when the input is not of the format at all.
    pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<(Self, Option<Violation>), D::Error> {
        let violation = RefCell::new(None);
        let value = Seed {
            depth: 0,
            violation: &violation,
        }
        .deserialize(from)?;
        Ok((value, violation.into_inner()))
    }

    /// Reads a value from JSON text, as the store keeps it.
    ///
    /// # Errors
    /// When it is no JSON; a broken rule is an error too.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let (value, violation) = Self::read(&mut reader)?;
        reader.end()?;
        match violation {
            None => Ok(value),
            Some(violation) => Err(serde_json::Error::custom(violation)),
        }
    }
}

/// Appends a number that Rust prints as JSON does.
pub(crate) fn write_display(out: &mut String, value: impl fmt::Display) {
    use fmt::Write as _;
    // Writing to a String can't fail.
    let _ = write!(out, "{value}");
}

fn write_json_float(out: &mut String, float: f64) {
    match serde_json::to_string(&float) {
        Ok(text) => out.push_str(&text),
        Err(_) => out.push_str("null"),
    }
}

/// Appends a JSON string, escaped.
pub(crate) fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            write_display(out, format_args!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

fn sort_fields(fields: &mut Vec<(Cow<'static, str>, Value)>) -> bool {
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let before = fields.len();
    // Of equal keys the sort keeps the order they came in, so the last is the one to keep.
    fields.reverse();
    fields.dedup_by(|a, b| a.0 == b.0);
    fields.reverse();
    fields.len() == before
}

struct Seed<'v> {
    depth: usize,
    violation: &'v RefCell<Option<Violation>>,
}

impl Seed<'_> {
    fn note(&self, violation: Violation) -> Value {
        self.violation.borrow_mut().get_or_insert(violation);
        Value::Null
    }

    fn inner(&self) -> Self {
        if self.depth == DEPTH_MAX {
            self.note(Violation::Depth);
        }
        Self {
            depth: self.depth + 1,
            violation: self.violation,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(if value.unsigned_abs() <= INTEGER_MAX as u64 {
            Value::Int(value)
        } else {
            self.note(Violation::Integer)
        })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(if value <= INTEGER_MAX as u64 {
            Value::Int(value as i64)
        } else {
            self.note(Violation::Integer)
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(if !value.is_finite() {
            self.note(Violation::NotFinite)
        } else if value.fract() != 0.0 {
            Value::Float(value)
        } else if value.abs() <= INTEGER_MAX as f64 {
            // 1.0 and 1 are one value.
            Value::Int(value as i64)
        } else {
            self.note(Violation::Integer)
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        if text.contains('\0') {
            self.note(Violation::Nul);
        }
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value, E> {
        Ok(self.note(Violation::Type))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        // MessagePack's ext types arrive here; read past it.
        serde::de::IgnoredAny::deserialize_any_of(from)?;
        Ok(self.note(Violation::Type))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(key) = from.next_key_seed(self.inner())? {
            let value = from.next_value_seed(self.inner())?;
            match key {
                Value::Text(key) => fields.push((key, value)),
                _ => {
                    self.note(Violation::Type);
                }
            }
        }
        if !sort_fields(&mut fields) {
            self.note(Violation::DuplicateKey);
        }
        Ok(Value::Object(fields))
    }
}

trait Skip {
    fn deserialize_any_of<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error>;
}

impl Skip for serde::de::IgnoredAny {
    fn deserialize_any_of<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
        from.deserialize_ignored_any(Self).map(|_| ())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::Float(value) => to.serialize_f64(*value),
            Self::Text(text) => to.serialize_str(text),
            Self::Array(items) => {
                let mut seq = to.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(fields) => {
                let mut map = to.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Cow::Owned(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    /// Saturates at [`INTEGER_MAX`]; nothing that the server counts comes near.
    fn from(value: u64) -> Self {
        Self::Int(value.min(INTEGER_MAX as u64) as i64)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Value, Option<Violation>) {
        Value::read(&mut serde_json::Deserializer::from_str(text)).unwrap()
    }

    #[test]
    fn equal_values_have_equal_texts() {
        let a = read(r#"{"b":1.0,"a":[true,null,"x\u0041"]}"#).0;
        let b = read(r#" {"a" : [true, null, "xA"], "b" : 1 } "#).0;
        assert_eq!(a, b);
        assert_eq!(a.to_json(), r#"{"a":[true,null,"xA"],"b":1}"#);
    }

    #[test]
    fn each_rule_is_found() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        for (text, expected) in [
            ("9007199254740991", None),
            ("9007199254740992", Some(Violation::Integer)),
            ("-9007199254740992", Some(Violation::Integer)),
            ("1e300", Some(Violation::Integer)),
            ("0.5", None),
            (r#"{"a":1,"a":2}"#, Some(Violation::DuplicateKey)),
            (r#"["\u0000"]"#, Some(Violation::Nul)),
            (&deep(32), None),
            (&deep(33), Some(Violation::Depth)),
        ] {
            assert_eq!(read(text).1, expected, "{text}");
        }
    }

    #[test]
    fn texts_are_escaped_as_json() {
        let text = "q\" b\\ n\n r\r t\t bell\u{7} é 𝄞 </script>";
        let mut out = String::new();
        write_json_text(&mut out, text);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }
}
