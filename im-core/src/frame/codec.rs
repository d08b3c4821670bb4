//! JSON and MessagePack: bytes to frames and back.

use std::fmt::Display;

use bytes::Bytes;

use super::client::{ClientFrame, TargetRef, mentions_value};
use super::fields::{FieldError, Fields};
use super::log::Page;
use super::messagepack;
use super::server::ServerFrame;
use crate::model::{
    Entry, Value, Violation, read_json, write_display as number, write_json_text as text,
};

/// How frames are written on a connection, by its WebSocket sub-protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// `im.v1.json`: text frames.
    Json,
    /// `im.v1.msgpack`: binary frames.
    MessagePack,
}

impl Codec {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The WebSocket sub-protocol.
    #[must_use]
    pub const fn sub_protocol(self) -> &'static str {
        match self {
            Self::Json => "im.v1.json",
            Self::MessagePack => "im.v1.msgpack",
        }
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not of the codec at all: the connection is closed with 4400.
    #[error("not a frame: {0}")]
    Garbage(String),
    /// A field is missing or misshapen: answered by `err bad_frame`.
    #[error("{error}")]
    Bad {
        /// What the answer can name.
        of: TargetRef,
        /// Which field, and why.
        error: FieldError,
    },
    /// No such `t`: answered by `err unsupported`.
    #[error("no such frame")]
    Unsupported {
        /// What the answer can name.
        of: TargetRef,
    },
}

/// Reads a client's frame.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_client(codec: Codec, bytes: &[u8]) -> Result<ClientFrame, DecodeError> {
    decode(codec, bytes, ClientFrame::from_fields)
}

/// Reads a node's frame, for clients.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_server(codec: Codec, bytes: &[u8]) -> Result<ServerFrame, DecodeError> {
    decode(codec, bytes, ServerFrame::from_fields)
}

/// Writes a node's frame.
#[must_use]
pub fn encode(codec: Codec, frame: &ServerFrame) -> Bytes {
    match (codec, frame) {
        (Codec::Json, ServerFrame::Entry(entry)) => {
            let mut out = String::with_capacity(entry.body.json().len() + 256);
            write_entry(entry, true, &mut out);
            out.into()
        }
        (Codec::Json, ServerFrame::Page(page)) => write_page(page).into(),
        (Codec::Json, ServerFrame::Sent { .. }) => write_sent(frame).into(),
        (Codec::Json, frame) => frame.to_value().to_json().into(),
        (Codec::MessagePack, frame) => to_messagepack(&frame.to_value()),
    }
}

/// Writes a client's frame.
#[must_use]
pub fn encode_client(codec: Codec, frame: &ClientFrame) -> Bytes {
    match codec {
        Codec::Json => frame.to_value().to_json().into(),
        Codec::MessagePack => to_messagepack(&frame.to_value()),
    }
}

fn to_messagepack(value: &Value) -> Bytes {
    let mut out = Vec::with_capacity(256);
    messagepack::write(&mut out, value);
    out.into()
}

fn decode<F>(
    codec: Codec,
    bytes: &[u8],
    from_fields: fn(&str, Fields) -> Result<Option<F>, FieldError>,
) -> Result<F, DecodeError> {
    let (mut fields, violation) = read(codec, bytes)?;
    if let Some(violation) = violation {
        return Err(DecodeError::Bad {
            of: TargetRef::of(&fields),
            error: FieldError::new("frame", violation),
        });
    }
    let frame = fields.text("t").and_then(|t| from_fields(&t, fields));
    // Read again only when something is wrong: good frames need nothing to answer with.
    let of =
        || read(codec, bytes).map_or_else(|_| TargetRef::default(), |(f, _)| TargetRef::of(&f));
    match frame {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(DecodeError::Unsupported { of: of() }),
        Err(error) => Err(DecodeError::Bad { of: of(), error }),
    }
}

fn read(codec: Codec, bytes: &[u8]) -> Result<(Fields, Option<Violation>), DecodeError> {
    let garbage = |what: &dyn Display| DecodeError::Garbage(what.to_string());
    let (value, violation) = match codec {
        Codec::Json => {
            let text = std::str::from_utf8(bytes).map_err(|error| garbage(&error))?;
            read_json(text).map_err(|error| garbage(&error))?
        }
        Codec::MessagePack => messagepack::read(bytes).map_err(|error| garbage(&error))?,
    };
    let fields = Fields::of_frame(value).ok_or_else(|| garbage(&"not an object"))?;
    Ok((fields, violation))
}

/// An entry as [`entry_value`](super::entry_value) has it, without the detour.
fn write_entry(entry: &Entry, with_t: bool, out: &mut String) {
    out.push_str("{\"at\":");
    number(out, entry.at.0);
    out.push_str(",\"body\":");
    out.push_str(entry.body.json());
    if let Some(cm_id) = &entry.cm_id {
        out.push_str(",\"cm_id\":");
        text(out, cm_id.as_str());
    }
    out.push_str(",\"conv\":");
    text(out, entry.conv.as_str());
    if let Some(at) = entry.expires_at {
        out.push_str(",\"expires_at\":");
        number(out, at.0);
    }
    out.push_str(",\"from\":");
    text(out, entry.from.as_str());
    out.push_str(",\"id\":\"");
    number(out, entry.id.0);
    out.push('"');
    if let Some(mentions) = mentions_value(&entry.mentions) {
        out.push_str(",\"mentions\":");
        mentions.write_json(out);
    }
    if let Some(seq) = entry.reply_to {
        out.push_str(",\"reply_to\":");
        number(out, seq.0);
    }
    out.push_str(",\"seq\":");
    number(out, entry.seq.0);
    out.push_str(if with_t { ",\"t\":\"entry\"}" } else { "}" });
}

fn write_page(page: &Page) -> String {
    let bytes: usize = page
        .entries
        .iter()
        .map(|entry| entry.body.json().len() + 256)
        .sum();
    let mut out = String::with_capacity(bytes + 256);
    out.push_str("{\"conv\":");
    text(&mut out, page.conv.as_str());
    out.push_str(",\"entries\":[");
    for (i, entry) in page.entries.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_entry(entry, false, &mut out);
    }
    out.push_str("],\"epoch\":");
    number(&mut out, page.epoch.0);
    out.push_str(",\"first_seq\":");
    number(&mut out, page.first_seq.0);
    out.push_str(",\"id\":");
    page.id.to_value().write_json(&mut out);
    out.push_str(",\"more\":");
    out.push_str(if page.more { "true" } else { "false" });
    out.push_str(",\"t\":\"page\"}");
    out
}

fn write_sent(frame: &ServerFrame) -> String {
    let ServerFrame::Sent {
        cm_id,
        conv,
        seq,
        id,
        at,
        dup,
    } = frame
    else {
        return frame.to_value().to_json();
    };
    let mut out = String::with_capacity(192);
    out.push_str("{\"at\":");
    number(&mut out, at.0);
    out.push_str(",\"cm_id\":");
    text(&mut out, cm_id.as_str());
    out.push_str(",\"conv\":");
    text(&mut out, conv.as_str());
    out.push_str(if *dup {
        ",\"dup\":true,\"id\":\""
    } else {
        ",\"id\":\""
    });
    number(&mut out, id.0);
    out.push_str("\",\"seq\":");
    number(&mut out, seq.0);
    out.push_str(",\"t\":\"sent\"}");
    out
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::frame::ErrorCode;

    fn bad(codec: Codec, bytes: &[u8]) -> FieldError {
        match decode_client(codec, bytes) {
            Err(DecodeError::Bad { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_json_but_breaks_a_rule_is_a_bad_frame_that_names_its_message() {
        for (body, what) in [
            (r#"{"kind":"text","text":"\ud800"}"#, "lone surrogate"),
            (
                r#"{"kind":"text","text":"\udc00\ud83d\ude00"}"#,
                "lone surrogate",
            ),
            (r#"{"kind":"custom","type":"x","data":1e999}"#, "finite"),
            (
                r#"{"kind":"custom","type":"x","data":9007199254740993}"#,
                "2^53",
            ),
            (r#"{"kind":"text","kind":"text","text":"x"}"#, "twice"),
            (r#"{"kind":"text","text":"\u0000"}"#, "U+0000"),
        ] {
            let frame = format!(r#"{{"t":"send","cm_id":"m1","to":{{"user":"b"}},"body":{body}}}"#);
            match decode_client(Codec::Json, frame.as_bytes()) {
                Err(DecodeError::Bad { of, error }) => {
                    assert!(error.what.contains(what), "{body}: {error}");
                    assert_eq!(of.cm_id.unwrap().as_str(), "m1");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn garbage_is_garbage() {
        for bytes in [
            &b""[..],
            b"{",
            b"nope",
            b"[1]",
            b"1",
            b"{\"t\":\"ping\"} x",
            b"\xff\xfe",
            br#"{"t":"ping","x":NaN}"#,
        ] {
            assert!(matches!(
                decode_client(Codec::Json, bytes),
                Err(DecodeError::Garbage(_))
            ));
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(
            decode_client(Codec::Json, deep.as_bytes()),
            Err(DecodeError::Garbage(_))
        ));
        let mut ping = encode_client(Codec::MessagePack, &ClientFrame::Ping { id: None }).to_vec();
        assert!(decode_client(Codec::MessagePack, &ping).is_ok());
        ping.push(0);
        assert!(matches!(
            decode_client(Codec::MessagePack, &ping),
            Err(DecodeError::Garbage(_))
        ));
        let deep = vec![0x91; 100_000];
        assert!(matches!(
            decode_client(Codec::MessagePack, &deep),
            Err(DecodeError::Garbage(_))
        ));
    }

    #[test]
    fn messagepack_types_that_json_lacks_are_bad_frames() {
        // {"t":"ping","id":bin(1)} and {"t":"ping","id":ext}
        let bin = b"\x82\xa1t\xa4ping\xa2id\xc4\x01x";
        assert!(bad(Codec::MessagePack, bin).what.contains("type"));
        let ext = b"\x82\xa1t\xa4ping\xa2id\xd4\x01x";
        assert!(bad(Codec::MessagePack, ext).what.contains("type"));
        // An integer as a key.
        let key = b"\x82\xa1t\xa4ping\x01\x01";
        assert!(bad(Codec::MessagePack, key).what.contains("type"));
    }

    /// The bytes that a value takes beside its own place.
    fn heap(value: &Value) -> usize {
        match value {
            Value::Text(text) => text.len(),
            Value::Array(items) => {
                items.capacity() * size_of::<Value>() + items.iter().map(heap).sum::<usize>()
            }
            Value::Object(fields) => {
                let inner = |(key, value): &(Cow<'_, str>, Value)| key.len() + heap(value);
                fields.capacity() * size_of::<(Cow<'_, str>, Value)>()
                    + fields.iter().map(inner).sum::<usize>()
            }
            _ => 0,
        }
    }

    #[test]
    fn a_frame_takes_no_more_than_so_many_times_its_bytes() {
        const BYTES_PER_BYTE: usize = 72;
        const ITEMS: u16 = 20_000;
        for item in [
            "{}",
            "[]",
            "0",
            "[0]",
            r#"{"":0}"#,
            r#"{"":{}}"#,
            r#""""#,
            "[[]]",
        ] {
            let array = format!("[{}]", [item; ITEMS as usize].join(","));
            let (value, _) = read_json(&array).unwrap();
            assert!(heap(&value) <= BYTES_PER_BYTE * array.len(), "{item}");
            let mut bytes = Vec::new();
            messagepack::write(&mut bytes, &value);
            let (value, _) = messagepack::read(&bytes).unwrap();
            assert!(heap(&value) <= BYTES_PER_BYTE * bytes.len(), "{item}");
        }
    }

    #[test]
    fn unknown_frames_keep_their_ids() {
        match decode_client(Codec::Json, br#"{"t":"dance","id":7}"#) {
            Err(DecodeError::Unsupported { of }) => {
                assert_eq!(of.re.as_deref(), Some("dance"));
                assert_eq!(of.id, Some(crate::frame::RequestId::Int(7)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_frame_written_by_hand_is_the_frame() {
        let entry: ServerFrame = decode_server(
            Codec::Json,
            r#"{"t":"entry","conv":"c\"1","seq":3,"id":"18446744073709551615","from":"é","at":-5,
              "cm_id":"m\\1","body":{"kind":"custom","type":"t","data":[1,0.5,{"z":null,"a":"\n"}]},
              "reply_to":2,"mentions":["a","b"],"expires_at":9}"#
                .as_bytes(),
        )
        .unwrap();
        let ServerFrame::Entry(inner) = entry.clone() else {
            panic!()
        };
        let page = ServerFrame::Page(Page {
            id: crate::frame::RequestId::Text("p".to_owned()),
            conv: inner.conv.clone(),
            epoch: crate::model::Epoch(1),
            first_seq: crate::model::Seq(1),
            entries: vec![std::sync::Arc::clone(&inner), std::sync::Arc::clone(&inner)],
            more: true,
        });
        let sent = ServerFrame::Sent {
            cm_id: inner.cm_id.clone().unwrap(),
            conv: inner.conv.clone(),
            seq: inner.seq,
            id: inner.id,
            at: inner.at,
            dup: true,
        };
        for frame in [entry, page, sent] {
            let json = encode(Codec::Json, &frame);
            assert_eq!(
                std::str::from_utf8(&json).unwrap(),
                frame.to_value().to_json()
            );
            for codec in Codec::ALL {
                assert_eq!(decode_server(codec, &encode(codec, &frame)).unwrap(), frame);
            }
        }
        assert!(
            ErrorCode::ALL
                .iter()
                .all(|code| ErrorCode::parse(code.as_str()) == Some(*code))
        );
    }
}
