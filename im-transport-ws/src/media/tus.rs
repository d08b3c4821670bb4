//! Resumable uploads by tus 1.0: creation, termination, checksum and expiration.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header as names};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Upload, UploadState};
use im_node::NewUpload;

use super::piece::{Checksum, Refused, take};
use super::{blob_id, count, enter, header};
use crate::Shared;
use crate::http::refusal;

const RESUMABLE: &str = "tus-resumable";
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,termination,checksum,expiration";
const ALGORITHMS: &str = "sha1,sha256";
const PIECE_TYPE: &str = "application/offset+octet-stream";
/// The longest metadata, in bytes.
const METADATA_BYTES_MAX: usize = 4_096;
/// What tus says of a piece whose checksum is another.
const CHECKSUM_MISMATCH: u16 = 460;

type Answer = Result<Response, Box<Response>>;

/// Every answer says which version it is of.
fn told(answer: Answer) -> Response {
    let mut response = answer.unwrap_or_else(|refused| *refused);
    let version = HeaderValue::from_static(VERSION);
    response.headers_mut().insert(RESUMABLE, version);
    response
}

fn refuse(failure: &Failure) -> Box<Response> {
    Box::new(refusal::failure(failure))
}

fn bad(words: &str) -> Box<Response> {
    Box::new(refusal::bad(words))
}

fn same_version(headers: &HeaderMap) -> Result<(), Box<Response>> {
    if header(headers, RESUMABLE) == Some(VERSION) {
        return Ok(());
    }
    let mut response = refusal::bad("tus-resumable: must be 1.0.0");
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    let version = HeaderValue::from_static(VERSION);
    response.headers_mut().insert("tus-version", version);
    Err(Box::new(response))
}

/// What this server can do. Asked by anybody.
pub(super) async fn options(State(shared): State<Arc<Shared>>) -> Response {
    let bytes_max = shared.node.settings().media.bytes_max;
    let fixed = [
        ("tus-version", VERSION),
        ("tus-extension", EXTENSIONS),
        ("tus-checksum-algorithm", ALGORITHMS),
    ];
    let bytes_max = [("tus-max-size", bytes_max.to_string())];
    told(Ok(
        (StatusCode::NO_CONTENT, fixed, bytes_max).into_response()
    ))
}

/// Begins an upload.
pub(super) async fn create(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    told(begin(&shared, &headers).await)
}

async fn begin(shared: &Shared, headers: &HeaderMap) -> Answer {
    let (user, media) = enter(shared, headers, "media.create").await?;
    same_version(headers)?;
    let size = count(headers, "upload-length");
    let size = size.ok_or_else(|| bad("upload-length: must be a number of bytes"))?;
    let metadata = header(headers, "upload-metadata").unwrap_or_default();
    let metadata = Metadata::read(metadata).ok_or_else(|| bad("upload-metadata: is none"))?;
    let new = NewUpload {
        size,
        name: metadata.name,
        said: metadata.said,
        sha256: None,
        by_url: false,
    };
    let id = media.create(&user, new).await;
    let id = id.map_err(|failure| refuse(&failure))?;
    // An upload of nothing is whole.
    if size == 0 {
        let finished = media.finish(&user, id).await;
        finished.map_err(|failure| refuse(&failure))?;
    }
    // Relative to what was asked for, wherever the app has nested it.
    let location = [("location", format!("uploads/{id}"))];
    let upload = media.upload(&user, id).await;
    let upload = upload.map_err(|failure| refuse(&failure))?;
    let response = (StatusCode::CREATED, location, standing(&upload));
    Ok(response.into_response())
}

/// Where an upload stands.
fn standing(upload: &Upload) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("upload-offset", upload.offset().into());
    headers.insert("upload-length", upload.size.into());
    headers.insert(names::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers
}

/// How far an upload has come.
pub(super) async fn head(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
) -> Response {
    told(look(&shared, &headers, &blob).await)
}

async fn look(shared: &Shared, headers: &HeaderMap, blob: &str) -> Answer {
    let (user, media) = enter(shared, headers, "media.create").await?;
    same_version(headers)?;
    let id = blob_id(blob).map_err(|failure| refuse(&failure))?;
    let upload = media.upload(&user, id).await;
    let upload = upload.map_err(|failure| refuse(&failure))?;
    let mut out = standing(&upload);
    if matches!(upload.state, UploadState::Refused(_)) {
        return Ok((StatusCode::GONE, out).into_response());
    }
    out.extend(expires(shared, &upload));
    if let Ok(metadata) = Metadata::of(&upload).parse() {
        out.insert("upload-metadata", metadata);
    }
    Ok((StatusCode::OK, out).into_response())
}

/// When an unfinished upload ends, if nothing more comes.
fn expires(shared: &Shared, upload: &Upload) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if upload.state == UploadState::Open {
        let when = std::time::SystemTime::now() + shared.node.settings().media.upload;
        let when = http_date(when);
        if let Ok(when) = when.parse() {
            headers.insert("upload-expires", when);
        }
    }
    headers
}

/// A piece of an upload.
pub(super) async fn patch(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    told(append(&shared, &headers, &blob, body).await)
}

async fn append(shared: &Shared, headers: &HeaderMap, blob: &str, body: Body) -> Answer {
    let (user, media) = enter(shared, headers, "media.create").await?;
    same_version(headers)?;
    let id = blob_id(blob).map_err(|failure| refuse(&failure))?;
    if header(headers, "content-type") != Some(PIECE_TYPE) {
        let mut response = refusal::bad("content-type: must be application/offset+octet-stream");
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Box::new(response));
    }
    let offset = count(headers, "upload-offset");
    let offset = offset.ok_or_else(|| bad("upload-offset: must be a number of bytes"))?;
    let checksum = match header(headers, "upload-checksum") {
        None => None,
        Some(text) => {
            let read = Checksum::read(text);
            Some(read.ok_or_else(|| bad("upload-checksum: must be sha1 or sha256, and base64"))?)
        }
    };
    let length = count(headers, "content-length");
    let piece = take(media, user, id, (offset, length), checksum, body);
    // In a task of its own: when the client goes, what has come is kept all the same.
    let taken = tokio::spawn(piece).await;
    let internal = || Refused::Failure(Failure::new(ErrorCode::Internal, "an internal error"));
    let upload = taken.unwrap_or_else(|_| Err(internal()));
    let upload = upload.map_err(|refused| Box::new(not_taken(&refused)))?;
    let mut out = expires(shared, &upload);
    out.insert("upload-offset", upload.offset().into());
    Ok((StatusCode::NO_CONTENT, out).into_response())
}

fn not_taken(refused: &Refused) -> Response {
    let mut response = match refused {
        Refused::Failure(failure) => refusal::failure(failure),
        Refused::Checksum => {
            let mut response = refusal::bad("upload-checksum: is another");
            if let Ok(status) = StatusCode::from_u16(CHECKSUM_MISMATCH) {
                *response.status_mut() = status;
            }
            response
        }
        Refused::Broken => {
            let mut response = refusal::bad("the piece did not come to its end");
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            response
        }
    };
    // What is left of the body is not waited for.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(names::CONNECTION, close);
    response
}

/// Ends an upload.
pub(super) async fn terminate(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
) -> Response {
    told(end(&shared, &headers, &blob).await)
}

async fn end(shared: &Shared, headers: &HeaderMap, blob: &str) -> Answer {
    let (user, media) = enter(shared, headers, "media.create").await?;
    same_version(headers)?;
    let id = blob_id(blob).map_err(|failure| refuse(&failure))?;
    let removed = media.remove(&user, id).await;
    removed.map_err(|failure| refuse(&failure))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// For clients that can only `POST`.
pub(super) async fn overridden(
    State(shared): State<Arc<Shared>>,
    Path(blob): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match header(&headers, "x-http-method-override") {
        Some("PATCH") => append(&shared, &headers, &blob, body).await,
        Some("DELETE") => end(&shared, &headers, &blob).await,
        Some("HEAD") => look(&shared, &headers, &blob).await,
        _ => match enter(&shared, &headers, "media.create").await {
            Ok(_) => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
            Err(refused) => Err(refused),
        },
    };
    told(answer)
}

/// What a client tells of an upload beside its size.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metadata {
    name: String,
    said: Option<String>,
}

impl Metadata {
    /// Pairs of a key and a value in base64, with commas between them.
    fn read(text: &str) -> Option<Self> {
        if text.len() > METADATA_BYTES_MAX {
            return None;
        }
        let mut metadata = Self::default();
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = BASE64_STANDARD.decode(value.trim()).ok()?;
            let value = String::from_utf8_lossy(&value).into_owned();
            match key {
                "filename" | "name" => metadata.name = value,
                "filetype" | "type" => metadata.said = Some(value),
                _ => {}
            }
        }
        Some(metadata)
    }

    fn of(upload: &Upload) -> String {
        let mut text = format!("filename {}", BASE64_STANDARD.encode(&upload.name));
        if let Some(said) = &upload.said {
            text.push_str(",filetype ");
            text.push_str(&BASE64_STANDARD.encode(said));
        }
        text
    }
}

/// A time as HTTP writes it (RFC 9110).
fn http_date(when: std::time::SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let since = when
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, seconds) = (since / 86_400, since % 86_400);
    // The civil calendar from a count of days: years begin in March, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_pairs_in_base64() {
        let read = Metadata::read("filename Y2F0LnBuZw==, filetype aW1hZ2UvcG5n,is_new").unwrap();
        assert_eq!(read.name, "cat.png");
        assert_eq!(read.said.as_deref(), Some("image/png"));
        assert_eq!(Metadata::read(""), Some(Metadata::default()));
        assert_eq!(Metadata::read("filename %%"), None);
        assert_eq!(Metadata::read(&"x".repeat(5_000)), None);
    }

    #[test]
    fn a_date_is_as_http_writes_it() {
        let at =
            |seconds| http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
    }
}
