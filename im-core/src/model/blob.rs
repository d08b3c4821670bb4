//! Uploads: their ids, and what is kept about each.

use std::fmt;

use super::id::{ConversationId, Timestamp, UserId};
use super::value::Value;

/// The id of an upload, given by the server: `b-` and a number that no other has. It is no secret:
/// who may read the blob is decided each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(u64);

impl BlobId {
    /// The id of that number.
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self(number)
    }

    /// Reads an id; `None` when the text is none, which no upload of ours has then.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("b-").filter(|hex| hex.len() == 16)?;
        // One text for each id: what is read as a number could also have a sign or capitals.
        let number = u64::from_str_radix(hex, 16).ok().map(Self)?;
        (number.to_string() == text).then_some(number)
    }

    /// The conversation that a commit about this blob is for. There is none: it has a slot.
    #[must_use]
    pub fn place(self) -> ConversationId {
        match ConversationId::new(self.to_string()) {
            Ok(conv) => conv,
            Err(_) => unreachable!("18 characters without a control are an id"),
        }
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b-{:016x}", self.0)
    }
}

/// How far an upload has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadState {
    /// Bytes are missing, or were not looked at yet.
    Open,
    /// It is a blob.
    Done,
    /// It is none, and this is why, in words for people.
    Refused(String),
}

/// A part of an upload: one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPart {
    /// The number that names the object.
    pub number: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// An upload, as it is kept with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its size in bytes, as it was said and as it must be.
    pub size: u64,
    /// Its name, made harmless.
    pub name: String,
    /// What the client called its type. Nothing is decided by it.
    pub said: Option<String>,
    /// SHA-256 of the whole, in hexadecimal, if the client said it: then it must be so.
    pub sha256: Option<String>,
    /// What has arrived, in its order.
    pub parts: Vec<UploadPart>,
    /// It goes to the storage by a signed URL, in one piece.
    pub by_url: bool,
    /// When it began.
    pub at: Timestamp,
    /// How far it has come.
    pub state: UploadState,
}

impl Upload {
    /// How many bytes have arrived.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self.state {
            UploadState::Done => self.size,
            _ => self.parts.iter().map(|part| part.size).sum(),
        }
    }

    /// What is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        let part = |part: &UploadPart| Value::from(vec![hex(part.number), part.size.into()]);
        let parts: Vec<Value> = self.parts.iter().map(part).collect();
        let mut fields = vec![
            ("size", Value::from(self.size)),
            ("name", self.name.as_str().into()),
            ("parts", parts.into()),
            ("by_url", self.by_url.into()),
            ("at", self.at.0.into()),
        ];
        let text = |text: &String| Value::from(text.as_str());
        fields.extend(self.said.as_ref().map(|said| ("said", text(said))));
        fields.extend(self.sha256.as_ref().map(|sum| ("sha256", text(sum))));
        match &self.state {
            UploadState::Open => {}
            UploadState::Done => fields.push(("done", true.into())),
            UploadState::Refused(why) => fields.push(("refused", text(why))),
        }
        Value::object(fields).to_json()
    }

    /// Reads what is kept.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        let value = Value::from_json(json).ok()?;
        let Some(Value::Array(parts)) = value.get("parts") else {
            return None;
        };
        let refused = text(&value, "refused");
        Some(Self {
            size: count(&value, "size")?,
            name: text(&value, "name")?,
            said: text(&value, "said"),
            sha256: text(&value, "sha256"),
            parts: parts.iter().map(part).collect::<Option<_>>()?,
            by_url: value.get("by_url") == Some(&Value::Bool(true)),
            at: Timestamp(value.get("at").and_then(Value::as_int)?),
            state: match refused {
                Some(why) => UploadState::Refused(why),
                None if value.get("done").is_some() => UploadState::Done,
                None => UploadState::Open,
            },
        })
    }
}

fn hex(number: u64) -> Value {
    format!("{number:016x}").into()
}

fn part(value: &Value) -> Option<UploadPart> {
    let Value::Array(pair) = value else {
        return None;
    };
    let [number, size] = pair.as_slice() else {
        return None;
    };
    Some(UploadPart {
        number: u64::from_str_radix(number.as_text()?, 16).ok()?,
        size: u64::try_from(size.as_int()?).ok()?,
    })
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_text).map(str::to_owned)
}

fn count(value: &Value, field: &str) -> Option<u64> {
    u64::try_from(value.get(field)?.as_int()?).ok()
}

/// Whether a blob may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobState {
    /// By those who may.
    Good,
    /// By nobody, until an operator has decided; and why.
    Quarantined(String),
    /// It is being removed.
    Gone,
}

/// A blob: an upload that is whole, and was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Who uploaded it.
    pub owner: UserId,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, made harmless.
    pub name: String,
    /// What was found, whatever the client said.
    pub found: BlobFound,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: String,
    /// Whether it may be read.
    pub state: BlobState,
    /// How often a message has named it. It grows, so that who decides on a blob sees whether it
    /// was named meanwhile.
    pub named: u64,
    /// When it was uploaded.
    pub at: Timestamp,
}

/// What is found by looking into a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobFound {
    /// Its type; `application/octet-stream` when it is none that is known and safe to show.
    pub mime: String,
    /// Of pictures and videos, in pixels.
    pub width: Option<u32>,
    /// Of pictures and videos, in pixels.
    pub height: Option<u32>,
    /// Of voices and videos, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Of pictures: <https://blurha.sh>.
    pub blurhash: Option<String>,
    /// The type of its thumbnail, if it has one.
    pub thumb: Option<String>,
}

impl BlobFound {
    /// The type of what is none that is known.
    pub const UNKNOWN: &'static str = "application/octet-stream";

    /// What is told of it to clients.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut fields = vec![("mime", Value::from(self.mime.as_str()))];
        let number = |number: u32| Value::from(u64::from(number));
        fields.extend(self.width.map(|width| ("width", number(width))));
        fields.extend(self.height.map(|height| ("height", number(height))));
        fields.extend(self.duration_ms.map(|ms| ("duration_ms", ms.into())));
        let text = |text: &String| Value::from(text.as_str());
        fields.extend(self.blurhash.as_ref().map(|hash| ("blurhash", text(hash))));
        fields
    }
}

impl Blob {
    /// What is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut fields = self.found.fields();
        fields.extend([
            ("owner", Value::from(self.owner.as_str())),
            ("size", self.size.into()),
            ("name", self.name.as_str().into()),
            ("sha256", self.sha256.as_str().into()),
            ("named", self.named.into()),
            ("at", self.at.0.into()),
        ]);
        fields.extend(
            self.found
                .thumb
                .as_ref()
                .map(|mime| ("thumb", mime.as_str().into())),
        );
        match &self.state {
            BlobState::Good => {}
            BlobState::Quarantined(why) => fields.push(("quarantined", why.as_str().into())),
            BlobState::Gone => fields.push(("gone", true.into())),
        }
        Value::object(fields).to_json()
    }

    /// Reads what is kept.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        let value = Value::from_json(json).ok()?;
        let side = |field| count(&value, field).and_then(|side| u32::try_from(side).ok());
        let state = match text(&value, "quarantined") {
            Some(why) => BlobState::Quarantined(why),
            None if value.get("gone").is_some() => BlobState::Gone,
            None => BlobState::Good,
        };
        Some(Self {
            owner: UserId::new(text(&value, "owner")?).ok()?,
            size: count(&value, "size")?,
            name: text(&value, "name")?,
            found: BlobFound {
                mime: text(&value, "mime")?,
                width: side("width"),
                height: side("height"),
                duration_ms: count(&value, "duration_ms"),
                blurhash: text(&value, "blurhash"),
                thumb: text(&value, "thumb"),
            },
            sha256: text(&value, "sha256")?,
            state,
            named: count(&value, "named")?,
            at: Timestamp(value.get("at").and_then(Value::as_int)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = BlobId::of(0xab);
        assert_eq!(id.to_string(), "b-00000000000000ab");
        assert_eq!(BlobId::parse("b-00000000000000ab"), Some(id));
        for other in [
            "b-00000000000000AB",
            "b-+0000000000000ab",
            "b-ab",
            "00000000000000ab",
            "b-00000000000000ab/../x",
            "",
        ] {
            assert_eq!(BlobId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_kept_is_read() {
        let mut upload = Upload {
            size: 9,
            name: "a\"b".to_owned(),
            said: Some("text/html".to_owned()),
            sha256: None,
            parts: vec![
                UploadPart {
                    number: u64::MAX,
                    size: 4,
                },
                UploadPart { number: 1, size: 3 },
            ],
            by_url: true,
            at: Timestamp(5),
            state: UploadState::Open,
        };
        assert_eq!(upload.offset(), 7);
        for state in [
            UploadState::Open,
            UploadState::Done,
            UploadState::Refused("no".to_owned()),
        ] {
            upload.state = state;
            assert_eq!(Upload::read(&upload.to_json()).as_ref(), Some(&upload));
        }
        let mut blob = Blob {
            owner: UserId::new("ana").unwrap(),
            size: 9,
            name: "n".to_owned(),
            found: BlobFound {
                mime: "image/png".to_owned(),
                width: Some(3),
                height: Some(4),
                duration_ms: Some(5),
                blurhash: Some("x".to_owned()),
                thumb: Some("image/jpeg".to_owned()),
            },
            sha256: "00".to_owned(),
            state: BlobState::Good,
            named: 2,
            at: Timestamp(6),
        };
        for state in [
            BlobState::Good,
            BlobState::Gone,
            BlobState::Quarantined("why".to_owned()),
        ] {
            blob.state = state;
            assert_eq!(Blob::read(&blob.to_json()).as_ref(), Some(&blob));
        }
        assert_eq!(Upload::read("{}"), None);
        assert_eq!(Blob::read("[]"), None);
    }
}
