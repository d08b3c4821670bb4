//! How long a voice is, from its container: Ogg (Opus, Vorbis), WAV, FLAC, MP3.

use im_core::port::{Content, PortError};

use super::{be, le, millis};

/// Bytes at the end of an Ogg file in which its last page begins.
const TAIL_BYTES: usize = 64 << 10;
/// Opus counts in this, whatever it was recorded with.
const OPUS_PER_S: u64 = 48_000;
/// Chunks of a WAV file looked at.
const CHUNKS_MAX: usize = 64;

/// How long it is, in milliseconds; `None` when that can't be told.
pub(super) async fn duration_ms(content: &Content, head: &[u8]) -> Result<Option<u64>, PortError> {
    if head.starts_with(b"OggS") {
        let from = content.size().saturating_sub(TAIL_BYTES as u64);
        let tail = content.read(from, TAIL_BYTES).await?;
        return Ok(ogg(head, &tail));
    }
    if head.starts_with(b"RIFF") {
        return Ok(wav(head, content.size()));
    }
    if head.starts_with(b"fLaC") {
        return Ok(flac(head));
    }
    let start = after_tag(head);
    let frame = content.read(start, 4_096).await?;
    Ok(mp3(&frame, content.size().saturating_sub(start)))
}

/// The last page's position, in samples, after what is to be skipped.
fn ogg(head: &[u8], tail: &[u8]) -> Option<u64> {
    let stream = le(head, 14, 4)?;
    let packet = 27 + usize::try_from(be(head, 26, 1)?).ok()?;
    let first = head.get(packet..)?;
    let (per_s, skip) = if first.starts_with(b"OpusHead") {
        (OPUS_PER_S, le(first, 10, 2)?)
    } else if first.starts_with(b"\x01vorbis") {
        (le(first, 12, 4)?, 0)
    } else {
        return None;
    };
    let is_page = |at: &usize| tail[*at..].starts_with(b"OggS");
    let pages = (0..tail.len()).rev().filter(is_page);
    let position = |at: usize| {
        let position = le(tail, at + 6, 8)?;
        // All ones: no packet ends on this page.
        (le(tail, at + 14, 4)? == stream && position != u64::MAX).then_some(position)
    };
    let end = pages.filter_map(position).next()?;
    millis(end.checked_sub(skip)?, per_s)
}

fn wav(head: &[u8], size: u64) -> Option<u64> {
    let (mut at, mut per_s) = (12_usize, None);
    for _ in 0..CHUNKS_MAX {
        let name = head.get(at..at.checked_add(4)?)?;
        let said = le(head, at + 4, 4)?;
        let body = at.checked_add(8)?;
        match name {
            b"fmt " => per_s = le(head, body + 8, 4),
            b"data" => {
                let there = size.saturating_sub(body as u64);
                return millis(said.min(there), per_s?);
            }
            _ => {}
        }
        // Chunks begin at even places.
        let next = usize::try_from(said).ok()?.checked_next_multiple_of(2)?;
        at = body.checked_add(next)?;
    }
    None
}

fn flac(head: &[u8]) -> Option<u64> {
    let packed = be(head, 18, 8)?;
    let (per_s, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    millis(samples, per_s).filter(|_| samples > 0)
}

/// Where the first frame of an MP3 file is looked for: after its tag.
fn after_tag(head: &[u8]) -> u64 {
    let is_small = |bytes: &[u8]| bytes.iter().all(|byte| *byte < 0x80);
    match head.get(..10) {
        Some(tag) if tag.starts_with(b"ID3") && is_small(&tag[6..]) => {
            let size = tag[6..]
                .iter()
                .fold(0_u64, |sum, byte| sum << 7 | u64::from(*byte));
            10 + size
        }
        _ => 0,
    }
}

/// By its count of frames if it has one, else as if all frames were like the first.
fn mp3(bytes: &[u8], size: u64) -> Option<u64> {
    let at = bytes
        .windows(2)
        .position(|pair| pair[0] == 0xff && pair[1] & 0xe0 == 0xe0)?;
    let frame = Frame::read(bytes.get(at..)?)?;
    let rest = &bytes[at..];
    let xing = frame.side_bytes + 4;
    if matches!(rest.get(xing..xing + 4), Some(b"Xing" | b"Info"))
        && be(rest, xing + 4, 4)? & 1 == 1
    {
        return millis(be(rest, xing + 8, 4)? * frame.samples, frame.per_s);
    }
    if rest.get(36..40) == Some(b"VBRI") {
        return millis(be(rest, 50, 4)? * frame.samples, frame.per_s);
    }
    millis(size.saturating_sub(at as u64) * 8, frame.bits_per_s)
}

/// The header of a frame of layer 3.
struct Frame {
    bits_per_s: u64,
    per_s: u64,
    samples: u64,
    side_bytes: usize,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        const V1: [u64; 15] = [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ];
        const V2: [u64; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let bits = be(bytes, 0, 4)?;
        let (version, layer) = (bits >> 19 & 3, bits >> 17 & 3);
        let (rate, per_s) = (bits >> 12 & 15, bits >> 10 & 3);
        let is_one = version == 3;
        let is_mono = bits >> 6 & 3 == 3;
        if version == 1 || layer != 1 || !(1..=14).contains(&rate) {
            return None;
        }
        let base = *[44_100, 48_000, 32_000].get(usize::try_from(per_s).ok()?)?;
        let half = match version {
            3 => 1,
            2 => 2,
            _ => 4,
        };
        let rates = if is_one { V1 } else { V2 };
        Some(Self {
            bits_per_s: rates[usize::try_from(rate).ok()?] * 1_000,
            per_s: base / half,
            samples: if is_one { 1_152 } else { 576 },
            side_bytes: match (is_one, is_mono) {
                (true, false) => 32,
                (true, true) | (false, false) => 17,
                (false, true) => 9,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of Ogg with one packet.
    fn page(stream: u32, position: u64, packet: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0\0".to_vec();
        page.extend(position.to_le_bytes());
        page.extend(stream.to_le_bytes());
        page.extend([0; 8]);
        page.extend([1, u8::try_from(packet.len()).unwrap()]);
        page.extend(packet);
        page
    }

    fn opus() -> Vec<u8> {
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(312_u16.to_le_bytes());
        head.extend([0; 7]);
        head
    }

    #[test]
    fn an_ogg_voice_is_as_long_as_its_last_page_says() {
        let mut file = page(7, 0, &opus());
        file.extend(page(7, 48_312, b"x"));
        file.extend(page(7, 144_312, b"x"));
        file.extend(page(7, u64::MAX, b"x"));
        file.extend(page(8, 999_999_999, b"x"));
        assert_eq!(ogg(&file, &file), Some(3_000));
        let mut vorbis = b"\x01vorbis\0\0\0\0\x01".to_vec();
        vorbis.extend(44_100_u32.to_le_bytes());
        let mut file = page(7, 0, &vorbis);
        file.extend(page(7, 88_200, b"x"));
        assert_eq!(ogg(&file, &file), Some(2_000));
        for cut in 0..file.len() {
            let _ = ogg(&file[..cut], &file[..cut]);
        }
    }

    fn wave(said: u32) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(8_000_u32.to_le_bytes());
        file.extend(16_000_u32.to_le_bytes());
        file.extend([2, 0, 16, 0]);
        file.extend(b"data");
        file.extend(said.to_le_bytes());
        file.resize(44 + 32_000, 0);
        file
    }

    #[test]
    fn a_wave_is_no_longer_than_what_is_there() {
        for said in [32_000, u32::MAX] {
            let file = wave(said);
            assert_eq!(wav(&file, file.len() as u64), Some(2_000));
        }
        let file = wave(0);
        for cut in 0..60 {
            let _ = wav(&file[..cut], cut as u64);
        }
    }

    #[test]
    fn an_mp3_is_counted_by_frames_or_by_bits() {
        let mut frame = vec![0xff, 0xfb, 0x90, 0x64];
        frame.resize(417, 0);
        assert_eq!(mp3(&frame, 16_000), Some(1_000));
        frame[36..40].copy_from_slice(b"Xing");
        frame[40..48].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 100]);
        assert_eq!(mp3(&frame, 16_000), Some(100 * 1_152 * 1_000 / 44_100));
        assert_eq!(mp3(&[0xff, 0xff, 0xff, 0xff], 4), None);
        assert_eq!(after_tag(b"ID3\x04\0\0\0\0\x02\x01"), 10 + 257);
        assert_eq!(after_tag(b"ID3"), 0);
    }

    #[test]
    fn a_flac_says_how_many_samples_it_has() {
        let mut head = b"fLaC\0\0\0\x22".to_vec();
        head.resize(18, 0);
        let packed: u64 = 44_100 << 44 | 1 << 41 | 15 << 36 | 441_000;
        head.extend(packed.to_be_bytes());
        assert_eq!(flac(&head), Some(10_000));
        assert_eq!(flac(&head[..20]), None);
    }
}
