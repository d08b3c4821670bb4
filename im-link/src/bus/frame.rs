//! What goes over a bus: a mark, a version, a kind, then the payload.

use bytes::Bytes;

use super::PAYLOAD_BYTES_MAX;

const MARK: u8 = 0xB5;
const VERSION: u8 = 1;
const MESSAGE: u8 = 0;
const MISSED: u8 = 1;
/// What stands before each payload.
pub(crate) const HEAD_BYTES: usize = 3;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message.
    Message(Bytes),
    /// A node could not send something to all or to one.
    Missed,
}

/// Why something is passed over. The names are values of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poison {
    Garbage,
    Version,
    Oversized,
}

impl Poison {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Version => "version",
            Self::Oversized => "oversized",
        }
    }
}

pub(crate) fn message(payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
    frame.extend([MARK, VERSION, MESSAGE]);
    frame.extend_from_slice(payload);
    frame.into()
}

pub(crate) const fn missed() -> Bytes {
    Bytes::from_static(&[MARK, VERSION, MISSED])
}

pub(crate) fn read(frame: &Bytes) -> Result<Heard, Poison> {
    if frame.len() > HEAD_BYTES + PAYLOAD_BYTES_MAX {
        return Err(Poison::Oversized);
    }
    match **frame {
        [MARK, VERSION, MESSAGE, ..] => Ok(Heard::Message(frame.slice(HEAD_BYTES..))),
        [MARK, VERSION, MISSED] => Ok(Heard::Missed),
        [MARK, version, ..] if version != VERSION => Err(Poison::Version),
        _ => Err(Poison::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let largest = vec![7; PAYLOAD_BYTES_MAX];
        for payload in [&b""[..], b"x", &largest] {
            let expected = Heard::Message(Bytes::copy_from_slice(payload));
            assert_eq!(read(&message(payload)), Ok(expected));
        }
        assert_eq!(read(&missed()), Ok(Heard::Missed));
        let too_long = message(&vec![7; PAYLOAD_BYTES_MAX + 1]);
        for (frame, why) in [
            (&b""[..], Poison::Garbage),
            (b"{}", Poison::Garbage),
            (&[MARK], Poison::Garbage),
            (&[MARK, VERSION], Poison::Garbage),
            (&[MARK, VERSION, 9, 9], Poison::Garbage),
            (&[MARK, VERSION, MISSED, 0], Poison::Garbage),
            (&[MARK, 2, MESSAGE, 1], Poison::Version),
            (&too_long, Poison::Oversized),
        ] {
            assert_eq!(read(&Bytes::copy_from_slice(frame)), Err(why));
        }
    }
}
