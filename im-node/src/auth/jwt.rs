//! The authenticator on JSON Web Tokens.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_core::model::{Timestamp, UserId};
use im_core::port::{AuthError, Authenticator, Identity};
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::algorithm::JwtAlgorithm;
use super::claims::{Claims, Header, Seconds};

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How far the clocks of those who sign and those who check may differ.
const LEEWAY_MS: u64 = 5000;
/// The shortest RSA key (RFC 7518, 3.3).
const RSA_BITS_MIN: usize = 2048;

/// Why there is no such authenticator, or no such token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// No algorithm of that name, or `none`.
    #[error(
        "unknown algorithm; one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, \
             PS512, ES256, ES384, EdDSA"
    )]
    UnknownAlgorithm,
    /// A secret that can be guessed.
    #[error(
        "the secret has {bytes} bytes, {algorithm} needs at least {min}; \
             make one with: openssl rand -base64 48"
    )]
    ShortSecret {
        /// How long it is.
        bytes: usize,
        /// How long it must be.
        min: usize,
        /// For which algorithm.
        algorithm: JwtAlgorithm,
    },
    /// A public or private key in place of a secret: whoever has the public key could sign.
    #[error("the secret is a key in PEM form; {0} needs a random secret")]
    PemAsSecret(JwtAlgorithm),
    /// A secret where a public key is needed, or the other way round.
    #[error("{0} needs a public key in PEM form, not a secret")]
    NeedsPublicKey(JwtAlgorithm),
    /// The other way round.
    #[error("{0} needs a secret, not a public key")]
    NeedsSecret(JwtAlgorithm),
    /// No PEM, or another kind of key.
    #[error("not a public key for {0} in PEM form")]
    BadKey(JwtAlgorithm),
    /// An RSA key that can be broken.
    #[error("the RSA key has {bits} bits, at least {RSA_BITS_MIN} are needed")]
    ShortKey {
        /// How long it is.
        bits: usize,
    },
    /// Only those who share a secret can sign.
    #[error("tokens of {0} are signed elsewhere")]
    CantMint(JwtAlgorithm),
}

/// An [`Authenticator`] on JSON Web Tokens of one key and one algorithm.
///
/// `sub` is the user, `exp` is needed, `nbf` honoured, with a leeway of 5 s against the `now` that
/// is passed in; `name` and `roles` are taken when there. A token with an `aud` is refused unless
/// that audience was set ([`Self::audience`]). Anything else than the one algorithm is refused
/// before the key is touched, and tokens longer than 8 KiB are not looked at.
///
/// ```
/// # use im_node::auth::JwtAuthenticator;
/// let auth = JwtAuthenticator::hs256("at least 32 bytes that nobody can guess")?;
/// assert!(JwtAuthenticator::hs256("short").is_err());
/// # Ok::<(), im_node::auth::JwtError>(())
/// ```
pub struct JwtAuthenticator {
    algorithm: JwtAlgorithm,
    key: DecodingKey,
    /// Of a shared secret only.
    signing: Option<EncodingKey>,
    audience: Option<String>,
    issuer: Option<String>,
    key_id: Option<String>,
}

impl JwtAuthenticator {
    /// On HS256 with a shared secret, the default of `im-server`.
    ///
    /// # Errors
    /// When the secret has fewer than 32 bytes, or is a key in PEM form.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        Self::with_secret(JwtAlgorithm::HS256, secret)
    }

    /// On an HMAC with a shared secret.
    ///
    /// # Errors
    /// When the algorithm is no HMAC, or the secret is shorter than its hash or in PEM form.
    pub fn with_secret(
        algorithm: JwtAlgorithm,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, JwtError> {
        let secret = secret.as_ref();
        let Some(min) = algorithm.secret_bytes_min() else {
            return Err(JwtError::NeedsPublicKey(algorithm));
        };
        let bytes = secret.len();
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(JwtError::PemAsSecret(algorithm));
        }
        if bytes < min {
            return Err(JwtError::ShortSecret {
                bytes,
                min,
                algorithm,
            });
        }
        Ok(Self {
            signing: Some(EncodingKey::from_secret(secret)),
            ..Self::new(algorithm, DecodingKey::from_secret(secret))
        })
    }

    /// On RSA, ECDSA or Ed25519 with the signer's public key in PEM form.
    ///
    /// # Errors
    /// When the algorithm is an HMAC, the key is none for it, or an RSA key of under 2048 bits.
    pub fn with_public_key(
        algorithm: JwtAlgorithm,
        pem: impl AsRef<[u8]>,
    ) -> Result<Self, JwtError> {
        use JwtAlgorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512};
        let pem = pem.as_ref();
        let key = match algorithm {
            HS256 | HS384 | HS512 => return Err(JwtError::NeedsSecret(algorithm)),
            ES256 | ES384 => DecodingKey::from_ec_pem(pem),
            EdDSA => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let bad = |_| JwtError::BadKey(algorithm);
        let auth = Self::new(algorithm, key.map_err(bad)?);
        // A key of another curve shows when it is used: now, not with the first token.
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm.inner(), &auth.key).map_err(bad)?;
        if !matches!(algorithm, ES256 | ES384 | EdDSA) {
            check_rsa_length(&auth.key).map_err(|bits| {
                bits.map_or(JwtError::BadKey(algorithm), |bits| JwtError::ShortKey {
                    bits,
                })
            })?;
        }
        Ok(auth)
    }

    const fn new(algorithm: JwtAlgorithm, key: DecodingKey) -> Self {
        Self {
            algorithm,
            key,
            signing: None,
            audience: None,
            issuer: None,
            key_id: None,
        }
    }

    /// Takes only tokens whose `aud` is or holds this.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Takes only tokens whose `iss` is this.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Takes only tokens whose header has this `kid`.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Signs a token that this authenticator takes from `now` on for `ttl`.
    ///
    /// # Errors
    /// When it checks by a public key, and so can't sign.
    pub fn mint(
        &self,
        sub: &UserId,
        now: Timestamp,
        ttl: Duration,
        name: Option<&str>,
        roles: &[String],
    ) -> Result<String, JwtError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let claims = Claims {
            sub: sub.to_string(),
            exp: Seconds::at_least(now.plus_ms(ttl_ms)),
            nbf: None,
            iss: self.issuer.clone(),
            aud: self.audience.clone().map(Into::into),
            name: name.map(str::to_owned),
            roles: roles.to_vec(),
        };
        self.sign(&claims).ok_or(JwtError::CantMint(self.algorithm))
    }

    fn sign(&self, claims: &Claims) -> Option<String> {
        let header = Header {
            alg: self.algorithm.as_str(),
            kid: self.key_id.clone(),
            crit: None,
        };
        let key = self.signing.as_ref()?;
        let part = |json| URL_SAFE_NO_PAD.encode::<Vec<u8>>(json);
        let header = serde_json::to_vec(&header).ok().map(part)?;
        let claims = serde_json::to_vec(claims).ok().map(part)?;
        let message = format!("{header}.{claims}");
        // The provider by name: the process-wide one panics in an app whose other crates turn on
        // another provider of the same library.
        let signer = (DEFAULT_PROVIDER.signer_factory)(&self.algorithm.inner(), key).ok()?;
        let signature = signer.try_sign(message.as_bytes()).ok()?;
        Some(format!("{message}.{}", part(signature)))
    }

    fn check(&self, token: &str, now: Timestamp) -> Result<Identity, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("longer than 8 KiB");
        }
        let (message, signature) = token.rsplit_once('.').ok_or("not three parts")?;
        let (header, body) = message.split_once('.').ok_or("not three parts")?;
        if body.contains('.') {
            return Err("not three parts");
        }
        self.check_header(&decode(header)?)?;
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.inner(), &self.key);
        let verifier = verifier.map_err(|_| "the key is none for the algorithm")?;
        let verified = verifier.verify(message.as_bytes(), &decode(signature)?);
        verified.map_err(|_| "the signature is another one")?;
        let claims = serde_json::from_slice(&decode(body)?).map_err(|_| "claims misshapen")?;
        self.check_claims(claims, now)
    }

    fn check_header(&self, header: &[u8]) -> Result<(), &'static str> {
        let header: Header<'_> = serde_json::from_slice(header).map_err(|_| "header misshapen")?;
        if header.alg != self.algorithm.as_str() {
            return Err("another algorithm");
        }
        if header.crit.is_some() {
            return Err("an extension that must be understood");
        }
        if self.key_id.is_some() && self.key_id != header.kid {
            return Err("another key id");
        }
        Ok(())
    }

    fn check_claims(&self, claims: Claims, now: Timestamp) -> Result<Identity, &'static str> {
        let expires_at = claims.exp.timestamp();
        if now >= expires_at.plus_ms(LEEWAY_MS) {
            return Err("expired");
        }
        if claims
            .nbf
            .is_some_and(|nbf| now.plus_ms(LEEWAY_MS) < nbf.timestamp())
        {
            return Err("not yet good");
        }
        match &self.audience {
            Some(audience) if !claims.is_for(audience) => return Err("for another audience"),
            // RFC 7519, 4.1.3: not for us, since we have no name among its audience.
            None if claims.aud.is_some() => return Err("for an audience, and none is set here"),
            _ => {}
        }
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err("of another issuer");
        }
        Ok(Identity {
            user: UserId::new(claims.sub).map_err(|_| "sub is no user id")?,
            name: claims.name,
            roles: claims.roles,
            expires_at,
        })
    }
}

impl fmt::Debug for JwtAuthenticator {
    /// No key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthenticator")
            .field("algorithm", &self.algorithm)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let checked = self.check(token, now);
        checked.map_err(|why| AuthError::Invalid(why.to_owned()))
    }
}

fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url")
}

/// The length of a key that is too short, or `None` when it is no RSA public key.
fn check_rsa_length(key: &DecodingKey) -> Result<(), Option<usize>> {
    let der = key.try_get_as_bytes().map_err(|_| None)?;
    let components = DEFAULT_PROVIDER
        .key_utils
        .rsa_pub_components_from_public_key;
    let (modulus, _) = components(der).map_err(|_| None)?;
    let bits = modulus.len() * 8;
    if bits < RSA_BITS_MIN {
        return Err(Some(bits));
    }
    Ok(())
}
