//! A piece of an upload, as it comes over a connection.

use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use im_core::frame::{ErrorCode, Failure};
use im_core::model::{BlobId, Upload, UserId};
use im_node::{Media, Receiving};
use sha2::{Digest as _, Sha256};

/// How long nothing may come.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a piece may take.
const PIECE_DEADLINE: Duration = Duration::from_secs(3_600);

/// Why a piece was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The node says so.
    Failure(Failure),
    /// It is another than its checksum says.
    Checksum,
    /// It did not come to its end. What had come is kept, unless there was a checksum.
    Broken,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What a piece must be.
#[derive(Debug)]
pub(super) struct Checksum {
    expected: Vec<u8>,
    algorithm: Algorithm,
}

enum Algorithm {
    Sha1(sha1_smol::Sha1),
    Sha256(Sha256),
}

impl std::fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha1(_) => "sha1",
            Self::Sha256(_) => "sha256",
        })
    }
}

impl Checksum {
    /// The name of an algorithm, and base64.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (name, sum) = text.split_once(' ')?;
        let expected = BASE64_STANDARD.decode(sum.trim()).ok()?;
        let (algorithm, length) = match name {
            "sha1" => (Algorithm::Sha1(sha1_smol::Sha1::new()), 20),
            "sha256" => (Algorithm::Sha256(Sha256::new()), 32),
            _ => return None,
        };
        (expected.len() == length).then_some(Self {
            expected,
            algorithm,
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match &mut self.algorithm {
            Algorithm::Sha1(hash) => hash.update(bytes),
            Algorithm::Sha256(hash) => hash.update(bytes),
        }
    }

    fn holds(self) -> bool {
        match self.algorithm {
            Algorithm::Sha1(hash) => hash.digest().bytes()[..] == self.expected[..],
            Algorithm::Sha256(hash) => hash.finalize()[..] == self.expected[..],
        }
    }
}

/// Takes a piece that begins at an offset, of a length if that was said; when it was the last, the
/// upload is finished.
pub(super) async fn take(
    media: Media,
    user: UserId,
    id: BlobId,
    (offset, length): (u64, Option<u64>),
    mut checksum: Option<Checksum>,
    body: Body,
) -> Result<Upload, Refused> {
    let is_whole = checksum.is_some();
    let mut receiving = media.receive(&user, id, offset, is_whole).await?;
    if length.is_some_and(|length| length > receiving.left()) {
        let words = "more bytes than were said";
        return Err(Failure::new(ErrorCode::TooLarge, words).into());
    }
    let came = read(&mut receiving, checksum.as_mut(), body).await;
    let is_broken = match came {
        Ok(()) => false,
        Err(Refused::Broken) if !is_whole => true,
        Err(refused) => {
            receiving.discard().await;
            return Err(refused);
        }
    };
    if checksum.is_some_and(|checksum| !checksum.holds()) {
        receiving.discard().await;
        return Err(Refused::Checksum);
    }
    let upload = receiving.commit().await?;
    if is_broken {
        return Err(Refused::Broken);
    }
    if upload.offset() == upload.size {
        media.finish(&user, id).await?;
    }
    Ok(upload)
}

async fn read(
    receiving: &mut Receiving,
    mut checksum: Option<&mut Checksum>,
    body: Body,
) -> Result<(), Refused> {
    let mut stream = body.into_data_stream();
    let end = tokio::time::Instant::now() + PIECE_DEADLINE;
    loop {
        let silence = tokio::time::Instant::now() + SILENCE_MAX;
        match tokio::time::timeout_at(end.min(silence), stream.next()).await {
            Ok(Some(Ok(bytes))) => {
                if let Some(checksum) = &mut checksum {
                    checksum.update(&bytes);
                }
                receiving.push(bytes).await?;
            }
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) | Err(_) => return Err(Refused::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_met_by_its_bytes_alone() {
        for text in [
            "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
            "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        ] {
            for (bytes, is_met) in [("abc", true), ("abd", false), ("", false)] {
                let mut checksum = Checksum::read(text).unwrap();
                checksum.update(bytes.as_bytes());
                assert_eq!(checksum.holds(), is_met, "{text} {bytes}");
            }
        }
        for bad in ["", "sha1", "md5 YQ==", "sha1 YQ==", "sha256 %", "sha1  "] {
            assert!(Checksum::read(bad).is_none(), "{bad}");
        }
    }
}
