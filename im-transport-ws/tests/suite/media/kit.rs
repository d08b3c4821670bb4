//! A server that keeps media, and requests as bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_media::MediaProbe;
use im_node::MediaPorts;
use im_testkit::memory::{MemoryBlobs, TestInspect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::Kit;

pub(super) const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
pub(super) const PIECE: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// A server with media of at most 1,000,000 bytes each.
pub(super) async fn start() -> (Kit, Arc<MemoryBlobs>) {
    let blobs = Arc::new(MemoryBlobs::new());
    let ports = MediaPorts {
        blobs: Arc::clone(&blobs) as _,
        probe: Some(Arc::new(MediaProbe::default())),
        inspect: Some(Arc::new(TestInspect::default())),
    };
    let kit = Kit::built(
        |settings| settings.media.bytes_max = 1_000_000,
        |builder| builder.media(ports),
    );
    (kit.await, blobs)
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A header that must be there.
    pub(super) fn has(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            status: status.parse().unwrap(),
            headers: lines.map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }
}

/// The head of a request.
pub(super) fn head(verb: &str, path: &str, who: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    if !who.is_empty() {
        head.push_str(&format!("authorization: Bearer {who}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// Sends a request as it stands; what comes back.
pub(super) async fn raw(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who refuses early closes early: what is not read any more is no failure here.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .unwrap();
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    Reply::read(&answer)
}

pub(super) async fn ask(
    kit: &Kit,
    verb: &str,
    path: &str,
    who: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut request = head(verb, path, who, headers).into_bytes();
    if !body.is_empty() || verb == "PATCH" {
        request.extend(format!("content-length: {}\r\n", body.len()).bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    raw(kit.address, &request).await
}

/// Begins an upload; its path.
pub(super) async fn create(kit: &Kit, who: &str, size: usize, metadata: &str) -> String {
    let size = size.to_string();
    let headers = [TUS, ("upload-length", &size), ("upload-metadata", metadata)];
    let reply = ask(kit, "POST", "/v1/uploads", who, &headers, b"").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    format!("/v1/{}", reply.has("location"))
}

/// Sends a piece.
pub(super) async fn patch(kit: &Kit, who: &str, path: &str, offset: usize, bytes: &[u8]) -> Reply {
    let offset = offset.to_string();
    let headers = [TUS, PIECE, ("upload-offset", &offset)];
    ask(kit, "PATCH", path, who, &headers, bytes).await
}

/// A whole upload; the id of the blob.
pub(super) async fn upload(kit: &Kit, who: &str, bytes: &[u8], metadata: &str) -> String {
    let path = create(kit, who, bytes.len(), metadata).await;
    let reply = patch(kit, who, &path, 0, bytes).await;
    assert_eq!(reply.status, 204, "{reply:?}");
    path.rsplit('/').next().unwrap().to_owned()
}
