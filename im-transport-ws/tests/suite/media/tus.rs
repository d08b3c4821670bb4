//! tus 1.0, as its specification says it, and who does not keep to it.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::kit::{PIECE, TUS, ask, create, head, patch, raw, start, upload};
use crate::kit::Kit;

/// A request, and what comes back.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

async fn offset(kit: &Kit, who: &str, path: &str) -> String {
    let reply = ask(kit, "HEAD", path, who, &[TUS], b"").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.has("cache-control"), "no-store");
    reply.has("upload-offset").to_owned()
}

#[tokio::test]
async fn anybody_may_ask_what_the_server_can() {
    let (kit, _) = start().await;
    let reply = ask(&kit, "OPTIONS", "/v1/uploads", "", &[], b"").await;
    assert_eq!(reply.status, 204);
    for (name, value) in [
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        ("tus-max-size", "1000000"),
        ("tus-extension", "creation,termination,checksum,expiration"),
        ("tus-checksum-algorithm", "sha1,sha256"),
    ] {
        assert_eq!(reply.has(name), value);
    }
}

#[tokio::test]
async fn an_upload_in_pieces() {
    let (kit, _) = start().await;
    let metadata = "filename Y2F0LnBuZw==,filetype aW1hZ2UvcG5n";
    let path = create(&kit, "ana", 10, metadata).await;
    assert_eq!(offset(&kit, "ana", &path).await, "0");
    let reply = patch(&kit, "ana", &path, 0, b"0123").await;
    assert_eq!((reply.status, reply.has("upload-offset")), (204, "4"));
    assert!(reply.has("upload-expires").ends_with(" GMT"));
    assert_eq!(reply.has("tus-resumable"), "1.0.0");
    assert_eq!(offset(&kit, "ana", &path).await, "4");
    let reply = ask(&kit, "HEAD", &path, "ana", &[TUS], b"").await;
    assert_eq!(reply.has("upload-length"), "10");
    assert_eq!(reply.has("upload-metadata"), metadata);
    let reply = patch(&kit, "ana", &path, 4, b"456789").await;
    assert_eq!((reply.status, reply.has("upload-offset")), (204, "10"));
    assert_eq!(offset(&kit, "ana", &path).await, "10");
    let blob = path.replace("uploads", "blobs");
    assert_eq!(
        ask(&kit, "GET", &blob, "ana", &[], b"").await.body,
        b"0123456789"
    );
    // By those that can only POST.
    let path = create(&kit, "ana", 4, "").await;
    let headers = [
        TUS,
        PIECE,
        ("upload-offset", "0"),
        ("x-http-method-override", "PATCH"),
    ];
    let reply = ask(&kit, "POST", &path, "ana", &headers, b"abcd").await;
    assert_eq!((reply.status, reply.has("upload-offset")), (204, "4"));
    let reply = ask(&kit, "POST", &path, "ana", &[TUS], b"").await;
    assert_eq!(reply.status, 405);
}

#[tokio::test]
async fn an_upload_of_nothing_is_whole() {
    let (kit, _) = start().await;
    let path = create(&kit, "ana", 0, "").await;
    let blob = path.replace("uploads", "blobs");
    let reply = ask(&kit, "GET", &blob, "ana", &[], b"").await;
    assert_eq!((reply.status, reply.has("content-length")), (200, "0"));
}

#[tokio::test]
async fn what_does_not_keep_to_it_is_refused() {
    let (kit, _) = start().await;
    let path = create(&kit, "ana", 10, "").await;
    let at = |offset: &'static str| ("upload-offset", offset);
    let old = ("tus-resumable", "0.2.2");
    let text = ("content-type", "text/plain");
    let cases: [Case<'_>; 13] = [
        ("POST", "/v1/uploads", &[("upload-length", "5")], 412),
        ("POST", "/v1/uploads", &[old, ("upload-length", "5")], 412),
        ("POST", "/v1/uploads", &[TUS], 400),
        (
            "POST",
            "/v1/uploads",
            &[TUS, ("upload-defer-length", "1")],
            400,
        ),
        ("POST", "/v1/uploads", &[TUS, ("upload-length", "-1")], 400),
        (
            "POST",
            "/v1/uploads",
            &[TUS, ("upload-length", "99999999999999999999")],
            400,
        ),
        (
            "POST",
            "/v1/uploads",
            &[TUS, ("upload-length", "1000001")],
            413,
        ),
        ("PATCH", &path, &[PIECE, at("0")], 412),
        ("PATCH", &path, &[TUS, text, at("0")], 415),
        ("PATCH", &path, &[TUS, PIECE], 400),
        ("PATCH", &path, &[TUS, PIECE, at("1")], 409),
        (
            "PATCH",
            &path,
            &[TUS, PIECE, at("0"), ("upload-checksum", "md5 YQ==")],
            400,
        ),
        ("HEAD", "/v1/uploads/b-00000000000000ff", &[TUS], 404),
    ];
    for (verb, path, headers, status) in cases {
        let body: &[u8] = if verb == "PATCH" { b"x" } else { b"" };
        let reply = ask(&kit, verb, path, "ana", headers, body).await;
        assert_eq!(reply.status, status, "{verb} {headers:?} {reply:?}");
        assert_eq!(reply.has("tus-resumable"), "1.0.0");
        if status == 412 {
            assert_eq!(reply.has("tus-version"), "1.0.0");
        }
    }
    let bad = [
        TUS,
        ("upload-length", "5"),
        ("upload-metadata", "filename %%%"),
    ];
    let reply = ask(&kit, "POST", "/v1/uploads", "ana", &bad, b"").await;
    assert_eq!(reply.status, 400);
    assert_eq!(offset(&kit, "ana", &path).await, "0");
}

#[tokio::test]
async fn another_users_upload_is_not_found() {
    let (kit, _) = start().await;
    let path = create(&kit, "ana", 10, "").await;
    assert_eq!(patch(&kit, "ben", &path, 0, b"x").await.status, 404);
    for verb in ["HEAD", "DELETE"] {
        assert_eq!(ask(&kit, verb, &path, "ben", &[TUS], b"").await.status, 404);
        assert_eq!(
            ask(&kit, verb, &path, "nobody", &[TUS], b"").await.status,
            401
        );
        assert_eq!(ask(&kit, verb, &path, "", &[TUS], b"").await.status, 401);
    }
    for verb in ["GET", "HEAD"] {
        for path in [
            "/v1/blobs/b-00000000000000ff",
            "/v1/blobs/x/thumb",
            "/v1/blobs/%2e%2e",
        ] {
            assert_eq!(ask(&kit, verb, path, "", &[], b"").await.status, 401);
            assert_eq!(ask(&kit, verb, path, "ana", &[], b"").await.status, 404);
        }
    }
    assert_eq!(offset(&kit, "ana", &path).await, "0");
}

#[tokio::test]
async fn more_bytes_than_were_said_are_refused() {
    let (kit, blobs) = start().await;
    let path = create(&kit, "ana", 10, "").await;
    let reply = patch(&kit, "ana", &path, 0, &[7; 11]).await;
    assert_eq!(reply.status, 413);
    // In parts, without a length, and without an end.
    let headers = [
        TUS,
        PIECE,
        ("upload-offset", "0"),
        ("transfer-encoding", "chunked"),
    ];
    let mut request = head("PATCH", &path, "ana", &headers).into_bytes();
    request.extend(b"\r\n");
    for _ in 0..100 {
        request.extend(b"4\r\nabcd\r\n");
    }
    assert_eq!(raw(kit.address, &request).await.status, 413);
    assert_eq!(offset(&kit, "ana", &path).await, "0");
    assert!(blobs.keys().is_empty());
}

#[tokio::test]
async fn a_piece_is_what_its_checksum_says_or_nothing() {
    let (kit, blobs) = start().await;
    let path = create(&kit, "ana", 6, "").await;
    let sha1 = "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let sha256 = "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    let send = async |at: &str, sum: &str, bytes: &[u8]| {
        let headers = [TUS, PIECE, ("upload-offset", at), ("upload-checksum", sum)];
        ask(&kit, "PATCH", &path, "ana", &headers, bytes)
            .await
            .status
    };
    for sum in [sha1, sha256] {
        assert_eq!(send("0", sum, b"abd").await, 460);
    }
    assert_eq!(offset(&kit, "ana", &path).await, "0");
    assert!(blobs.keys().is_empty());
    assert_eq!(send("0", sha1, b"abc").await, 204);
    assert_eq!(send("3", sha256, b"abc").await, 204);
    let blob = path.replace("uploads", "blobs");
    assert_eq!(
        ask(&kit, "GET", &blob, "ana", &[], b"").await.body,
        b"abcabc"
    );
}

/// The client goes in the middle: what has come is kept, and the rest comes later.
#[tokio::test]
async fn a_connection_that_breaks_keeps_what_has_come() {
    let (kit, _) = start().await;
    for checksum in [None, Some("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=")] {
        let path = create(&kit, "ana", 1_000, "").await;
        let mut headers = vec![
            TUS,
            PIECE,
            ("upload-offset", "0"),
            ("content-length", "1000"),
        ];
        headers.extend(checksum.map(|sum| ("upload-checksum", sum)));
        let mut request = head("PATCH", &path, "ana", &headers).into_bytes();
        request.extend(b"\r\n");
        request.extend([7; 400]);
        let mut stream = TcpStream::connect(kit.address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(stream);
        let kept = if checksum.is_none() { "400" } else { "0" };
        for _ in 0..100 {
            if offset(&kit, "ana", &path).await == kept {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(offset(&kit, "ana", &path).await, kept);
        let at: usize = kept.parse().unwrap();
        assert_eq!(
            patch(&kit, "ana", &path, at, &vec![7; 1_000 - at])
                .await
                .status,
            204
        );
    }
}

#[tokio::test]
async fn of_two_pieces_at_once_one_is_taken() {
    let (kit, _) = start().await;
    let path = create(&kit, "ana", 300_000, "").await;
    let (one, two) = (vec![1; 300_000], vec![2; 300_000]);
    let both = tokio::join!(
        patch(&kit, "ana", &path, 0, &one),
        patch(&kit, "ana", &path, 0, &two)
    );
    let mut status = [both.0.status, both.1.status];
    status.sort_unstable();
    assert_eq!(status, [204, 409]);
    let blob = path.replace("uploads", "blobs");
    let read = ask(&kit, "GET", &blob, "ana", &[], b"").await.body;
    assert!(read == one || read == two);
}

#[tokio::test]
async fn an_upload_is_ended() {
    let (kit, blobs) = start().await;
    let path = create(&kit, "ana", 10, "").await;
    patch(&kit, "ana", &path, 0, b"0123").await;
    assert_eq!(
        ask(&kit, "DELETE", &path, "ana", &[TUS], b"").await.status,
        204
    );
    assert_eq!(
        ask(&kit, "HEAD", &path, "ana", &[TUS], b"").await.status,
        404
    );
    assert_eq!(patch(&kit, "ana", &path, 4, b"x").await.status, 404);
    assert!(blobs.keys().is_empty());
}

#[tokio::test]
async fn a_virus_is_refused_with_the_last_piece() {
    let (kit, blobs) = start().await;
    let virus = im_testkit::memory::TestInspect::EICAR.concat();
    let path = create(&kit, "ana", virus.len(), "").await;
    let reply = patch(&kit, "ana", &path, 0, virus.as_bytes()).await;
    assert_eq!(reply.status, 422, "{reply:?}");
    let blob = path.replace("uploads", "blobs");
    assert_eq!(ask(&kit, "GET", &blob, "ana", &[], b"").await.status, 404);
    assert_eq!(
        ask(&kit, "HEAD", &path, "ana", &[TUS], b"").await.status,
        410
    );
    assert!(blobs.keys().is_empty());
}

#[tokio::test]
async fn without_media_there_is_nothing_to_upload_to() {
    let kit = Kit::start().await;
    let headers = [TUS, ("upload-length", "5")];
    let reply = ask(&kit, "POST", "/v1/uploads", "ana", &headers, b"").await;
    assert_eq!(reply.status, 501);
    let (kit, blobs) = start().await;
    blobs.fail(Some(im_core::port::PortErrorKind::Exhausted));
    let path = create(&kit, "ana", 5, "").await;
    let reply = patch(&kit, "ana", &path, 0, b"01234").await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    blobs.fail(None);
    let blob = upload(&kit, "ana", b"x", "").await;
    assert!(blob.starts_with("b-"));
}
