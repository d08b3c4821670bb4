//! Decoders: never a panic, what was read is written so that it reads the same, an answer is a
//! good frame itself, and the other parsers of the two formats agree on what is garbage.

use im_core::frame::{
    Codec, DecodeError, ErrFrame, ErrorCode, Failure, ServerFrame, TargetRef, decode_client,
    decode_server, encode, encode_client,
};
use im_core::model::{JsonError, Value};

/// Nesting beyond this is garbage whatever the other parser says.
const NESTING_MAX: usize = 128;

/// The first byte that no value has.
const NEVER_USED: u8 = 0xc1;

/// Reads bytes as both sides would.
pub fn check(codec: Codec, bytes: &[u8]) {
    let client = decode_client(codec, bytes);
    if let Ok(frame) = &client {
        for other in Codec::ALL {
            let again = decode_client(other, &encode_client(other, frame));
            assert_eq!(again.as_ref(), Ok(frame));
        }
    }
    if let Ok(frame) = decode_server(codec, bytes) {
        assert_eq!(encode(Codec::Json, &frame), frame.to_value().to_json());
        for other in Codec::ALL {
            let again = decode_server(other, &encode(other, &frame));
            assert_eq!(again.as_ref(), Ok(&frame));
        }
    }
    if let Err(DecodeError::Bad { of, .. } | DecodeError::Unsupported { of }) = &client {
        answer(codec, of);
    }
    let is_garbage = matches!(client, Err(DecodeError::Garbage(_)));
    match codec {
        Codec::Json => json(bytes, is_garbage),
        Codec::MessagePack if is_messagepack_object(bytes) => {
            // They read the type that is never used as nil.
            assert!(!is_garbage || bytes.contains(&NEVER_USED));
        }
        Codec::MessagePack => assert!(is_garbage),
    }
}

fn answer(codec: Codec, of: &TargetRef) {
    let err = ServerFrame::Err(ErrFrame {
        re: of.re.clone().unwrap_or_default(),
        id: of.id.clone(),
        cm_id: of.cm_id.clone(),
        failure: Failure::new(ErrorCode::BadFrame, "x"),
    });
    assert_eq!(decode_server(codec, &encode(codec, &err)), Ok(err));
}

fn json(bytes: &[u8], is_garbage: bool) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(is_garbage);
        return;
    };
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match (Value::from_json(text), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert!(is_equal(&ours, &theirs), "{ours:?} {theirs:?}");
            assert_eq!(Value::from_json(&ours.to_json()), Ok(ours.clone()));
            let canonical = serde_json::from_str(&ours.to_json());
            assert!(canonical.is_ok_and(|theirs| is_equal(&ours, &theirs)));
        }
        (Ok(ours), Err(error)) => panic!("{ours:?}: {error}"),
        (Err(JsonError::Syntax(at)), Ok(theirs)) => panic!("{at}: {theirs}"),
        // Duplicates and large numbers are theirs to accept; lone surrogates and 1e999 are not.
        (Err(JsonError::Rule(_)), _) => {}
        (Err(JsonError::Syntax(_)), Err(_)) => assert!(is_garbage),
    }
}

fn is_equal(ours: &Value, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        // Below 2^53 a double holds every integer.
        (Value::Int(a), serde_json::Value::Number(b)) => b.as_f64() == Some(*a as f64),
        (Value::Float(a), serde_json::Value::Number(b)) => b.as_f64() == Some(*a),
        (Value::Text(a), serde_json::Value::String(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), serde_json::Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(&**key).is_some_and(|b| is_equal(a, b)))
        }
        _ => false,
    }
}

fn is_messagepack_object(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    match rmpv::decode::read_value_ref(&mut rest) {
        Ok(value @ rmpv::ValueRef::Map(_)) => rest.is_empty() && depth(&value) <= NESTING_MAX,
        _ => false,
    }
}

fn depth(value: &rmpv::ValueRef<'_>) -> usize {
    match value {
        rmpv::ValueRef::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        rmpv::ValueRef::Map(fields) => {
            let inner = fields
                .iter()
                .map(|(key, value)| depth(key).max(depth(value)));
            1 + inner.max().unwrap_or(0)
        }
        _ => 0,
    }
}
