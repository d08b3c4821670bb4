//! JSON values as bodies may hold them: the same in JSON and MessagePack, comparable, bounded.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// The largest integer that every client can hold: 2^53 − 1 (JavaScript's safe integers).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// How deep a body may nest; an object in an object is 2.
pub const DEPTH_MAX: usize = 32;

/// How deep a frame may nest: what holds a body (`synced`, its `convs`, a line, its `last`) takes
/// four levels of it.
pub(crate) const FRAME_DEPTH_MAX: usize = DEPTH_MAX + 8;

/// What nests deeper than this is not even read: it guards the stack.
pub(crate) const NESTING_MAX: usize = 128;

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
    /// A body of more than 32 levels, a frame of more than 40.
    #[error("nested too deep")]
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
    /// A MessagePack text that is no UTF-8.
    #[error("a text is no UTF-8")]
    Utf8,
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
        let mut out = String::with_capacity(256);
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
            // The shortest text that reads back as the same number: `0.5`, `1e-7`.
            Self::Float(float) if float.is_finite() => {
                write_display(out, format_args!("{float:?}"));
            }
            // JSON has no other; no reader of ours makes one.
            Self::Float(_) => out.push_str("null"),
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

    /// How deep it nests: 0 for what holds nothing else, 1 for an object of such.
    pub(crate) fn depth(&self) -> usize {
        let inner = match self {
            Self::Array(items) => items.iter().map(Self::depth).max(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value.depth()).max(),
            _ => return 0,
        };
        inner.unwrap_or(0) + 1
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Violation::Integer`] beyond ±[`INTEGER_MAX`].
    pub(crate) const fn int(int: i64) -> Result<Self, Violation> {
        if int.unsigned_abs() <= INTEGER_MAX as u64 {
            Ok(Self::Int(int))
        } else {
            Err(Violation::Integer)
        }
    }

    /// A number, which is an integer when it has no fraction: 1.0 and 1 are one value.
    ///
    /// # Errors
    /// As [`Self::int`]; [`Violation::NotFinite`] too.
    pub(crate) fn number(number: f64) -> Result<Self, Violation> {
        if !number.is_finite() {
            Err(Violation::NotFinite)
        } else if number.fract() != 0.0 {
            Ok(Self::Float(number))
        } else if number.abs() <= INTEGER_MAX as f64 {
            Ok(Self::Int(number as i64))
        } else {
            Err(Violation::Integer)
        }
    }

    /// An object as it was read, and whether no key stood twice; of such the last is kept.
    pub(crate) fn sorted(mut fields: Vec<Field>) -> (Self, bool) {
        let is_unique = sort_fields(&mut fields);
        (Self::Object(fields), is_unique)
    }
}

/// Appends what Rust prints as JSON does.
pub(crate) fn write_display(out: &mut String, value: impl fmt::Display) {
    use fmt::Write as _;
    // Writing to a String can't fail.
    let _ = write!(out, "{value}");
}

/// Appends a JSON string, escaped.
pub(crate) fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest.as_bytes()));
        out.push_str(plain);
        let Some(byte) = special.bytes().next() else {
            break;
        };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => write_display(out, format_args!("\\u{byte:04x}")),
        }
        rest = &special[1..];
    }
    out.push('"');
}

/// How many bytes come before the first that a JSON string escapes: a quote, a backslash, a
/// control character. Eight at a time, since most bytes of a log pass here several times.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of each byte that is below `n` (up to 0x80); above the first such byte, bits
    // may be wrong.
    let below = |word: u64, n: u8| word.wrapping_sub(ONES * u64::from(n)) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let special = below(word, 0x20) | is(b'"') | is(b'\\');
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let left = rest.iter().position(special).unwrap_or(rest.len());
    bytes.len() - rest.len() + left
}

type Field = (Cow<'static, str>, Value);

fn sort_fields(fields: &mut Vec<Field>) -> bool {
    // Ours come sorted.
    if fields.is_sorted_by(|a, b| a.0 < b.0) {
        return true;
    }
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let before = fields.len();
    // Of equal keys the sort keeps the order they came in, so the last is the one to keep.
    fields.reverse();
    fields.dedup_by(|a, b| a.0 == b.0);
    fields.reverse();
    fields.len() == before
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
    /// Saturates at ±[`INTEGER_MAX`]: a number that no client can read must not get into a log.
    fn from(value: i64) -> Self {
        Self::Int(value.clamp(-INTEGER_MAX, INTEGER_MAX))
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

    #[test]
    fn what_needs_an_escape_is_found_wherever_it_stands() {
        for special in 0..=255_u8 {
            let is_special = matches!(special, b'"' | b'\\' | 0..=0x1f);
            for plain in [b' ', b'!', b'#', b'[', b']', b'x', 0x7f, 0x80, 0xff] {
                for at in 0..20 {
                    let mut bytes = [plain; 20];
                    bytes[at] = special;
                    let expected = if is_special { at } else { 20 };
                    assert_eq!(plain_len(&bytes), expected, "{special:x} {plain:x} {at}");
                }
            }
        }
        assert_eq!(plain_len(b""), 0);
        assert_eq!(plain_len(b"x\n\"\\xxxxxxxx"), 1);
    }

    #[test]
    fn texts_are_escaped_as_json() {
        let text = "q\" b\\ n\n r\r t\t bell\u{7} é 𝄞 </script>";
        let mut out = String::new();
        write_json_text(&mut out, text);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        assert_eq!(Value::from_json(&out), Ok(text.into()));
    }
}
