//! Records of a state file: length, checksum, JSON.

use im_core::model::{CmId, ConversationId, Epoch, Seq, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// The most bytes of a record: more is damage.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Length and checksum.
const HEAD: usize = 8;

/// One change of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Record {
    /// How far this device is in a conversation.
    Cursor {
        conv: ConversationId,
        epoch: Option<Epoch>,
        seq: Seq,
        head: Seq,
        left: bool,
    },
    /// A send is answered.
    Done { cm_id: CmId },
    /// A send: its frame.
    Draft { frame: String },
    /// Everything before is covered by this token.
    Since { token: String },
    /// A send left first at that time of the server's.
    Tried { cm_id: CmId, at: Timestamp },
    /// Whose state this is.
    User { user: UserId },
}

impl Record {
    /// Appends the record to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        // Writing to memory can't fail, and every record has a form in JSON.
        let _ = serde_json::to_writer(&mut *out, self);
        let body = &out[start + HEAD..];
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let sum = checksum(body).to_le_bytes();
        out[start..start + 4].copy_from_slice(&len);
        out[start + 4..start + HEAD].copy_from_slice(&sum);
    }

    /// Reads the record at the start of `bytes`, and how long it is; `None` when none is there.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let number = |at: usize| -> Option<u32> {
            let four = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(four.try_into().ok()?))
        };
        let len = usize::try_from(number(0)?).ok()?;
        if len > RECORD_BYTES_MAX {
            return None;
        }
        let body = bytes.get(HEAD..HEAD + len)?;
        if checksum(body) != number(4)? {
            return None;
        }
        Some((serde_json::from_slice(body).ok()?, HEAD + len))
    }
}

/// CRC-32 (IEEE 802.3): finds any burst of up to 32 wrong bits, and any other damage but one in
/// four thousand million.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                0xedb8_8320 ^ (sum >> 1)
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn no_cut_and_no_flipped_bit_passes() {
        let record = Record::Since {
            token: "t1".to_owned(),
        };
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        assert_eq!(Record::read(&bytes), Some((record, bytes.len())));
        for cut in 0..bytes.len() {
            assert_eq!(Record::read(&bytes[..cut]), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::read(&flipped), None, "bit {bit}");
        }
    }
}
