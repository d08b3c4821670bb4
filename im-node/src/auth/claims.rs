//! What a token's header and body say.

use im_core::model::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The header. What is not named here has no say in how a token is checked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header<'a> {
    pub(super) alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<String>,
    /// Extensions that must be understood; we know none (RFC 7515, 4.1.11).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) crit: Option<Value>,
}

/// The body. A claim that stands twice, or has another type, is an error.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    /// Seconds since the Unix epoch.
    pub(super) exp: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iss: Option<String>,
    /// A text or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
}

impl Claims {
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one == audience),
            _ => false,
        }
    }
}

/// A time as tokens have it: seconds, with a fraction or not.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct Seconds(f64);

impl Seconds {
    /// The first whole second at or after a time: others read integers only (RFC 7519 allows a
    /// fraction), and a token must not end before it was asked to.
    pub(super) const fn at_least(time: Timestamp) -> Self {
        Self(time.0.saturating_add(999).div_euclid(1000) as f64)
    }

    /// In milliseconds; saturates.
    pub(super) fn timestamp(self) -> Timestamp {
        Timestamp((self.0 * 1000.0).round() as i64)
    }
}

impl Serialize for Seconds {
    /// As an integer: what we write are whole seconds.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(self.0 as i64)
    }
}
