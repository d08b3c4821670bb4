//! The text that travels: who, which, when, a checksum and seeded filler, all in plain ASCII.

use std::sync::OnceLock;
use std::time::Instant;

/// `sender`, `counter`, `time` and `checksum` in hex.
const HEAD: usize = 8 + 8 + 16 + 16;

/// Smallest text that holds the head and a byte of filler.
pub(crate) const MIN_SIZE: usize = HEAD + 1;
/// Largest text, below the `text_chars` of the contract.
pub(crate) const MAX_SIZE: usize = 4000;

/// What a text says about itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Index of the user that sent it.
    pub(crate) sender: u32,
    /// Its place among that user's messages, from 0.
    pub(crate) counter: u32,
    /// When it was meant to leave, as [`now`] counts.
    pub(crate) at: u64,
}

/// Nanoseconds since the first call in this process.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Appends the text of `stamp`, `size` bytes long.
pub(crate) fn write(out: &mut Vec<u8>, stamp: Stamp, size: usize) {
    let start = out.len();
    hex(out, u64::from(stamp.sender), 8);
    hex(out, u64::from(stamp.counter), 8);
    hex(out, stamp.at, 16);
    let checksum_at = out.len();
    hex(out, 0, 16);
    let offset = stamp
        .sender
        .wrapping_mul(31)
        .wrapping_add(stamp.counter.wrapping_mul(7));
    let offset = offset as usize % FILLER_STARTS;
    out.extend_from_slice(&filler()[offset..offset + size - HEAD]);
    let sum = checksum(&out[start..]);
    for (digit, place) in out[checksum_at..checksum_at + 16]
        .iter_mut()
        .zip((0..16).rev())
    {
        *digit = hex_digit(sum, place);
    }
}

/// Reads a text back; `None` when a byte of it isn't the one that was sent.
pub(crate) fn read(text: &[u8]) -> Option<Stamp> {
    if text.len() < MIN_SIZE {
        return None;
    }
    let sender = u32::try_from(unhex(&text[..8])?).ok()?;
    let counter = u32::try_from(unhex(&text[8..16])?).ok()?;
    let at = unhex(&text[16..32])?;
    (unhex(&text[32..HEAD])? == checksum(text)).then_some(Stamp {
        sender,
        counter,
        at,
    })
}

/// Appends the low `digits` hex digits of `value`.
pub(crate) fn hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        out.push(hex_digit(value, place));
    }
}

fn hex_digit(value: u64, place: u32) -> u8 {
    b"0123456789abcdef"[(value >> (4 * place)) as usize & 15]
}

/// The number that lower-case hex digits spell.
pub(crate) fn unhex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |sum, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u64::from(value))
    })
}

/// A fast mix of everything but the checksum's own place.
fn checksum(text: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = text.len() as u64;
    for part in [&text[..32], &text[HEAD..]] {
        let (chunks, tail) = part.as_chunks::<8>();
        for chunk in chunks {
            sum = (sum.rotate_left(5) ^ u64::from_ne_bytes(*chunk)).wrapping_mul(MIX);
        }
        for byte in tail {
            sum = (sum.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(MIX);
        }
    }
    sum
}

/// Places in the filler where a text may begin.
const FILLER_STARTS: usize = 4096;

/// Seeded letters and digits, the same in every run.
fn filler() -> &'static [u8] {
    static FILLER: OnceLock<Vec<u8>> = OnceLock::new();
    FILLER.get_or_init(|| {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b"abcdefghijklmnopqrstuvwxyz0123456789 .,-"[(state >> 32) as usize % 40]
        };
        (0..FILLER_STARTS + MAX_SIZE).map(|_| next()).collect()
    })
}
