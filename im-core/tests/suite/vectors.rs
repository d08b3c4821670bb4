//! `docs/vectors`: every frame as sent on the wire, and what it is read as. The same files test
//! every other codec of the protocol.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use im_core::frame::{
    ClientFrame, Codec, DecodeError, FieldError, Limits, RequestId, ServerFrame, decode_client,
    decode_server, encode, encode_client,
};
use im_core::model::{Body, Kind, Value};
use im_core::rule::{BodyFault, check_body};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

const FILES: &[&str] = &["client", "server", "json", "messagepack"];
/// A file that lost its vectors must not pass.
const VECTORS_MIN: usize = 400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    direction: String,
    codec: String,
    /// A text frame.
    wire: Option<String>,
    /// A frame of bytes.
    hex: Option<String>,
    expect: Json,
}

impl Vector {
    fn bytes(&self) -> Vec<u8> {
        match (&self.wire, &self.hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16))
                .collect::<Result<_, _>>()
                .unwrap_or_else(|error| panic!("{}: {error}", self.name)),
            _ => panic!("{}: wire or hex", self.name),
        }
    }

    fn codec(&self) -> Codec {
        match &*self.codec {
            "json" => Codec::Json,
            "msgpack" => Codec::MessagePack,
            _ => panic!("{}: no such codec", self.name),
        }
    }

    fn read(&self, codec: Codec, bytes: &[u8]) -> Result<Frame, DecodeError> {
        match &*self.direction {
            "client" => decode_client(codec, bytes).map(Frame::Client),
            "server" => decode_server(codec, bytes).map(Frame::Server),
            _ => panic!("{}: no such direction", self.name),
        }
    }

    /// What came out, in the words of `expect`.
    fn outcome(&self, codec: Codec, bytes: &[u8]) -> Json {
        let mut out = json!({});
        let of = match self.read(codec, bytes) {
            Ok(frame) => return json!({ "frame": parse(&frame.to_value().to_json()) }),
            Err(DecodeError::Garbage(_)) => return json!({ "error": "garbage" }),
            Err(DecodeError::Bad { of, error }) => {
                assert!(!error.what.is_empty());
                out["error"] = "bad_frame".into();
                out["field"] = error.field.into();
                of
            }
            Err(DecodeError::Unsupported { of }) => {
                out["error"] = "unsupported".into();
                of
            }
        };
        // Only a node answers.
        if self.direction == "client" {
            let id = of.id.map(|id| match id {
                RequestId::Int(int) => int.into(),
                RequestId::Text(text) => Json::from(text),
            });
            let cm_id = of.cm_id.map(|id| id.as_str().into());
            let named = [("re", of.re.map(Json::from)), ("id", id), ("cm_id", cm_id)];
            for (field, value) in named {
                if let Some(value) = value {
                    out[field] = value;
                }
            }
        }
        out
    }
}

#[derive(Debug, PartialEq)]
enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    fn to_value(&self) -> Value {
        match self {
            Self::Client(frame) => frame.to_value(),
            Self::Server(frame) => frame.to_value(),
        }
    }

    fn encode(&self, codec: Codec) -> bytes::Bytes {
        match self {
            Self::Client(frame) => encode_client(codec, frame),
            Self::Server(frame) => encode(codec, frame),
        }
    }
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn read_file<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors");
    let path = folder.join(name).with_extension("json");
    let text = fs::read_to_string(&path).map_err(|error| error.to_string());
    let read = text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn vectors() -> Vec<Vector> {
    FILES.iter().flat_map(|file| read_file(file)).collect()
}

#[test]
fn every_vector_is_read_as_it_says() {
    let all = vectors();
    assert!(all.len() >= VECTORS_MIN, "{}", all.len());
    for vector in all {
        let outcome = vector.outcome(vector.codec(), &vector.bytes());
        assert_eq!(outcome, vector.expect, "{}", vector.name);
    }
}

#[test]
fn every_frame_has_a_good_and_a_bad_vector() {
    let good = |vector: &Vector| vector.expect.get("frame").is_some();
    let named = |vector: &Vector| {
        let at = if good(vector) {
            &vector.expect["frame"]["t"]
        } else {
            &vector.expect["re"]
        };
        let wire = vector
            .wire
            .as_deref()
            .and_then(|wire| serde_json::from_str(wire).ok());
        let t = at.as_str().map(str::to_owned);
        t.or_else(|| wire.and_then(|wire: Json| Some(wire["t"].as_str()?.to_owned())))
    };
    let seen: BTreeSet<(String, String, bool)> = vectors()
        .iter()
        .filter_map(|vector| Some((vector.direction.clone(), named(vector)?, good(vector))))
        .collect();
    let client = "ack auth hello ping pull read req send sync typing";
    let server = "behind bye entry err event page pong presence receipt res sent synced typing \
                  welcome";
    for (direction, names) in [("client", client), ("server", server)] {
        for name in names.split_whitespace() {
            for good in [true, false] {
                let key = (direction.to_owned(), name.to_owned(), good);
                assert!(seen.contains(&key), "{key:?}");
            }
        }
    }
}

#[test]
fn what_was_read_is_written_so_that_it_reads_the_same() {
    for vector in vectors() {
        let Ok(frame) = vector.read(vector.codec(), &vector.bytes()) else {
            continue;
        };
        for codec in Codec::ALL {
            let bytes = frame.encode(codec);
            assert_eq!(
                vector.read(codec, &bytes).unwrap(),
                frame,
                "{}",
                vector.name
            );
        }
        let json = frame.encode(Codec::Json);
        assert_eq!(
            frame.to_value().to_json().as_bytes(),
            &json[..],
            "{}",
            vector.name
        );
    }
}

#[test]
fn the_same_frame_in_messagepack_is_read_the_same() {
    for file in ["client", "server"] {
        for vector in read_file::<Vector>(file) {
            let bytes = rmp_serde::to_vec(&parse(vector.wire.as_ref().unwrap())).unwrap();
            let outcome = vector.outcome(Codec::MessagePack, &bytes);
            assert_eq!(outcome, vector.expect, "{}", vector.name);
        }
    }
}

/// One of each type, and some that are nearly right.
fn samples() -> Vec<Json> {
    let deep = (0..20).fold(json!([]), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(0.5),
        json!(9_007_199_254_740_991_i64),
        json!(9_007_199_254_740_992_i64),
        json!(""),
        json!("x"),
        json!("1"),
        json!("x".repeat(300)),
        json!("a\u{0}b"),
        json!([]),
        json!([null]),
        json!(["x", {}]),
        json!({}),
        json!({"kind": "text", "text": 5, "user": [], "conv": {}}),
        deep,
    ]
}

/// Every place in a value, as a path of names and indices; of an array the first two items.
fn places(value: &Json, path: &str, out: &mut Vec<String>) {
    let inner: Vec<(String, &Json)> = match value {
        Json::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Json::Array(items) => items
            .iter()
            .take(2)
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => return,
    };
    for (name, value) in inner {
        let path = format!("{path}/{name}");
        places(value, &path, out);
        out.push(path);
    }
}

#[test]
fn every_field_of_every_type_is_read_or_named_and_never_a_panic() {
    let samples = samples();
    let mut seen = BTreeSet::new();
    for file in ["client", "server"] {
        for vector in read_file::<Vector>(file) {
            let frame = parse(vector.wire.as_ref().unwrap());
            if vector.expect.get("frame").is_none() {
                continue;
            }
            let mut paths = Vec::new();
            places(&frame, "", &mut paths);
            for path in paths {
                // The next vector of the same frame would say the same.
                if !seen.insert(format!("{file} {} {path}", frame["t"])) {
                    continue;
                }
                for sample in &samples {
                    let mut frame = frame.clone();
                    *frame.pointer_mut(&path).unwrap() = sample.clone();
                    let bytes = serde_json::to_vec(&frame).unwrap();
                    let outcome = vector.outcome(Codec::Json, &bytes);
                    let named = outcome["field"]
                        .as_str()
                        .is_some_and(|field| !field.is_empty());
                    let good = outcome.get("frame").is_some()
                        || outcome["error"] == "unsupported"
                        || named;
                    assert!(good, "{}: {path} = {sample}: {outcome}", vector.name);
                    let bytes = rmp_serde::to_vec(&frame).unwrap();
                    assert_eq!(vector.outcome(Codec::MessagePack, &bytes), outcome);
                }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyVector {
    name: String,
    body: Json,
    expect: Json,
}

#[test]
fn every_body_is_judged_as_it_says() {
    let all: Vec<BodyVector> = read_file("bodies");
    for kind in Kind::ALL {
        assert!(
            all.iter()
                .any(|vector| vector.body["kind"] == kind.as_str()),
            "{kind:?}"
        );
    }
    let refused = |error: &str, field: FieldError| json!({"error": error, "field": field.field});
    for vector in all {
        let value = Value::from_json(&vector.body.to_string()).unwrap();
        let body = Body::new(&value).unwrap();
        let outcome = match check_body(&body, &Limits::default()) {
            Ok(()) => json!({"ok": true}),
            Err(BodyFault::Field(error)) => refused("bad_frame", error),
            Err(BodyFault::TooLarge(error)) => refused("too_large", error),
            Err(BodyFault::Server) => json!({"error": "forbidden", "field": "body.kind"}),
        };
        assert_eq!(outcome, vector.expect, "{}", vector.name);
    }
}
