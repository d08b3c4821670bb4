//! What blobs have to do with messages: which a body names, and what the server's word on them is.

use super::forward;
use crate::model::{Blob, BlobId, Body, Kind, Value};

/// The longest name of an upload, in characters.
pub const BLOB_NAME_CHARS_MAX: usize = 255;
/// What an upload is called whose name has nothing left.
const NAMELESS: &str = "file";

/// The most blobs that one message names.
pub const BLOBS_MAX: usize = 100;

/// The blobs that a body names, each once, with the kind of message that each must suit: its own
/// first, then its thumbnail; of a merged one those of its items. Those of an app's own bodies
/// (`custom`) are the app's.
#[must_use]
pub fn named_blobs(body: &Body) -> Vec<(String, Kind)> {
    let mut named = Vec::new();
    if may_name_blobs(body.kind()) {
        collect(&body.value(), None, forward::DEPTH_MAX, &mut named);
    }
    named
}

/// `of` is the kind that all in a merged message must suit: they were looked at when they were
/// first said.
fn collect(body: &Value, of: Option<Kind>, depth: usize, named: &mut Vec<(String, Kind)>) {
    let kind = body.get("kind").and_then(Value::as_text);
    let Some(kind) = kind
        .and_then(Kind::parse)
        .filter(|kind| may_name_blobs(*kind))
    else {
        return;
    };
    if let (Kind::Merged, Some(Value::Array(items))) = (kind, body.get("items")) {
        let bodies = items.iter().filter_map(|item| item.get("body"));
        for body in bodies.filter(|_| depth > 0) {
            collect(body, Some(Kind::File), depth - 1, named);
        }
        return;
    }
    for (field, kind) in [("blob", kind), ("thumb", Kind::Image)] {
        let Some(id) = body.get(field).and_then(Value::as_text) else {
            continue;
        };
        if named.iter().all(|(other, _)| other != id) {
            named.push((id.to_owned(), of.unwrap_or(kind)));
        }
    }
}

/// Whether bodies of a kind name blobs.
#[must_use]
pub const fn may_name_blobs(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Image | Kind::Video | Kind::Voice | Kind::File | Kind::Card | Kind::Merged
    )
}

/// Whether a body names that blob.
#[must_use]
pub fn names_blob(body: &Body, id: BlobId) -> bool {
    let id = id.to_string();
    named_blobs(body).iter().any(|(named, _)| *named == id)
}

/// Whether a blob is what a message of that kind shows.
#[must_use]
pub fn suits(blob: &Blob, kind: Kind) -> bool {
    let is = |family: &str| blob.found.mime.starts_with(family);
    match kind {
        // A picture that was not decoded could be anything.
        Kind::Image => is("image/") && blob.found.width.is_some(),
        Kind::Video => is("video/"),
        // What records a voice is often a container for videos.
        Kind::Voice => is("audio/") || is("video/"),
        _ => true,
    }
}

/// Whether a browser may show a blob by itself: pictures that were decoded, sounds and videos.
/// Whatever can hold a script is saved instead.
#[must_use]
pub fn is_shown(blob: &Blob) -> bool {
    const PICTURES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];
    let mime = blob.found.mime.as_str();
    let is = |family: &str| mime.starts_with(family);
    (PICTURES.contains(&mime) && blob.found.width.is_some()) || is("audio/") || is("video/")
}

/// The body with the server's word on its blob in place of its sender's: type, size, and what is
/// in it.
#[must_use]
pub fn with_found(body: &Body, blob: &Blob) -> Body {
    if matches!(body.kind(), Kind::Card | Kind::Merged) {
        return body.clone();
    }
    let Value::Object(fields) = body.value() else {
        return body.clone();
    };
    const OURS: [&str; 6] = ["mime", "size", "width", "height", "duration_ms", "blurhash"];
    let mut found = blob.found.fields();
    found.push(("size", blob.size.into()));
    let has = |name: &str| found.iter().any(|(found, _)| *found == name);
    // A video's measures are its sender's where nothing was found.
    let is_theirs = |name: &str| !OURS.contains(&name) || (!has(name) && name != "blurhash");
    let theirs = fields.into_iter().filter(|(name, _)| is_theirs(name));
    let ours = found
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()));
    let all: Vec<_> = theirs.chain(ours).collect();
    Body::new(&Value::object(all)).unwrap_or_else(|_| body.clone())
}

/// A name that is harmless wherever it is shown or saved: without folders, controls, characters
/// that turn the direction of text, and what systems read another way. Never empty.
#[must_use]
pub fn harmless_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: &char| !is_hidden(*c) && !matches!(c, '"' | '<' | '>' | ':' | '|' | '?' | '*');
    let kept: String = last.chars().filter(plain).collect();
    let kept = kept.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let kept = shortened(kept);
    if kept.is_empty() {
        return NAMELESS.to_owned();
    }
    kept
}

/// At most so many characters; what is cut is before the ending, which says what to open it with.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= BLOB_NAME_CHARS_MAX {
        return name.to_owned();
    }
    const ENDING_CHARS_MAX: usize = 16;
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let ending_chars = ending.chars().count();
    if ending.is_empty() || ending_chars > ENDING_CHARS_MAX {
        return name.chars().take(BLOB_NAME_CHARS_MAX).collect();
    }
    let stem = name.chars().take(BLOB_NAME_CHARS_MAX - ending_chars - 1);
    let mut short: String = stem.collect();
    short.push('.');
    short.push_str(ending);
    short
}

/// Controls, and characters that turn the direction of text or join it out of sight.
const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BlobFound, BlobState, Timestamp, UserId};

    fn body(json: &str) -> Body {
        Body::new(&Value::from_json(json).unwrap()).unwrap()
    }

    fn blob(mime: &str, width: Option<u32>) -> Blob {
        Blob {
            owner: UserId::new("ana").unwrap(),
            size: 7,
            name: "n".to_owned(),
            found: BlobFound {
                mime: mime.to_owned(),
                width,
                ..BlobFound::default()
            },
            sha256: String::new(),
            state: BlobState::Good,
            named: 0,
            at: Timestamp(0),
        }
    }

    #[test]
    fn a_name_has_nothing_left_that_leads_elsewhere_or_lies() {
        for (given, kept) in [
            ("cat.png", "cat.png"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("a\0b.png", "ab.png"),
            ("photo\u{202e}gnp.exe", "photognp.exe"),
            ("..", "file"),
            ("", "file"),
            (" . ", "file"),
            ("a\r\nset-cookie: x", "aset-cookie x"),
            ("C:evil", "Cevil"),
            ("猫.jpg", "猫.jpg"),
        ] {
            assert_eq!(harmless_name(given), kept, "{given:?}");
        }
        let long = format!("{}.tar", "é".repeat(1_000));
        let short = harmless_name(&long);
        assert_eq!(short.chars().count(), BLOB_NAME_CHARS_MAX);
        assert!(short.ends_with("é.tar"));
    }

    #[test]
    fn the_servers_word_stands_in_place_of_the_senders() {
        let said = body(
            r#"{"kind":"image","blob":"b","name":"n","size":1,"mime":"image/gif","width":9,
                "blurhash":"lie","caption":"mine"}"#,
        );
        let word = with_found(&said, &blob("image/png", Some(3)));
        let value = word.value();
        let field = |name: &str| value.get(name).cloned();
        assert_eq!(field("mime"), Some("image/png".into()));
        assert_eq!(field("size"), Some(Value::Int(7)));
        assert_eq!(field("width"), Some(Value::Int(3)));
        assert_eq!(field("blurhash"), None);
        assert_eq!(field("caption"), Some("mine".into()));
        assert_eq!(field("blob"), Some("b".into()));
    }

    #[test]
    fn a_merged_body_names_what_its_items_do() {
        let item = |body: &str| format!(r#"{{"from":"a","at":1,"body":{body}}}"#);
        let image = item(r#"{"kind":"image","blob":"b-1","thumb":"b-2"}"#);
        let inner = item(&format!(r#"{{"kind":"merged","items":[{image}]}}"#));
        let voice = item(r#"{"kind":"voice","blob":"b-3"}"#);
        let text = item(r#"{"kind":"text","text":"x","blob":"b-4"}"#);
        let all = format!(r#"{{"kind":"merged","items":[{voice},{inner},{text},{voice}]}}"#);
        let named = named_blobs(&body(&all));
        let ids: Vec<&str> = named.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["b-3", "b-1", "b-2"]);
        assert!(named.iter().all(|(_, kind)| *kind == Kind::File));
    }

    #[test]
    fn a_kind_shows_what_it_says() {
        let picture = blob("image/png", Some(1));
        assert!(suits(&picture, Kind::Image) && suits(&picture, Kind::File));
        assert!(!suits(&blob("image/svg+xml", None), Kind::Image));
        assert!(!suits(&picture, Kind::Voice) && !suits(&picture, Kind::Video));
        assert!(suits(&blob("audio/ogg", None), Kind::Voice));
        assert!(is_shown(&picture) && is_shown(&blob("audio/ogg", None)));
        for mime in [
            "image/png",
            "image/svg+xml",
            "text/html",
            "application/pdf",
            "text/xml",
        ] {
            assert!(!is_shown(&blob(mime, None)), "{mime}");
        }
        let card = body(r#"{"kind":"card","title":"t","blob":"b-x"}"#);
        assert_eq!(named_blobs(&card), [("b-x".to_owned(), Kind::Card)]);
        assert!(named_blobs(&body(r#"{"kind":"custom","type":"t","blob":"b"}"#)).is_empty());
    }
}
