//! Bytes of blobs: whole or a range, and never as something that a browser runs.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header as names};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use im_core::frame::{ErrorCode, Failure};
use im_core::model::ConversationId;
use im_core::port::{Content, PortError};
use im_node::Readable;

use super::{blob_id, enter, header};
use crate::Shared;
use crate::http::refusal;

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// What a browser may do with it: nothing.
const POLICY: &str = "default-src 'none'; sandbox";

type Asked = Query<Vec<(String, String)>>;

/// A blob.
pub(super) async fn blob(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    Query(query): Asked,
    headers: HeaderMap,
) -> Response {
    let given = give(&shared, &headers, &blob, &query, false).await;
    given.unwrap_or_else(|refused| *refused)
}

/// Its thumbnail.
pub(super) async fn thumb(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    Query(query): Asked,
    headers: HeaderMap,
) -> Response {
    let given = give(&shared, &headers, &blob, &query, true).await;
    given.unwrap_or_else(|refused| *refused)
}

async fn give(
    shared: &Shared,
    headers: &HeaderMap,
    blob: &str,
    query: &[(String, String)],
    is_thumb: bool,
) -> Result<Response, Box<Response>> {
    let (user, media) = enter(shared, headers, "media.get").await?;
    let refuse = |failure: Failure| Box::new(refusal::failure(&failure));
    let id = blob_id(blob).map_err(refuse)?;
    let conv = query.iter().find(|(name, _)| name == "conv");
    let conv = conv.map(|(_, conv)| ConversationId::new(conv.as_str()));
    let conv = conv
        .transpose()
        .map_err(|error| refuse(Failure::new(ErrorCode::BadFrame, format!("conv: {error}"))))?;
    let opened = media.open(&user, id, conv.as_ref(), is_thumb).await;
    let readable = opened.map_err(refuse)?;
    let suffix = if is_thumb { "-t" } else { "" };
    let tag = format!("\"{}{suffix}\"", readable.blob.sha256);
    Ok(answer(headers, readable, &tag))
}

fn answer(headers: &HeaderMap, readable: Readable, tag: &str) -> Response {
    let size = readable.content.size();
    let mut out = HeaderMap::new();
    let mut set = |name: names::HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            out.insert(name, value);
        }
    };
    set(names::ETAG, tag);
    set(names::ACCEPT_RANGES, "bytes");
    // Who may read it may change: a browser asks each time, and gets no bytes that it has.
    set(names::CACHE_CONTROL, "private, no-cache");
    set(names::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(names::CONTENT_SECURITY_POLICY, POLICY);
    set(names::REFERRER_POLICY, "no-referrer");
    if is_known(headers, tag) {
        return (StatusCode::NOT_MODIFIED, out).into_response();
    }
    set(names::CONTENT_TYPE, &readable.mime);
    let shown = disposition(&readable.blob.name, readable.is_shown);
    set(names::CONTENT_DISPOSITION, &shown);
    let range = header(headers, "range").filter(|_| is_current(headers, tag));
    let (status, from, end) = match range.map_or(Range::None, |text| Range::read(text, size)) {
        Range::None => (StatusCode::OK, 0, size),
        Range::Part(from, end) => {
            let part = format!("bytes {from}-{}/{size}", end - 1);
            set(names::CONTENT_RANGE, &part);
            (StatusCode::PARTIAL_CONTENT, from, end)
        }
        Range::Beyond => {
            set(names::CONTENT_RANGE, &format!("bytes */{size}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, out).into_response();
        }
    };
    set(names::CONTENT_LENGTH, &(end - from).to_string());
    (status, out, bytes(readable.content, from, end)).into_response()
}

/// The client has it already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = header(headers, "if-none-match").unwrap_or_default();
    known.split(',').any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}

/// The client wants a range of that very one.
fn is_current(headers: &HeaderMap, tag: &str) -> bool {
    header(headers, "if-range").is_none_or(|one| one == tag)
}

fn bytes(content: Content, from: u64, end: u64) -> Body {
    let chunks = stream::try_unfold(from, move |at| {
        let content = content.clone();
        async move {
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok::<_, PortError>(None);
            }
            let chunk = content.read(at, left.min(CHUNK_BYTES)).await?;
            let next = at + chunk.len() as u64;
            Ok((!chunk.is_empty()).then_some((chunk, next)))
        }
    });
    Body::from_stream(chunks)
}

/// What part of a blob is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// All of it, also where several parts are: a server may.
    None,
    /// From, and up to before.
    Part(u64, u64),
    /// Nothing that there is.
    Beyond,
}

impl Range {
    fn read(text: &str, size: u64) -> Self {
        let Some((first, last)) = text
            .strip_prefix("bytes=")
            .and_then(|set| set.split_once('-'))
        else {
            return Self::None;
        };
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
            is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
        };
        let (from, end) = match (number(first.trim()), number(last.trim())) {
            (Some(from), Some(last)) if last >= from => (from, last.saturating_add(1)),
            (Some(from), None) if last.trim().is_empty() => (from, size),
            (None, Some(tail)) if first.trim().is_empty() => {
                (size.saturating_sub(tail), if tail == 0 { 0 } else { size })
            }
            _ => return Self::None,
        };
        let end = end.min(size);
        if from >= end {
            return Self::Beyond;
        }
        Self::Part(from, end)
    }
}

/// How it is called when it is saved. The name is harmless; here it only must not break a header.
fn disposition(name: &str, is_shown: bool) -> String {
    let how = if is_shown { "inline" } else { "attachment" };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    let ascii: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{how}; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_all_or_beyond() {
        for (text, range) in [
            ("bytes=0-", Range::Part(0, 10)),
            ("bytes=2-4", Range::Part(2, 5)),
            ("bytes=9-99", Range::Part(9, 10)),
            ("bytes=-3", Range::Part(7, 10)),
            ("bytes=-99", Range::Part(0, 10)),
            ("bytes=10-", Range::Beyond),
            ("bytes=-0", Range::Beyond),
            ("bytes=99999999999999999999-", Range::Beyond),
            ("bytes=4-2", Range::None),
            ("bytes=0-1,3-4", Range::None),
            ("bytes=a-b", Range::None),
            ("bytes=-", Range::None),
            ("lines=0-1", Range::None),
            ("bytes=+1-2", Range::None),
        ] {
            assert_eq!(Range::read(text, 10), range, "{text}");
        }
        assert_eq!(Range::read("bytes=0-0", 0), Range::Beyond);
    }

    #[test]
    fn a_name_breaks_no_header() {
        assert_eq!(
            disposition("a\"b;猫.png", true),
            "inline; filename=\"a_b__.png\"; filename*=UTF-8''a%22b%3B%E7%8C%AB.png"
        );
        assert!(disposition("x.svg", false).starts_with("attachment; "));
    }
}
