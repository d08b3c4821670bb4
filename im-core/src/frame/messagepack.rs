//! MessagePack to values and back.

use std::borrow::Cow;

use crate::model::{FRAME_DEPTH_MAX, NESTING_MAX, Value, Violation};

/// The room that an array or an object gets before its items are seen: its length is a claim.
const RESERVED_MAX: usize = 16;

/// Why bytes are no MessagePack (or nest deeper than any frame): at that byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no MessagePack at byte {0}")]
pub(super) struct Malformed(usize);

type Read<T> = Result<T, Malformed>;

/// Reads a value and the first rule that it breaks.
pub(super) fn read(bytes: &[u8]) -> Read<(Value, Option<Violation>)> {
    let mut reader = Reader {
        bytes,
        at: 0,
        depth: 0,
        violation: None,
    };
    let value = reader.value()?;
    if reader.at == bytes.len() {
        Ok((value, reader.violation))
    } else {
        Err(reader.error())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    violation: Option<Violation>,
}

impl<'a> Reader<'a> {
    const fn error(&self) -> Malformed {
        Malformed(self.at)
    }

    /// What stands for a value that breaks a rule: nobody may take it for a good one.
    fn note(&mut self, violation: Violation) -> Value {
        self.violation.get_or_insert(violation);
        Value::Null
    }

    fn judge(&mut self, value: Result<Value, Violation>) -> Value {
        value.unwrap_or_else(|violation| self.note(violation))
    }

    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or_else(|| self.error())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.error())?;
        self.at = end;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| self.error())
    }

    /// An unsigned integer of so many bytes, up to 8.
    fn unsigned(&mut self, len: usize) -> Read<u64> {
        let bytes = self.take(len)?;
        Ok(bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn len(&mut self, len: usize) -> Read<usize> {
        let claimed = self.unsigned(len)?;
        usize::try_from(claimed).map_err(|_| self.error())
    }

    fn value(&mut self) -> Read<Value> {
        let [marker] = self.array_of()?;
        Ok(match marker {
            0x00..=0x7f => Value::Int(i64::from(marker)),
            0x80..=0x8f => self.object(usize::from(marker & 0x0f))?,
            0x90..=0x9f => self.array(usize::from(marker & 0x0f))?,
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc0 => Value::Null,
            0xc1 => return Err(self.error()),
            0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.len(1 << (marker - 0xc4))?;
                self.alien(len)?
            }
            0xc7..=0xc9 => {
                let len = self.len(1 << (marker - 0xc7))?;
                self.take(1)?;
                self.alien(len)?
            }
            0xca => {
                let float = f32::from_be_bytes(self.array_of()?);
                self.judge(Value::number(f64::from(float)))
            }
            0xcb => {
                let float = f64::from_be_bytes(self.array_of()?);
                self.judge(Value::number(float))
            }
            0xcc..=0xcf => {
                let int = self.unsigned(1 << (marker - 0xcc))?;
                self.judge(i64::try_from(int).map_or(Err(Violation::Integer), Value::int))
            }
            0xd0 => Value::Int(i64::from(i8::from_be_bytes(self.array_of()?))),
            0xd1 => Value::Int(i64::from(i16::from_be_bytes(self.array_of()?))),
            0xd2 => Value::Int(i64::from(i32::from_be_bytes(self.array_of()?))),
            0xd3 => {
                let int = i64::from_be_bytes(self.array_of()?);
                self.judge(Value::int(int))
            }
            0xd4..=0xd8 => self.alien(1 + (1 << (marker - 0xd4)))?,
            0xd9..=0xdb => {
                let len = self.len(1 << (marker - 0xd9))?;
                self.text(len)?
            }
            0xdc | 0xdd => {
                let len = self.len(2 << (marker - 0xdc))?;
                self.array(len)?
            }
            0xde | 0xdf => {
                let len = self.len(2 << (marker - 0xde))?;
                self.object(len)?
            }
            0xe0..=0xff => Value::Int(i64::from(marker as i8)),
        })
    }

    /// A type that JSON does not have: read past it.
    fn alien(&mut self, len: usize) -> Read<Value> {
        self.take(len)?;
        Ok(self.note(Violation::Type))
    }

    fn text(&mut self, len: usize) -> Read<Value> {
        let bytes = self.take(len)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => self.note(Violation::Nul),
            Ok(text) => Value::Text(Cow::Owned(text.to_owned())),
            Err(_) => self.note(Violation::Utf8),
        })
    }

    fn enter(&mut self) -> Read<()> {
        if self.depth == NESTING_MAX {
            return Err(self.error());
        }
        if self.depth == FRAME_DEPTH_MAX {
            self.note(Violation::Depth);
        }
        self.depth += 1;
        Ok(())
    }

    fn array(&mut self, len: usize) -> Read<Value> {
        self.enter()?;
        let mut items = Vec::with_capacity(len.min(RESERVED_MAX));
        for _ in 0..len {
            items.push(self.value()?);
        }
        self.depth -= 1;
        Ok(Value::Array(items))
    }

    fn object(&mut self, len: usize) -> Read<Value> {
        self.enter()?;
        let mut fields = Vec::with_capacity(len.min(RESERVED_MAX));
        for _ in 0..len {
            match (self.value()?, self.value()?) {
                (Value::Text(key), value) => fields.push((key, value)),
                // Or a text that broke a rule: then that was noted first, and stays.
                _ => {
                    self.note(Violation::Type);
                }
            }
        }
        self.depth -= 1;
        let (object, is_unique) = Value::sorted(fields);
        if !is_unique {
            self.note(Violation::DuplicateKey);
        }
        Ok(object)
    }
}

/// Appends a value in its shortest form.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(flag) => out.push(0xc2 | u8::from(*flag)),
        Value::Int(int) => write_int(out, *int),
        Value::Float(float) => {
            out.push(0xcb);
            out.extend(float.to_be_bytes());
        }
        Value::Text(text) => write_text(out, text),
        Value::Array(items) => {
            write_count(out, items.len(), 0x90, 0xdc);
            for item in items {
                write(out, item);
            }
        }
        Value::Object(fields) => {
            write_count(out, fields.len(), 0x80, 0xde);
            for (key, value) in fields {
                write_text(out, key);
                write(out, value);
            }
        }
    }
}

fn write_int(out: &mut Vec<u8>, int: i64) {
    match int {
        -0x20..=0x7f => out.extend((int as i8).to_be_bytes()),
        0x80..=0xff => out.extend([0xcc, int as u8]),
        0x100..=0xffff => write_tagged(out, 0xcd, (int as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => write_tagged(out, 0xce, (int as u32).to_be_bytes()),
        0x1_0000_0000.. => write_tagged(out, 0xcf, int.to_be_bytes()),
        -0x80..-0x20 => write_tagged(out, 0xd0, (int as i8).to_be_bytes()),
        -0x8000..-0x80 => write_tagged(out, 0xd1, (int as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => write_tagged(out, 0xd2, (int as i32).to_be_bytes()),
        ..-0x8000_0000 => write_tagged(out, 0xd3, int.to_be_bytes()),
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..=0x1f => out.push(0xa0 | len as u8),
        len @ 0x20..=0xff => out.extend([0xd9, len as u8]),
        len @ 0x100..=0xffff => write_tagged(out, 0xda, (len as u16).to_be_bytes()),
        // No frame comes near 4 GiB.
        len => write_tagged(out, 0xdb, (len as u32).to_be_bytes()),
    }
    out.extend_from_slice(text.as_bytes());
}

/// The length of an array or an object: in the marker, or in 2 or 4 bytes after it.
fn write_count(out: &mut Vec<u8>, len: usize, fixed: u8, marker: u8) {
    match len {
        0..=0x0f => out.push(fixed | len as u8),
        0x10..=0xffff => write_tagged(out, marker, (len as u16).to_be_bytes()),
        // No frame comes near 2^32 items.
        _ => write_tagged(out, marker + 1, (len as u32).to_be_bytes()),
    }
}

fn write_tagged<const N: usize>(out: &mut Vec<u8>, marker: u8, bytes: [u8; N]) {
    out.push(marker);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(bytes: &[u8]) -> Option<Violation> {
        read(bytes).unwrap().1
    }

    #[test]
    fn each_rule_is_found() {
        for (bytes, expected) in [
            (&b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"[..], None),
            (
                b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00",
                Some(Violation::Integer),
            ),
            (
                b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(Violation::Integer),
            ),
            (b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x01", None),
            (
                b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x00",
                Some(Violation::Integer),
            ),
            (
                b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
                Some(Violation::Integer),
            ),
            (b"\xca\x7f\xc0\x00\x00", Some(Violation::NotFinite)),
            (b"\xca\x7f\x80\x00\x00", Some(Violation::NotFinite)),
            (
                b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
                Some(Violation::NotFinite),
            ),
            (
                b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
                Some(Violation::NotFinite),
            ),
            (
                b"\xcb\x43\x40\x00\x00\x00\x00\x00\x00",
                Some(Violation::Integer),
            ),
            (b"\xc4\x01x", Some(Violation::Type)),
            (b"\xc5\x00\x00", Some(Violation::Type)),
            (b"\xc6\x00\x00\x00\x01x", Some(Violation::Type)),
            (b"\xc7\x01\x05x", Some(Violation::Type)),
            (b"\xc8\x00\x00\x05", Some(Violation::Type)),
            (b"\xd4\x05x", Some(Violation::Type)),
            (b"\xd6\xff\x00\x00\x00\x00", Some(Violation::Type)),
            (b"\x81\x01\x01", Some(Violation::Type)),
            (b"\x81\xc0\x01", Some(Violation::Type)),
            (b"\x82\xa1a\x01\xa1a\x02", Some(Violation::DuplicateKey)),
            (b"\xa3a\x00b", Some(Violation::Nul)),
            (b"\x81\xa1\x00\x01", Some(Violation::Nul)),
            (b"\xa1\xff", Some(Violation::Utf8)),
            (b"\xa3\xed\xa0\x80", Some(Violation::Utf8)),
        ] {
            assert_eq!(rule(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_cut_or_goes_on_is_refused() {
        for bytes in [
            &b""[..],
            b"\xc1",
            b"\xc0\xc0",
            b"\x92\xc0",
            b"\x81\xa1a",
            b"\xa2a",
            b"\xdb\xff\xff\xff\xffa",
            b"\xdd\xff\xff\xff\xff\xc0",
            b"\xdf\xff\xff\xff\xff\xc0",
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            b"\xc7\x00",
            b"\xcf\x00",
        ] {
            assert!(read(bytes).is_err(), "{bytes:x?}");
        }
        assert!(read(&[0x91; 100_000]).is_err());
        let claims = [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(10_000);
        assert!(read(&claims).is_err());
    }

    #[test]
    fn what_is_written_is_shortest_and_reads_back() {
        let long = "x".repeat(70_000);
        let mut values: Vec<Value> = [31, 32, 255, 256, 65_535, 65_536]
            .iter()
            .map(|len| long[..*len].into())
            .collect();
        values.extend([15, 16, 65_535, 65_536].map(|len| vec![Value::Null; len].into()));
        for bits in 0..53 {
            for int in [
                (1_i64 << bits) - 1,
                1 << bits,
                -(1 << bits),
                -(1 << bits) - 1,
            ] {
                values.extend(Value::int(int));
            }
        }
        values.extend([
            Value::Float(0.5),
            Value::Bool(true),
            Value::Bool(false),
            Value::Null,
        ]);
        let fields = (0..20).map(|i| (format!("k{i}"), Value::Int(i)));
        values.push(Value::object(fields));
        for value in values {
            let mut bytes = Vec::new();
            write(&mut bytes, &value);
            assert_eq!(read(&bytes), Ok((value.clone(), None)));
            assert_eq!(bytes, rmp_serde::to_vec(&value).unwrap());
        }
    }
}
