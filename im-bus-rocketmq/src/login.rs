//! The access key that requests are signed with.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1_smol::Sha1;

/// The bytes that SHA-1 takes at a time.
const BLOCK_BYTES: usize = 64;

/// A key and its secret; not shown.
#[derive(Clone)]
pub(crate) struct Login {
    key: String,
    secret: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    pub(crate) fn new(key: Option<String>, secret: Option<String>) -> Option<Self> {
        let secret = secret.unwrap_or_default();
        key.map(|key| Self { key, secret })
    }

    /// Adds the key and the signature: over the values of all fields by the order of their names,
    /// and the body.
    pub(crate) fn sign(&self, fields: &mut BTreeMap<&'static str, String>, body: &[u8]) {
        fields.insert("AccessKey", self.key.clone());
        let values = fields.values().map(String::as_str).collect::<String>();
        let signature = hmac(self.secret.as_bytes(), &[values.as_bytes(), body]);
        fields.insert("Signature", BASE64_STANDARD.encode(signature));
    }
}

/// HMAC with SHA-1, which is what RocketMQ checks.
fn hmac(secret: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let mut key = [0; BLOCK_BYTES];
    if secret.len() > BLOCK_BYTES {
        key[..20].copy_from_slice(&Sha1::from(secret).digest().bytes());
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let mut inner = Sha1::from(key.map(|byte| byte ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha1::from(key.map(|byte| byte ^ 0x5C));
    outer.update(&inner.digest().bytes());
    outer.digest().bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202, cases 2 and 6.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let hex = |bytes: [u8; 20]| bytes.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(
            hex(hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(hmac(&[0xAA; 80], &[text])),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }
}
