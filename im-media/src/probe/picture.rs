//! Pictures: measures, a thumbnail without anything that stood beside the picture, a blurhash.

use std::io::Cursor;

use bytes::Bytes;
use im_core::model::BlobFound;
use im_core::port::Probed;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};

/// Bounds on what is decoded. Beyond them a picture is a file like any other.
#[derive(Debug, Clone, Copy)]
pub struct PictureLimits {
    /// The most bytes of a picture.
    pub bytes_max: u64,
    /// The most pixels, of one frame.
    pub pixels_max: u64,
    /// The longest side, in pixels.
    pub side_max: u32,
    /// The most bytes of memory that decoding one may take.
    pub memory_max: u64,
    /// How many are decoded at once.
    pub at_once: usize,
    /// The longest side of a thumbnail, in pixels.
    pub thumb_side: u32,
}

impl Default for PictureLimits {
    /// 32 MiB, 50 megapixels, 256 MiB of memory each, two at once; thumbnails of 320 pixels.
    fn default() -> Self {
        Self {
            bytes_max: 32 << 20,
            pixels_max: 50_000_000,
            side_max: 32_768,
            memory_max: 256 << 20,
            at_once: 2,
            thumb_side: 320,
        }
    }
}

/// Parts of a blurhash across and down.
const HASH_PARTS: (u32, u32) = (4, 3);
/// The side that a blurhash is taken from, in pixels.
const HASH_SIDE: u32 = 32;
/// Of thumbnails, from 1 to 100.
const JPEG_QUALITY: u8 = 80;

fn format(mime: &str) -> Option<ImageFormat> {
    Some(match mime {
        "image/gif" => ImageFormat::Gif,
        "image/jpeg" => ImageFormat::Jpeg,
        "image/png" => ImageFormat::Png,
        "image/webp" => ImageFormat::WebP,
        _ => return None,
    })
}

/// Whether pictures of a type are decoded.
pub(super) fn is_decoded(mime: &str) -> bool {
    format(mime).is_some()
}

/// What a picture shows; `None` when it can't be decoded within the limits. Of a moving one, its
/// first frame.
pub(super) fn look(bytes: &[u8], mime: &str, limits: PictureLimits) -> Option<Probed> {
    let picture = decode(bytes, format(mime)?, limits)?;
    let side = limits.thumb_side.max(1);
    let is_small = picture.width() <= side && picture.height() <= side;
    let small = if is_small {
        picture.clone()
    } else {
        picture.thumbnail(side, side)
    };
    let (thumb, thumb_mime) = encode(&small)?;
    Some(Probed {
        found: BlobFound {
            mime: mime.to_owned(),
            width: Some(picture.width()),
            height: Some(picture.height()),
            blurhash: blurhash(&small),
            thumb: Some(thumb_mime.to_owned()),
            ..BlobFound::default()
        },
        thumb: Some(thumb),
    })
}

/// Upright, as it is meant to be seen.
fn decode(bytes: &[u8], format: ImageFormat, limits: PictureLimits) -> Option<DynamicImage> {
    let mut bounds = Limits::default();
    bounds.max_image_width = Some(limits.side_max);
    bounds.max_image_height = Some(limits.side_max);
    bounds.max_alloc = Some(limits.memory_max);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(bounds);
    let mut decoder = reader.into_decoder().ok()?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // What it says of itself is looked at before anything is decoded.
    if pixels == 0 || pixels > limits.pixels_max || decoder.total_bytes() > limits.memory_max {
        return None;
    }
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).ok()?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Some(picture)
}

/// Made anew from pixels: nothing of what stood beside them (place, camera, names) is in it.
fn encode(picture: &DynamicImage) -> Option<(Bytes, &'static str)> {
    let mut out = Cursor::new(Vec::new());
    let mime = if picture.color().has_alpha() {
        let picture = DynamicImage::ImageRgba8(picture.to_rgba8());
        picture.write_to(&mut out, ImageFormat::Png).ok()?;
        "image/png"
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
        picture.to_rgb8().write_with_encoder(encoder).ok()?;
        "image/jpeg"
    };
    Some((out.into_inner().into(), mime))
}

fn blurhash(picture: &DynamicImage) -> Option<String> {
    let small = picture.thumbnail_exact(HASH_SIDE, HASH_SIDE).to_rgba8();
    let (across, down) = HASH_PARTS;
    blurhash::encode(across, down, HASH_SIDE, HASH_SIDE, small.as_raw()).ok()
}
