//! Blobs as they are given: whole, in ranges, and never as something that runs.

use im_core::port::Standing;

use super::kit::{TUS, ask, create, patch, start, upload};
use crate::kit::{Kit, user};

/// A picture of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\
    \x15\xc4\x89\0\0\0\x0dIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\
    \x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

async fn send(kit: &Kit, who: &str, kind: &str, blob: &str) -> u16 {
    let body = format!(
        r#"{{"cm_id":"{blob}","to":{{"user":"ben"}},"body":{{"kind":"{kind}","blob":"{blob}",
            "name":"n","size":1,"mime":"x/y"}}}}"#
    );
    let reply = ask(kit, "POST", "/v1/messages", who, &[], body.as_bytes()).await;
    reply.status
}

#[tokio::test]
async fn who_is_banned_gets_and_brings_no_bytes() {
    let (kit, _) = start().await;
    let blob = upload(&kit, "ben", b"mine", "filename Y2F0LmJpbg==").await;
    let begun = create(&kit, "ben", 8, "filename Y2F0LmJpbg==").await;
    kit.directory.set(&user("ben"), Standing::Banned);
    let path = format!("/v1/blobs/{blob}");
    let reply = ask(&kit, "GET", &path, "ben", &[], b"").await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let reply = patch(&kit, "ben", &begun, 0, b"12345678").await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let headers = [TUS, ("upload-length", "8")];
    let reply = ask(&kit, "POST", "/v1/uploads", "ben", &headers, b"").await;
    assert_eq!(reply.status, 403, "{reply:?}");
}

#[tokio::test]
async fn a_blob_is_given_whole_and_in_ranges() {
    let (kit, _) = start().await;
    let all: Vec<u8> = (0..600_000).map(|at| (at % 251) as u8).collect();
    let blob = upload(&kit, "ana", &all, "filename Y2F0LmJpbg==").await;
    let path = format!("/v1/blobs/{blob}");
    let get = async |headers: &[(&str, &str)]| ask(&kit, "GET", &path, "ana", headers, b"").await;
    let whole = get(&[]).await;
    assert_eq!((whole.status, whole.has("accept-ranges")), (200, "bytes"));
    assert!(whole.body == all);
    let tag = whole.has("etag").to_owned();
    assert_eq!(tag.len(), 66);
    for (range, part, shown) in [
        ("bytes=0-9", 0..10, "bytes 0-9/600000"),
        (
            "bytes=599990-",
            599_990..600_000,
            "bytes 599990-599999/600000",
        ),
        ("bytes=-5", 599_995..600_000, "bytes 599995-599999/600000"),
        (
            "bytes=1000-400000",
            1_000..400_001,
            "bytes 1000-400000/600000",
        ),
    ] {
        let reply = get(&[("range", range)]).await;
        assert_eq!((reply.status, reply.has("content-range")), (206, shown));
        assert!(reply.body == all[part], "{range}");
    }
    let beyond = get(&[("range", "bytes=600000-")]).await;
    assert_eq!(
        (beyond.status, beyond.has("content-range")),
        (416, "bytes */600000")
    );
    let known = get(&[("if-none-match", &tag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let other = get(&[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!(other.status, 200);
    let head = ask(&kit, "HEAD", &path, "ana", &[], b"").await;
    assert_eq!((head.has("content-length"), head.body.len()), ("600000", 0));
}

#[tokio::test]
async fn what_could_run_is_saved_and_not_shown() {
    let (kit, _) = start().await;
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    let html = b"<!DOCTYPE html><script>alert(1)</script>";
    let xml = b"<?xml version='1.0'?><x/>";
    let pdf = b"%PDF-1.7 /JavaScript";
    let plain = b"just words";
    // Whatever its sender calls it.
    let metadata = "filename YS5wbmc=,filetype aW1hZ2UvcG5n";
    for bytes in [&svg[..], html, xml, pdf, plain] {
        let blob = upload(&kit, "ana", bytes, metadata).await;
        let reply = ask(&kit, "GET", &format!("/v1/blobs/{blob}"), "ana", &[], b"").await;
        assert!(
            reply.has("content-disposition").starts_with("attachment;"),
            "{reply:?}"
        );
        let mime = reply.has("content-type");
        let harmless = ["application/octet-stream", "application/pdf", "text/plain"];
        assert!(harmless.contains(&mime), "{mime}");
        assert_eq!(reply.has("x-content-type-options"), "nosniff");
        assert_eq!(
            reply.has("content-security-policy"),
            "default-src 'none'; sandbox"
        );
        assert_eq!(send(&kit, "ana", "image", &blob).await, 400);
        assert_eq!(send(&kit, "ana", "file", &blob).await, 200);
    }
}

#[tokio::test]
async fn a_picture_is_shown_and_has_a_thumbnail() {
    let (kit, _) = start().await;
    let blob = upload(&kit, "ana", PIXEL, "filetype dGV4dC9odG1s").await;
    let path = format!("/v1/blobs/{blob}");
    let reply = ask(&kit, "GET", &path, "ana", &[], b"").await;
    assert_eq!(reply.has("content-type"), "image/png");
    assert!(reply.has("content-disposition").starts_with("inline;"));
    let thumb = format!("{path}/thumb");
    let small = ask(&kit, "GET", &thumb, "ana", &[], b"").await;
    assert_eq!(
        (small.status, small.has("content-type")),
        (200, "image/png")
    );
    assert_ne!(small.has("etag"), reply.has("etag"));
    for path in [&path, &thumb] {
        assert_eq!(ask(&kit, "GET", path, "ben", &[], b"").await.status, 404);
    }
    assert_eq!(send(&kit, "ana", "image", &blob).await, 200);
    for path in [&path, &thumb] {
        assert_eq!(ask(&kit, "GET", path, "ben", &[], b"").await.status, 200);
        assert_eq!(ask(&kit, "GET", path, "cara", &[], b"").await.status, 404);
    }
    let hinted = format!("{path}?conv=nowhere");
    assert_eq!(ask(&kit, "GET", &hinted, "ben", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_name_leads_nowhere_and_breaks_nothing() {
    let (kit, _) = start().await;
    for (name, shown) in [
        // ../../etc/passwd
        ("Li4vLi4vZXRjL3Bhc3N3ZA==", "passwd"),
        // a\0b\r\nx: y.txt
        ("YQBiDQp4OiB5LnR4dA==", "abx y.txt"),
        // x\u{202e}gnp.exe
        ("eOKArmducC5leGU=", "xgnp.exe"),
        // ..
        ("Li4=", "file"),
        ("", "file"),
    ] {
        let blob = upload(&kit, "ana", b"x", &format!("filename {name}")).await;
        let reply = ask(&kit, "GET", &format!("/v1/blobs/{blob}"), "ana", &[], b"").await;
        let shown = format!("attachment; filename=\"{shown}\";");
        let disposition = reply.has("content-disposition");
        assert!(disposition.starts_with(&shown), "{disposition}");
    }
}
