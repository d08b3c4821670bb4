//! A scanner over one JSON object: enough for both ends of the bench, no allocation.
//!
//! It finds where values begin and end and trusts the rest, because the frames come from the
//! program under test; a frame that it can't follow counts as corrupt.

/// Calls `on` with every key of the object `json` and the bytes of its value, in order.
///
/// Strings keep their quotes, so [`text`] tells a string from another value. Returns `None` when
/// the bytes aren't an object.
pub(crate) fn fields<'a>(json: &'a [u8], mut on: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    let mut at = skip_space(json, 0);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Some(());
    }
    loop {
        let key_end = string_end(json, at)?;
        let colon = skip_space(json, key_end);
        if json.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_space(json, colon + 1);
        let end = value_end(json, start)?;
        on(&json[at + 1..key_end - 1], &json[start..end]);
        at = skip_space(json, end);
        match json.get(at)? {
            b',' => at = skip_space(json, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

/// Calls `on` with every element of the array `json`; `None` when the bytes aren't an array.
pub(crate) fn elements<'a>(json: &'a [u8], mut on: impl FnMut(&'a [u8])) -> Option<()> {
    let mut at = skip_space(json, 0);
    if json.get(at) != Some(&b'[') {
        return None;
    }
    at = skip_space(json, at + 1);
    if json.get(at) == Some(&b']') {
        return Some(());
    }
    loop {
        let end = value_end(json, at)?;
        on(&json[at..end]);
        at = skip_space(json, end);
        match json.get(at)? {
            b',' => at = skip_space(json, at + 1),
            b']' => return Some(()),
            _ => return None,
        }
    }
}

/// The value of one key, for frames that aren't on the hot path.
pub(crate) fn field<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    fields(json, |key, value| {
        if key == name.as_bytes() {
            found = Some(value);
        }
    })?;
    found
}

/// The inside of a string value, escapes left as they are.
pub(crate) fn text(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => None,
    }
}

/// A non-negative integer, bare or inside a string.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    let digits = text(value).unwrap_or(value);
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at),
        b'{' | b'[' => nested_end(json, at),
        _ => {
            let rest = &json[at..];
            let len = rest
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']' | b' '))?;
            (len > 0).then_some(at + len)
        }
    }
}

fn nested_end(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = string_end(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The position after the closing quote of the string that opens at `at`.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
