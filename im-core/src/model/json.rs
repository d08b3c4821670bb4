//! JSON text to values (RFC 8259).
//!
//! Our own reader, since a parser that an embedder's dependency can switch to another number
//! type, or that stops at a lone surrogate, can't tell a broken frame from a frame with a broken
//! field; `docs/decisions/0007-own-readers.md` says more.

use std::borrow::Cow;

use super::value::{DEPTH_MAX, FRAME_DEPTH_MAX, NESTING_MAX, Value, Violation, plain_len};

/// An integer of so many digits is below 10^18 and so fits an `i64`.
const DIGITS_MAX: usize = 18;

/// Why a text is not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON (or nests deeper than any frame), at that byte.
    #[error("no JSON at byte {0}")]
    Syntax(usize),
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] Violation),
}

impl Value {
    /// Reads a value from JSON text, as the store keeps bodies and as HTTP requests bring them.
    ///
    /// # Errors
    /// When it is no JSON, or breaks a rule (a depth over 32 is one).
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        let (value, violation) = read(text, DEPTH_MAX)?;
        match violation {
            None => Ok(value),
            Some(violation) => Err(violation.into()),
        }
    }
}

/// Reads a frame and the first rule that it breaks.
pub(crate) fn read_json(text: &str) -> Result<(Value, Option<Violation>), JsonError> {
    read(text, FRAME_DEPTH_MAX)
}

fn read(text: &str, depth_max: usize) -> Result<(Value, Option<Violation>), JsonError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        depth_max,
        violation: None,
    };
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() {
        Ok((value, reader.violation))
    } else {
        Err(reader.error())
    }
}

type Read<T> = Result<T, JsonError>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    depth_max: usize,
    violation: Option<Violation>,
}

impl<'a> Reader<'a> {
    const fn error(&self) -> JsonError {
        JsonError::Syntax(self.at)
    }

    /// What stands for a value that breaks a rule: nobody may take it for a good one.
    fn note(&mut self, violation: Violation) -> Value {
        self.violation.get_or_insert(violation);
        Value::Null
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Read<Value> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(match self.string()? {
                Some(text) => Value::Text(text),
                None => Value::Null,
            }),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.error()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Read<Value> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error());
        }
        self.at += word.len();
        Ok(value)
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Read<Value>) -> Read<Value> {
        if self.depth == NESTING_MAX {
            return Err(self.error());
        }
        if self.depth == self.depth_max {
            self.note(Violation::Depth);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Read<Value> {
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.eat(b']') {
                return Ok(Value::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.error());
            }
        }
    }

    fn object(&mut self) -> Read<Value> {
        let mut fields = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error());
            }
            let key = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.error());
            }
            let value = self.value()?;
            fields.extend(key.map(|key| (key, value)));
            self.space();
            if self.eat(b'}') {
                let (object, is_unique) = Value::sorted(fields);
                if !is_unique {
                    self.note(Violation::DuplicateKey);
                }
                return Ok(object);
            }
            if !self.eat(b',') {
                return Err(self.error());
            }
        }
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        let int = &self.text[start..self.at];
        let mut is_int = true;
        if self.eat(b'.') {
            is_int = false;
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            is_int = false;
            let _ = self.eat(b'-') || self.eat(b'+');
            self.digits()?;
        }
        if is_int && int.len() <= DIGITS_MAX {
            let int = int.parse().map_err(|_| self.error())?;
            return Ok(self.judge(Value::int(int)));
        }
        // Rust's own parser rounds correctly and makes an infinity of what is too large.
        let float = self.text[start..self.at].parse();
        let float = float.map_err(|_| self.error())?;
        Ok(self.judge(Value::number(float)))
    }

    fn judge(&mut self, value: Result<Value, Violation>) -> Value {
        value.unwrap_or_else(|violation| self.note(violation))
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// A string; `None` when it breaks a rule.
    fn string(&mut self) -> Read<Option<Cow<'static, str>>> {
        self.at += 1;
        let plain = self.plain()?;
        if self.eat(b'"') {
            return Ok(Some(Cow::Owned(plain.to_owned())));
        }
        let mut out = plain.to_owned();
        let mut is_good = true;
        while !self.eat(b'"') {
            self.at += 1;
            match self.escape()? {
                Ok(char) => out.push(char),
                Err(violation) => {
                    self.note(violation);
                    is_good = false;
                }
            }
            out.push_str(self.plain()?);
        }
        Ok(is_good.then_some(Cow::Owned(out)))
    }

    /// What comes before the next quote or backslash.
    fn plain(&mut self) -> Read<&'a str> {
        let start = self.at;
        self.at += plain_len(&self.text.as_bytes()[start..]);
        match self.peek() {
            Some(b'"' | b'\\') => Ok(&self.text[start..self.at]),
            _ => Err(self.error()),
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Read<Result<char, Violation>> {
        let char = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error()),
        };
        self.at += 1;
        Ok(Ok(char))
    }

    /// `uXXXX`, or the pair `uXXXX\uXXXX`.
    fn unicode(&mut self) -> Read<Result<char, Violation>> {
        let unit = self.unit(self.at).ok_or_else(|| self.error())?;
        self.at += 5;
        if let high @ 0xd800..=0xdbff = unit {
            let low = self.text.as_bytes().get(self.at) == Some(&b'\\');
            let low = low.then(|| self.unit(self.at + 1)).flatten();
            let Some(low @ 0xdc00..=0xdfff) = low else {
                return Ok(Err(Violation::Surrogate));
            };
            self.at += 6;
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok(char::from_u32(code).ok_or(Violation::Surrogate));
        }
        Ok(match char::from_u32(unit) {
            Some('\0') => Err(Violation::Nul),
            Some(char) => Ok(char),
            None => Err(Violation::Surrogate),
        })
    }

    /// The number in `uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u32> {
        let escape = self.text.as_bytes().get(at..at + 5)?;
        let hex = escape.strip_prefix(b"u")?;
        hex.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<Violation> {
        read_json(text).unwrap().1
    }

    #[test]
    fn equal_values_have_equal_texts() {
        let a = Value::from_json(r#"{"b":1.0,"a":[true,null,"x\u0041"]}"#).unwrap();
        let b = Value::from_json(r#" {"a" : [true, null, "xA"], "b" : 1 } "#).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.to_json(), r#"{"a":[true,null,"xA"],"b":1}"#);
    }

    #[test]
    fn each_rule_is_found() {
        for (text, expected) in [
            ("9007199254740991", None),
            ("9007199254740991.0", None),
            ("9007199254740992", Some(Violation::Integer)),
            ("-9007199254740992", Some(Violation::Integer)),
            ("9007199254740992.0", Some(Violation::Integer)),
            ("18446744073709551617", Some(Violation::Integer)),
            ("1e300", Some(Violation::Integer)),
            ("1e999", Some(Violation::NotFinite)),
            ("-1e99999999999999999999", Some(Violation::NotFinite)),
            ("1e-99999999999999999999", None),
            ("0.5", None),
            (r#"{"a":1,"a":2}"#, Some(Violation::DuplicateKey)),
            (r#"{"a":1,"\u0061":2}"#, Some(Violation::DuplicateKey)),
            (r#"["\u0000"]"#, Some(Violation::Nul)),
            (r#""\ud83d\ude00""#, None),
            (r#""\ud83d""#, Some(Violation::Surrogate)),
            (r#""\ude00\ud83d""#, Some(Violation::Surrogate)),
            (r#""\ud83d\ud83d\ude00""#, Some(Violation::Surrogate)),
            (r#""\ud83dx""#, Some(Violation::Surrogate)),
            (r#"{"\udfff":1}"#, Some(Violation::Surrogate)),
        ] {
            assert_eq!(rule(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_counted_in_containers() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Value::from_json(&deep(DEPTH_MAX)).is_ok());
        let deeper = Value::from_json(&deep(DEPTH_MAX + 1));
        assert_eq!(deeper, Err(JsonError::Rule(Violation::Depth)));
        assert_eq!(rule(&deep(FRAME_DEPTH_MAX)), None);
        assert_eq!(rule(&deep(FRAME_DEPTH_MAX + 1)), Some(Violation::Depth));
        assert_eq!(rule(&deep(NESTING_MAX)), Some(Violation::Depth));
        assert!(read_json(&deep(NESTING_MAX + 1)).is_err());
        assert!(read_json(&"[{\"a\":".repeat(100_000)).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "NaN",
            "Infinity",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "1 2",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\n\"",
            "\"\t\"",
            "\"\0\"",
            "'a'",
            "\u{feff}1",
            "// x\n1",
            "01e999",
            "1.e999",
            "\"\\ud83d",
            "\u{a0}1",
            "\"\\u00é\"",
        ] {
            assert!(read_json(text).is_err(), "{text}");
            assert!(
                serde_json::from_str::<serde_json::Value>(text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_number_keeps_its_value() {
        for float in [
            0.1,
            1.0 / 3.0,
            5e-324,
            2.225_073_858_507_201e-308,
            1e-7,
            -0.5,
            4e15 + 0.5,
        ] {
            let text = Value::Float(float).to_json();
            assert_eq!(Value::from_json(&text), Ok(Value::Float(float)), "{text}");
        }
        assert_eq!(Value::from_json("-0.0"), Ok(Value::Int(0)));
        assert_eq!(Value::from_json("1e2"), Ok(Value::Int(100)));
        assert_eq!(
            Value::from_json("0.30000000000000004").unwrap().to_json(),
            "0.30000000000000004"
        );
    }
}
