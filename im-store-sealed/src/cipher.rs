//! One key's work: AES-256-GCM-SIV (RFC 8452) with what it is bound to.

use aes_gcm_siv::aead::{Aead as _, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::error::SealError;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes by which what is sealed is longer.
pub(crate) const TAG_BYTES: usize = 16;

/// A nonce. Each use has its own last bytes, so that one use's are never another's.
pub(crate) type NonceBytes = [u8; NONCE_BYTES];

/// What something is bound to: it opens at the same place only.
#[derive(Debug, Default)]
pub(crate) struct Bound(Vec<u8>);

impl Bound {
    /// Bound to a use.
    pub(crate) fn to(what: &str) -> Self {
        Self::default().and(what.as_bytes())
    }

    /// … and to this. Parts carry their lengths, so none runs into the next.
    pub(crate) fn and(mut self, part: &[u8]) -> Self {
        self.0.extend((part.len() as u64).to_le_bytes());
        self.0.extend(part);
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A key, ready for use. It is wiped from memory when it is dropped.
pub(crate) struct Cipher(Aes256GcmSiv);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(…)")
    }
}

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Aes256GcmSiv::new(key.into()))
    }

    /// Seals. The cipher takes texts of 64 GiB; nothing here comes near.
    pub(crate) fn seal(&self, nonce: NonceBytes, text: &[u8], bound: &[u8]) -> Vec<u8> {
        let payload = Payload {
            msg: text,
            aad: bound,
        };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload);
        sealed.unwrap_or_default()
    }

    /// Opens; `None` when it is anything else than what was sealed, there.
    pub(crate) fn open(&self, nonce: NonceBytes, sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: sealed,
            aad: bound,
        };
        self.0.decrypt(&Nonce::from(nonce), payload).ok()
    }

    /// A number of something, which says nothing about it to who has not the key: the tag over an
    /// empty text that is bound to it.
    pub(crate) fn number(&self, nonce: NonceBytes, of: &[u8]) -> u64 {
        let tag = self.seal(nonce, &[], of);
        let mut bytes = [0; 8];
        let some = tag.get(..8).unwrap_or(&[0; 8]);
        bytes.copy_from_slice(some);
        u64::from_le_bytes(bytes)
    }
}

/// Random bytes of the system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SealError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8452, appendix C.2: AES-256-GCM-SIV, the second case with a plaintext of 8 bytes.
    #[test]
    fn it_is_the_cipher_of_the_rfc() {
        let mut key = [0; KEY_BYTES];
        key[0] = 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce[0] = 3;
        let text = [1, 0, 0, 0, 0, 0, 0, 0];
        let sealed = Cipher::new(&key).seal(nonce, &text, &[]);
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28");
    }

    #[test]
    fn what_is_bound_in_parts_is_not_bound_in_others() {
        let all = [
            Bound::to("a").and(b"bc"),
            Bound::to("ab").and(b"c"),
            Bound::to("abc"),
            Bound::to("abc").and(b""),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.bytes(), other.bytes());
            }
        }
    }
}
