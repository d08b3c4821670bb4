//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over id, time and body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// How many bytes a secret may have; fewer can be guessed, more are no better.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a text is no secret of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be whsec_ and 24 to 64 bytes in Base64")]
pub struct SecretError;

/// Signs, with one secret, or with two while one replaces the other.
#[derive(Clone)]
pub struct Signer {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs with a secret, and with the one before it until every receiver has the new one.
    ///
    /// # Errors
    /// When either is none.
    pub fn parse(current: &str, previous: Option<&str>) -> Result<Self, SecretError> {
        Ok(Self {
            current: key(current)?,
            previous: previous.map(key).transpose()?,
        })
    }

    /// The value of `webhook-signature` for an id, a time in seconds and a body.
    #[must_use]
    pub fn sign(&self, id: &str, at: i64, body: &str) -> String {
        let text = format!("{id}.{at}.{body}");
        let keys = std::iter::once(&self.current).chain(&self.previous);
        let signatures: Vec<_> = keys
            .map(|key| hmac::sign(key, text.as_bytes()))
            .map(|tag| format!("v1,{}", STANDARD.encode(tag)))
            .collect();
        signatures.join(" ")
    }
}

fn key(secret: &str) -> Result<hmac::Key, SecretError> {
    let text = secret.trim().strip_prefix(PREFIX).ok_or(SecretError)?;
    let bytes = STANDARD.decode(text).map_err(|_| SecretError)?;
    if !BYTES.contains(&bytes.len()) {
        return Err(SecretError);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::webhook) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_what_receivers_compute() {
        let signer = Signer::parse(SECRET, None).unwrap();
        let signed = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn both_secrets_sign_while_one_replaces_the_other() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let one = Signer::parse(SECRET, None).unwrap().sign("i", 1, "b");
        let old = Signer::parse(other, None).unwrap().sign("i", 1, "b");
        let both = Signer::parse(SECRET, Some(other)).unwrap();
        assert_eq!(both.sign("i", 1, "b"), format!("{one} {old}"));
        assert!(!format!("{both:?}").contains("MfKQ"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_*",
        ] {
            assert!(Signer::parse(text, None).is_err(), "{text}");
        }
    }
}
