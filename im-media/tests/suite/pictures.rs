//! Pictures, honest ones and bombs.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use im_core::model::BlobFound;
use im_core::port::{Blobs, Content, ObjectKey, Probe, Probed};
use im_media::{MediaProbe, PictureLimits};
use im_testkit::memory::MemoryBlobs;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

async fn probe_with(limits: PictureLimits, bytes: Vec<u8>) -> Probed {
    let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::new());
    let key = ObjectKey::parse("x").unwrap();
    let size = bytes.len() as u64;
    blobs.put(&key, bytes.into()).await.unwrap();
    let content = Content::new(blobs, key, size);
    MediaProbe::new(limits).probe(&content).await.unwrap()
}

async fn probe(bytes: Vec<u8>) -> Probed {
    probe_with(PictureLimits::default(), bytes).await
}

fn picture(width: u32, height: u32) -> DynamicImage {
    let pixel = |x: u32, y: u32| Rgb([(x % 256) as u8, (y % 256) as u8, 90]);
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, pixel))
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

fn read(thumb: Option<Bytes>) -> DynamicImage {
    image::load_from_memory(&thumb.unwrap()).unwrap()
}

#[tokio::test]
async fn a_picture_is_measured_and_made_small() {
    for (format, mime) in [
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Gif, "image/gif"),
        (ImageFormat::WebP, "image/webp"),
    ] {
        let probed = probe(encoded(&picture(400, 200), format)).await;
        let found = probed.found;
        assert_eq!(found.mime, mime);
        assert_eq!((found.width, found.height), (Some(400), Some(200)));
        assert!(found.blurhash.unwrap().len() > 6);
        let thumb = read(probed.thumb);
        assert_eq!((thumb.width(), thumb.height()), (320, 160), "{mime}");
    }
}

#[tokio::test]
async fn what_can_be_seen_through_stays_so() {
    let clear = RgbaImage::from_pixel(10, 10, Rgba([1, 2, 3, 0]));
    let probed = probe(encoded(&DynamicImage::ImageRgba8(clear), ImageFormat::Png)).await;
    assert_eq!(probed.found.thumb.as_deref(), Some("image/png"));
    assert_eq!(read(probed.thumb).to_rgba8().get_pixel(3, 3).0[3], 0);
}

/// A JPEG of 40 by 20 that is to be turned, with a place in its EXIF.
fn turned() -> Vec<u8> {
    let plain = encoded(&picture(40, 20), ImageFormat::Jpeg);
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02".to_vec();
    // Orientation 6: to be turned to the right.
    exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0");
    // An ASCII field with the place.
    exif.extend(b"\x01\x0e\0\x02\0\0\0\x0e\0\0\0\x26\0\0\0\0");
    exif.extend(b"N 52.5 E 13.4\0");
    let mut out = plain[..2].to_vec();
    out.extend(b"\xff\xe1");
    out.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    out.extend(exif);
    out.extend(&plain[2..]);
    out
}

#[tokio::test]
async fn a_thumbnail_is_upright_and_tells_nothing_of_the_place() {
    let bytes = turned();
    let has_place = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"N 52.5");
    assert!(has_place(&bytes));
    let probed = probe(bytes).await;
    assert_eq!(
        (probed.found.width, probed.found.height),
        (Some(20), Some(40))
    );
    let thumb = probed.thumb.clone().unwrap();
    assert!(!has_place(&thumb) && !thumb.windows(4).any(|part| part == b"Exif"));
    let thumb = read(probed.thumb);
    assert_eq!((thumb.width(), thumb.height()), (20, 40));
}

fn unknown(probed: &Probed) -> bool {
    probed.thumb.is_none()
        && probed.found.width.is_none()
        && probed.found.mime == BlobFound::UNKNOWN
}

/// A PNG that says of itself how large it is, and has next to nothing.
fn boast(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&picture(1, 1), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    png
}

/// The check sum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (0_u32.wrapping_sub(sum & 1)))
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[tokio::test]
async fn a_bomb_is_a_file_like_any_other() {
    for (width, height) in [
        (50_000, 50_000),
        (u32::MAX >> 1, 1),
        (32_000, 32_000),
        (0, 5),
    ] {
        assert!(
            unknown(&probe(boast(width, height)).await),
            "{width}x{height}"
        );
    }
    // One that says what it is, and is a thousand times larger than its file.
    let white = DynamicImage::ImageRgb8(RgbImage::from_pixel(2_500, 2_500, Rgb([255; 3])));
    let small = encoded(&white, ImageFormat::Png);
    assert!(small.len() < 200_000, "{}", small.len());
    let limits = PictureLimits {
        pixels_max: 5_000_000,
        ..PictureLimits::default()
    };
    assert!(unknown(&probe_with(limits, small.clone()).await));
    let limits = PictureLimits {
        memory_max: 10 << 20,
        ..PictureLimits::default()
    };
    assert!(unknown(&probe_with(limits, small.clone()).await));
    let limits = PictureLimits {
        bytes_max: 1_000,
        ..PictureLimits::default()
    };
    assert!(unknown(&probe_with(limits, small).await));
}

#[tokio::test]
async fn what_is_cut_or_broken_is_a_file_like_any_other() {
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP] {
        let whole = encoded(&picture(64, 64), format);
        for part in 1..8 {
            let cut = whole[..whole.len() * part / 8].to_vec();
            assert!(probe(cut).await.found.mime.len() > 3);
        }
        let mut broken = whole.clone();
        for at in (whole.len() / 3..whole.len()).step_by(7) {
            broken[at] ^= 0x55;
        }
        let _ = probe(broken).await;
    }
    let head = encoded(&picture(64, 64), ImageFormat::Png)[..40].to_vec();
    assert!(unknown(&probe(head).await));
}
