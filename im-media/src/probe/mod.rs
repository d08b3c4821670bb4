//! What is in a blob, by its bytes alone.

mod picture;
mod sound;
mod video;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use im_core::model::BlobFound;
use im_core::port::{Content, PortError, Probe, Probed, READ_BYTES_MAX};
use tokio::sync::Semaphore;

pub use picture::PictureLimits;

/// Bytes that a type is told by.
const HEAD_BYTES: usize = 64 << 10;

/// Looks into blobs. Clones share the bound on pictures decoded at once.
#[derive(Debug, Clone)]
pub struct MediaProbe {
    limits: PictureLimits,
    places: Arc<Semaphore>,
}

impl Default for MediaProbe {
    fn default() -> Self {
        Self::new(PictureLimits::default())
    }
}

impl MediaProbe {
    /// A probe with other limits.
    #[must_use]
    pub fn new(limits: PictureLimits) -> Self {
        let places = limits.at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// A picture: what it shows is found by decoding it, off the async threads. One that can't be
    /// decoded within the limits is a file like any other: it could be anything.
    async fn picture(&self, content: &Content, mime: &'static str) -> Result<Probed, PortError> {
        if content.size() > self.limits.bytes_max {
            return Ok(file(BlobFound::UNKNOWN));
        }
        let Ok(_place) = self.places.acquire().await else {
            return Ok(file(BlobFound::UNKNOWN));
        };
        let bytes = all(content).await?;
        let limits = self.limits;
        let looked = tokio::task::spawn_blocking(move || picture::look(&bytes, mime, limits));
        // A decoder that panics has found nothing.
        let found = looked.await.ok().flatten();
        Ok(found.unwrap_or_else(|| file(BlobFound::UNKNOWN)))
    }
}

#[async_trait]
impl Probe for MediaProbe {
    async fn probe(&self, content: &Content) -> Result<Probed, PortError> {
        let head = content.read(0, HEAD_BYTES).await?;
        let mime = type_of(&head);
        if picture::is_decoded(mime) {
            return self.picture(content, mime).await;
        }
        let mut probed = file(mime);
        if mime.starts_with("audio/") || mime.starts_with("video/") {
            let found = &mut probed.found;
            if let Some(film) = video::look(content, &head).await? {
                found.duration_ms = film.duration_ms;
                (found.width, found.height) = film.sides.unzip();
            } else {
                found.duration_ms = sound::duration_ms(content, &head).await?;
            }
        }
        Ok(probed)
    }
}

fn file(mime: &str) -> Probed {
    Probed {
        found: BlobFound {
            mime: mime.to_owned(),
            ..BlobFound::default()
        },
        thumb: None,
    }
}

async fn all(content: &Content) -> Result<Bytes, PortError> {
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < content.size() {
        let chunk = content.read(bytes.len() as u64, READ_BYTES_MAX).await?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// The type of what begins so. Whatever a browser could run has none.
fn type_of(head: &[u8]) -> &'static str {
    let known = infer::get(head).map(|found| found.mime_type());
    match known {
        // Text that is markup or a script, whatever it is called.
        Some(mime) if mime.starts_with("text/") => BlobFound::UNKNOWN,
        // With a codec or two inside, a voice.
        Some("audio/opus") => "audio/ogg",
        Some(mime) => mime,
        None if is_plain_text(head) => "text/plain",
        None => BlobFound::UNKNOWN,
    }
}

/// Text, and no markup: markup begins with `<`.
fn is_plain_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character may be cut at the end of what was read.
        Err(error) if error.error_len().is_none() && head.len() >= HEAD_BYTES => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    !first.is_empty() && !first.starts_with('<') && text.chars().all(is_text)
}

/// Big-endian numbers of a slice, `None` beyond its end.
fn be(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(len)?)?;
    Some(part.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Little-endian ones.
fn le(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(len)?)?;
    Some(
        part.iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// `count` of `per_s`, in milliseconds; `None` when that is no time that a voice or film has.
fn millis(count: u64, per_s: u64) -> Option<u64> {
    /// A month.
    const MS_MAX: u64 = 31 * 24 * 3_600 * 1_000;
    let ms = u128::from(count) * 1_000 / u128::from(per_s.max(1));
    let ms = u64::try_from(ms).ok()?;
    (per_s > 0 && ms <= MS_MAX).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_told_by_bytes_and_what_runs_has_none() {
        for (head, mime) in [
            (&b"\x89PNG\r\n\x1a\n"[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
            (b"%PDF-1.7", "application/pdf"),
            (b"hello, world\n", "text/plain"),
            (
                b"<svg xmlns='x'><script>alert(1)</script></svg>",
                BlobFound::UNKNOWN,
            ),
            (
                b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>",
                BlobFound::UNKNOWN,
            ),
            (b"<!DOCTYPE html><script>", BlobFound::UNKNOWN),
            (b"  <HTML><body>", BlobFound::UNKNOWN),
            (b"<a/>", BlobFound::UNKNOWN),
            (b"#!/bin/sh\nrm", BlobFound::UNKNOWN),
            (b"\0\x01\x02", BlobFound::UNKNOWN),
            (b"", BlobFound::UNKNOWN),
            ("é".as_bytes(), "text/plain"),
            (b"\xc3", BlobFound::UNKNOWN),
        ] {
            let shown = String::from_utf8_lossy(head);
            assert_eq!(type_of(head), mime, "{shown}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_not_told() {
        assert_eq!(millis(96_000, 48_000), Some(2_000));
        assert_eq!(millis(1, 0), None);
        assert_eq!(millis(u64::MAX, 1), None);
        assert_eq!(be(&[1, 2, 3], 1, 2), Some(0x203));
        assert_eq!(le(&[1, 2, 3], 1, 2), Some(0x302));
        assert_eq!(be(&[1], usize::MAX, 2), None);
    }
}
