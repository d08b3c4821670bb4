//! Tokens: checking them, and minting them for demos and for `im-server token`.

use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{Timestamp, UserId};
use im_core::port::{AuthError, Authenticator, Identity};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode, encode,
};
use serde::{Deserialize, Serialize};

use crate::error::ServerError;
use crate::settings::{Key, Settings};

/// How far clocks may be apart, in seconds.
const LEEWAY_S: u64 = 5;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    pub(crate) exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
}

/// Checks tokens with the one algorithm that is configured.
pub(crate) struct Tokens {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// From the settings.
    ///
    /// # Errors
    /// When the public key can't be read, or is none of that algorithm.
    pub(crate) fn new(settings: &Settings) -> Result<Self, ServerError> {
        let algorithm = settings.algorithm;
        let key = match &settings.key {
            Key::Secret(secret) => DecodingKey::from_secret(secret.bytes()),
            Key::PublicFile(path) => {
                let bad = |what: String| {
                    let what = format!("{}: {what}", path.display());
                    ServerError::setting("jwt_public_key_file", what)
                };
                let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
                let key = match algorithm.family() {
                    AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(&pem),
                    AlgorithmFamily::Ec => DecodingKey::from_ec_pem(&pem),
                    _ => DecodingKey::from_ed_pem(&pem),
                };
                key.map_err(|error| bad(format!("no {algorithm:?} public key: {error}")))?
            }
        };
        Ok(Self { algorithm, key })
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let mut validation = Validation::new(self.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        let invalid = |error: &dyn std::fmt::Display| AuthError::Invalid(error.to_string());
        let claims = decode::<Claims>(token, &self.key, &validation);
        let claims = claims.map_err(|error| invalid(&error))?.claims;
        let expires_at =
            Timestamp(i64::try_from(claims.exp.saturating_mul(1_000)).unwrap_or(i64::MAX));
        if expires_at <= now {
            return Err(AuthError::Invalid("it has expired".to_owned()));
        }
        Ok(Identity {
            user: UserId::new(claims.sub).map_err(|error| invalid(&error))?,
            name: claims.name,
            roles: claims.roles,
            expires_at,
        })
    }
}

/// Mints a token that holds for `ttl` from now.
///
/// # Errors
/// When the settings have a public key only.
pub(crate) fn mint(
    settings: &Settings,
    user: &UserId,
    ttl: Duration,
    name: Option<String>,
    roles: Vec<String>,
) -> Result<String, ServerError> {
    let Key::Secret(secret) = &settings.key else {
        let what = format!(
            "{:?} tokens are signed with a private key",
            settings.algorithm
        );
        return Err(ServerError::Token(format!(
            "{what}, which this server does not have"
        )));
    };
    let claims = Claims {
        sub: user.as_str().to_owned(),
        exp: jsonwebtoken::get_current_timestamp().saturating_add(ttl.as_secs()),
        name,
        roles,
    };
    let header = Header::new(settings.algorithm);
    encode(&header, &claims, &EncodingKey::from_secret(secret.bytes()))
        .map_err(|error| ServerError::Token(error.to_string()))
}
