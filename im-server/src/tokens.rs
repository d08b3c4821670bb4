//! Tokens: checking them, and minting them for demos and for `im-server token`.

use std::time::Duration;

use im_core::model::UserId;
use im_core::port::Clock as _;
use im_node::TokioClock;
use im_node::auth::JwtAuthenticator;

use crate::error::ServerError;
use crate::settings::{Key, Settings};

/// What checks the tokens that the settings tell of.
///
/// # Errors
/// When the key is too short, can't be read, or is none of the algorithm.
pub(crate) fn authenticator(settings: &Settings) -> Result<JwtAuthenticator, ServerError> {
    let algorithm = settings.algorithm;
    match &settings.key {
        Key::Secret(secret) => JwtAuthenticator::with_secret(algorithm, secret.bytes())
            .map_err(|error| ServerError::setting("jwt_secret", error.to_string())),
        Key::PublicFile(path) => {
            let bad = |what: String| {
                let what = format!("{}: {what}", path.display());
                ServerError::setting("jwt_public_key_file", what)
            };
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            JwtAuthenticator::with_public_key(algorithm, pem)
                .map_err(|error| bad(error.to_string()))
        }
    }
}

/// Mints a token that holds for `ttl` from now.
///
/// # Errors
/// When the settings have a public key only.
pub(crate) fn mint(
    auth: &JwtAuthenticator,
    user: &UserId,
    ttl: Duration,
    name: Option<&str>,
    roles: &[String],
) -> Result<String, ServerError> {
    auth.mint(user, TokioClock.timestamp(), ttl, name, roles)
        .map_err(|error| ServerError::Token(error.to_string()))
}
