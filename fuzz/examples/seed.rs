//! Puts the test vectors into the corpus of the decoders, one file each:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed`

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["client", "server", "json", "messagepack"] {
        let path = root.join("../docs/vectors").join(format!("{name}.json"));
        let vectors: Vec<serde_json::Value> = serde_json::from_str(&fs::read_to_string(path)?)?;
        for (number, vector) in vectors.iter().enumerate() {
            let bytes = match (vector["wire"].as_str(), vector["hex"].as_str()) {
                (Some(wire), _) => wire.as_bytes().to_vec(),
                (None, Some(hex)) => unhex(hex).ok_or(io::ErrorKind::InvalidData)?,
                (None, None) => return Err(io::ErrorKind::InvalidData.into()),
            };
            let target = match vector["codec"].as_str() {
                Some("json") => "decode_json",
                _ => "decode_msgpack",
            };
            let folder = root.join("corpus").join(target);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{name}-{number}")), &bytes)?;
            // The same frame for the other decoder.
            let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
            if let Some(value) = json.and_then(|json| rmp(&json)) {
                let folder = root.join("corpus/decode_msgpack");
                fs::create_dir_all(&folder)?;
                fs::write(folder.join(format!("{name}-{number}")), value)?;
            }
        }
    }
    Ok(())
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect()
}

fn rmp(json: &serde_json::Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, &to_rmpv(json)).ok()?;
    Some(out)
}

fn to_rmpv(json: &serde_json::Value) -> rmpv::Value {
    match json {
        serde_json::Value::Null => rmpv::Value::Nil,
        serde_json::Value::Bool(flag) => (*flag).into(),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => int.into(),
            (None, float) => float.unwrap_or_default().into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => items.iter().map(to_rmpv).collect(),
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.as_str().into(), to_rmpv(value)));
            rmpv::Value::Map(fields.collect())
        }
    }
}
