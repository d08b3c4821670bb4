//! How long and how large a film is, from its container: MP4 and its family (also voices in M4A).

use im_core::port::{Content, PortError};

use super::{be, millis};

/// Boxes looked at one after the other.
const BOXES_MAX: usize = 64;
/// The most bytes read of what describes the film.
const ABOUT_BYTES_MAX: usize = 1 << 20;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Film {
    pub(super) duration_ms: Option<u64>,
    /// Width and height, in pixels.
    pub(super) sides: Option<(u32, u32)>,
}

/// Looks into a film; `None` when it is of another family.
pub(super) async fn look(content: &Content, head: &[u8]) -> Result<Option<Film>, PortError> {
    if head.get(4..8) != Some(b"ftyp") {
        return Ok(None);
    }
    let mut at = 0;
    for _ in 0..BOXES_MAX {
        let header = content.read(at, 16).await?;
        let Some(found) = Header::read(&header) else {
            break;
        };
        if found.name == *b"moov" {
            let from = at + found.header_bytes as u64;
            let len = found.body_bytes.unwrap_or(u64::MAX);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let about = content.read(from, len.min(ABOUT_BYTES_MAX)).await?;
            return Ok(Some(moov(&about)));
        }
        // The last box may go to the end.
        let Some(body) = found.body_bytes else { break };
        let Some(next) = at.checked_add(found.header_bytes as u64 + body) else {
            break;
        };
        at = next;
    }
    Ok(Some(Film::default()))
}

/// The head of a box.
struct Header {
    name: [u8; 4],
    header_bytes: usize,
    /// `None`: to the end.
    body_bytes: Option<u64>,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let name = bytes.get(4..8)?.try_into().ok()?;
        let (header_bytes, size) = match be(bytes, 0, 4)? {
            0 => (8, None),
            1 => (16, Some(be(bytes, 8, 8)?)),
            size => (8, Some(size)),
        };
        let body_bytes = match size {
            None => None,
            Some(size) => Some(size.checked_sub(header_bytes as u64)?),
        };
        Some(Self {
            name,
            header_bytes,
            body_bytes,
        })
    }
}

/// The boxes in a box, as far as they are there.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let next = move || {
        let header = Header::read(bytes)?;
        let rest = &bytes[header.header_bytes..];
        let len = header.body_bytes.map_or(rest.len(), |len| {
            usize::try_from(len).unwrap_or(usize::MAX).min(rest.len())
        });
        let (body, after) = rest.split_at(len);
        bytes = after;
        Some((header.name, body))
    };
    std::iter::from_fn(next).take(BOXES_MAX)
}

fn moov(about: &[u8]) -> Film {
    let mut film = Film::default();
    for (name, body) in boxes(about) {
        match &name {
            b"mvhd" => film.duration_ms = length(body),
            b"trak" => film.sides = film.sides.or_else(|| sides(body)),
            _ => {}
        }
    }
    film
}

fn length(mvhd: &[u8]) -> Option<u64> {
    let (per_s, count) = match mvhd.first()? {
        0 => (be(mvhd, 12, 4)?, be(mvhd, 16, 4)?),
        1 => (be(mvhd, 20, 4)?, be(mvhd, 24, 8)?),
        _ => return None,
    };
    millis(count, per_s).filter(|_| count > 0)
}

/// Of a track that is seen.
fn sides(trak: &[u8]) -> Option<(u32, u32)> {
    let (_, tkhd) = boxes(trak).find(|(name, _)| name == b"tkhd")?;
    let at = match tkhd.first()? {
        0 => 76,
        1 => 88,
        _ => return None,
    };
    // With 16 bits behind the point.
    let side = |at| be(tkhd, at, 4).and_then(|side| u32::try_from(side >> 16).ok());
    let (width, height) = (side(at)?, side(at + 4)?);
    (width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + body.len()).unwrap();
        let mut out = size.to_be_bytes().to_vec();
        out.extend(name);
        out.extend(body);
        out
    }

    fn about() -> Vec<u8> {
        let mut mvhd = vec![0; 12];
        mvhd.extend(1_000_u32.to_be_bytes());
        mvhd.extend(2_500_u32.to_be_bytes());
        let mut tkhd = vec![0; 76];
        tkhd.extend((640_u32 << 16).to_be_bytes());
        tkhd.extend((360_u32 << 16).to_be_bytes());
        let mut about = boxed(b"mvhd", &mvhd);
        about.extend(boxed(b"trak", &boxed(b"tkhd", &[0; 84])));
        about.extend(boxed(b"trak", &boxed(b"tkhd", &tkhd)));
        about
    }

    #[test]
    fn a_film_says_how_long_and_large_it_is() {
        let film = moov(&about());
        assert_eq!(film.duration_ms, Some(2_500));
        assert_eq!(film.sides, Some((640, 360)));
    }

    #[test]
    fn what_is_cut_or_lies_is_read_no_further() {
        let about = about();
        for cut in 0..about.len() {
            let _ = moov(&about[..cut]);
        }
        for lie in [0_u32, 1, 7, u32::MAX] {
            let mut about = about.clone();
            about[..4].copy_from_slice(&lie.to_be_bytes());
            let _ = moov(&about);
        }
    }
}
