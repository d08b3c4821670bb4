//! Objects of a bucket, on a real server: `IMKIT_TEST_S3_URL` is
//! `http://KEY:SECRET@HOST:PORT/BUCKET`.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use im_core::port::{Blobs, ObjectKey, PortErrorKind, Signed};
use im_media::{S3Blobs, S3Settings};

/// Each case has a prefix of its own.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn settings() -> Option<S3Settings> {
    let url = std::env::var("IMKIT_TEST_S3_URL").ok()?;
    let rest = url.strip_prefix("http://").unwrap();
    let (login, place) = rest.split_once('@').unwrap();
    let (key, secret) = login.split_once(':').unwrap();
    let (host, bucket) = place.split_once('/').unwrap();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Some(S3Settings {
        bucket: bucket.to_owned(),
        prefix: format!("t{}-{number}", std::process::id()),
        region: "us-east-1".to_owned(),
        endpoint: Some(format!("http://{host}")),
        key: key.to_owned(),
        secret: secret.to_owned(),
    })
}

async fn fresh() -> Option<((), Arc<dyn Blobs>)> {
    let blobs = S3Blobs::new(settings()?).unwrap();
    Some(((), Arc::new(blobs)))
}

im_testkit::blobs_suite!(fresh());

/// One request by hand, as a client without any keys does it.
fn ask(verb: &str, url: &str, body: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let length = body.len();
    let request = format!(
        "{verb} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_signed_url_reads_and_writes_one_object() {
    let Some(settings) = settings() else { return };
    let blobs = S3Blobs::new(settings).unwrap();
    let key = ObjectKey::parse("upload/b-1/url").unwrap();
    let ttl = Duration::from_secs(60);
    let put = blobs.sign(&key, Signed::Put, ttl).await.unwrap().unwrap();
    assert_eq!(ask("PUT", &put, "words").0, 200);
    let read = blobs.read(&key, 0, 9).await.unwrap();
    assert_eq!(read, Some(Bytes::from_static(b"words")));
    let get = blobs.sign(&key, Signed::Get, ttl).await.unwrap().unwrap();
    let (status, body) = ask("GET", &get, "");
    assert_eq!(status, 200);
    assert!(body.contains("words"), "{body}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_repeated() {
    let Some(settings) = settings() else { return };
    let wrong = S3Settings {
        key: "AKIAWRONGWRONGWRONG".to_owned(),
        secret: "wrong-secret".to_owned(),
        bucket: format!("{}-none", settings.bucket),
        ..settings
    };
    let blobs = S3Blobs::new(wrong).unwrap();
    let key = ObjectKey::parse("x").unwrap();
    let error = blobs.put(&key, Bytes::new()).await.unwrap_err();
    let told = format!("{error:?}");
    assert_ne!(error.kind(), PortErrorKind::Internal);
    assert!(
        !told.contains("AKIAWRONG") && !told.contains("wrong-secret"),
        "{told}"
    );
}
