//! Message encryption for Web Push: RFC 8291, in one record of RFC 8188.

use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey, ecdh};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

/// The record size that the header tells; a push service takes 4,096 bytes in all.
const RECORD: u32 = 4_096;
/// The longest text: the record less its header (86), its tag (16) and its delimiter (1).
pub(super) const PLAIN_BYTES_MAX: usize = 3_993;
/// The length of a browser's secret.
pub(super) const AUTH_BYTES: usize = 16;
/// The length of a public key, uncompressed.
pub(super) const KEY_BYTES: usize = 65;

/// Why a text can't be encrypted for a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncryptError {
    /// The browser's key is no point of the curve.
    #[error("the key of the subscription is none")]
    Key,
    /// The text is too long.
    #[error("the text is too long")]
    TooLong,
    /// A bug.
    #[error("it can't be encrypted")]
    Internal,
}

/// A browser that subscribed.
#[derive(Debug, Clone)]
pub(super) struct Browser {
    key: PublicKey,
    auth: [u8; AUTH_BYTES],
}

impl Browser {
    pub(super) fn new(key: &[u8], auth: &[u8]) -> Result<Self, EncryptError> {
        if key.len() != KEY_BYTES {
            return Err(EncryptError::Key);
        }
        Ok(Self {
            key: PublicKey::from_sec1_bytes(key).map_err(|_| EncryptError::Key)?,
            auth: auth.try_into().map_err(|_| EncryptError::Key)?,
        })
    }
}

/// Encrypts a text for a browser, with a key and a salt that are used this once.
pub(super) fn encrypt(
    plain: &[u8],
    to: &Browser,
    once: &SecretKey,
    salt: [u8; 16],
) -> Result<Vec<u8>, EncryptError> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(EncryptError::TooLong);
    }
    let theirs = to.key.to_encoded_point(false);
    let ours = once.public_key().to_encoded_point(false);
    let shared = ecdh::diffie_hellman(once.to_nonzero_scalar(), to.key.as_affine());
    let info = [
        b"WebPush: info\0".as_slice(),
        theirs.as_bytes(),
        ours.as_bytes(),
    ];
    let mut ikm = [0; 32];
    expand(&to.auth, shared.raw_secret_bytes(), &info, &mut ikm)?;
    let (mut key, mut nonce) = ([0; 16], [0; 12]);
    expand(&salt, &ikm, &[b"Content-Encoding: aes128gcm\0"], &mut key)?;
    expand(&salt, &ikm, &[b"Content-Encoding: nonce\0"], &mut nonce)?;
    let mut sealed = plain.to_vec();
    // The last record, without padding.
    sealed.push(2);
    let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| EncryptError::Internal)?;
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut sealed,
        )
        .map_err(|_| EncryptError::Internal)?;
    let mut out = Vec::with_capacity(86 + sealed.len());
    out.extend(salt);
    out.extend(RECORD.to_be_bytes());
    out.push(KEY_BYTES as u8);
    out.extend(ours.as_bytes());
    out.extend(sealed);
    Ok(out)
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), EncryptError> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let expanded = extracted.expand(info, Len(out.len()));
    expanded
        .and_then(|okm| okm.fill(out))
        .map_err(|_| EncryptError::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    /// RFC 8291, appendix A.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let bytes = |text: &str| BASE64.decode(text).unwrap();
        let key = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6S\
                   RpkNtoIAiw4";
        let browser = Browser::new(&bytes(key), &bytes("BTBZMqHH6r4Tts7J_aSIgg")).unwrap();
        let once = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let once = SecretKey::from_slice(&once).unwrap();
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let plain = b"When I grow up, I want to be a watermelon";
        let sealed = encrypt(plain, &browser, &once, salt).unwrap();
        assert_eq!(
            BASE64.encode(sealed),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLoc\
             InmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLV\
             WGNWQexSgSxsj_Qulcy4a-fN"
        );
        let long = [0; PLAIN_BYTES_MAX + 1];
        assert_eq!(
            encrypt(&long, &browser, &once, salt),
            Err(EncryptError::TooLong)
        );
        let most = encrypt(&long[1..], &browser, &once, salt).unwrap();
        assert_eq!(most.len(), RECORD as usize);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let mut off_curve = [1; KEY_BYTES];
        off_curve[0] = 4;
        for (key, auth) in [
            (&off_curve[..], 16),
            (&[0; KEY_BYTES], 16),
            (&[4], 16),
            (&[], 16),
        ] {
            assert!(Browser::new(key, &vec![0; auth]).is_err());
        }
    }
}
