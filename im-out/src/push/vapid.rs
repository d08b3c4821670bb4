//! Who pushes: VAPID, RFC 8292.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use im_core::model::{Timestamp, Value};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};

/// How long a token is good; RFC 8292 allows a day.
const TOKEN_S: i64 = 12 * 3_600;

/// Why something is no key of an application server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    /// The key is no private key of P-256 in base64url.
    #[error("must be a private key of P-256: 32 bytes in base64url")]
    Key,
    /// The contact is neither `mailto:` nor `https:`.
    #[error("must be a mailto: or https: address")]
    Contact,
}

/// The key of an application server, and whom a push service may ask about it.
#[derive(Clone)]
pub struct VapidKey {
    key: SigningKey,
    contact: String,
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VapidKey")
            .field("contact", &self.contact)
            .finish_non_exhaustive()
    }
}

impl VapidKey {
    /// Reads a private key: its 32 bytes in base64url.
    ///
    /// # Errors
    /// When it is none, or the contact is none.
    pub fn parse(key: &str, contact: &str) -> Result<Self, VapidError> {
        let is_contact = contact.starts_with("mailto:") || contact.starts_with("https:");
        if !is_contact || contact.len() > 256 {
            return Err(VapidError::Contact);
        }
        let bytes = BASE64.decode(key.trim()).map_err(|_| VapidError::Key)?;
        Ok(Self {
            key: SigningKey::from_slice(&bytes).map_err(|_| VapidError::Key)?,
            contact: contact.to_owned(),
        })
    }

    /// The public key in base64url, as a page gives it to `pushManager.subscribe`.
    #[must_use]
    pub fn public(&self) -> String {
        let point = self.key.verifying_key().to_encoded_point(false);
        BASE64.encode(point.as_bytes())
    }

    /// The value of `Authorization` for a push service.
    pub(super) fn authorization(&self, origin: &str, now: Timestamp) -> String {
        let claims = Value::object([
            ("aud", Value::from(origin)),
            ("exp", (now.0.div_euclid(1_000) + TOKEN_S).into()),
            ("sub", self.contact.as_str().into()),
        ]);
        let header = r#"{"typ":"JWT","alg":"ES256"}"#;
        let text = format!(
            "{}.{}",
            BASE64.encode(header),
            BASE64.encode(claims.to_json())
        );
        let signature: Signature = self.key.sign(text.as_bytes());
        let signature = BASE64.encode(signature.to_bytes());
        format!("vapid t={text}.{signature}, k={}", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier as _;

    /// The key of RFC 8291's example.
    const KEY: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";

    #[test]
    fn a_push_service_can_check_who_pushes() {
        let vapid = VapidKey::parse(KEY, "mailto:ops@a.example").unwrap();
        let value = vapid.authorization("https://push.example", Timestamp(1_453_341_205_000));
        let (token, key) = value
            .strip_prefix("vapid t=")
            .unwrap()
            .split_once(", k=")
            .unwrap();
        let key = BASE64.decode(key).unwrap();
        let key = VerifyingKey::from_sec1_bytes(&key).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&BASE64.decode(signature).unwrap()).unwrap();
        assert!(key.verify(text.as_bytes(), &signature).is_ok());
        let claims = BASE64.decode(text.split_once('.').unwrap().1).unwrap();
        assert_eq!(
            String::from_utf8(claims).unwrap(),
            r#"{"aud":"https://push.example","exp":1453384405,"sub":"mailto:ops@a.example"}"#
        );
        assert!(!format!("{vapid:?}").contains("yfWP"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in [
            "",
            "AAAA",
            "*",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(
                VapidKey::parse(key, "mailto:a@b").err(),
                Some(VapidError::Key),
                "{key}"
            );
        }
        assert_eq!(VapidKey::parse(KEY, "me").err(), Some(VapidError::Contact));
    }
}
