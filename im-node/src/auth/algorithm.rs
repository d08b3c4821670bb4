//! Which signatures there are.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm;

use super::jwt::JwtError;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// How a token is signed. An authenticator takes exactly one.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum JwtAlgorithm {
            $($(#[$doc])* $name,)*
        }

        impl JwtAlgorithm {
            /// Its name in a token's header (`alg`).
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            pub(super) const fn inner(self) -> Algorithm {
                match self { $(Self::$name => Algorithm::$name,)* }
            }
        }

        impl FromStr for JwtAlgorithm {
            type Err = JwtError;
            fn from_str(name: &str) -> Result<Self, JwtError> {
                match name {
                    $(stringify!($name) => Ok(Self::$name),)*
                    _ => Err(JwtError::UnknownAlgorithm),
                }
            }
        }
    };
}

algorithms! {
    /// HMAC with SHA-256: a secret of at least 32 bytes.
    #[default]
    HS256;
    /// HMAC with SHA-384: a secret of at least 48 bytes.
    HS384;
    /// HMAC with SHA-512: a secret of at least 64 bytes.
    HS512;
    /// RSA PKCS #1 v1.5 with SHA-256: a key of at least 2048 bits.
    RS256;
    /// RSA PKCS #1 v1.5 with SHA-384: a key of at least 2048 bits.
    RS384;
    /// RSA PKCS #1 v1.5 with SHA-512: a key of at least 2048 bits.
    RS512;
    /// RSA PSS with SHA-256: a key of at least 2048 bits.
    PS256;
    /// RSA PSS with SHA-384: a key of at least 2048 bits.
    PS384;
    /// RSA PSS with SHA-512: a key of at least 2048 bits.
    PS512;
    /// ECDSA on P-256 with SHA-256.
    ES256;
    /// ECDSA on P-384 with SHA-384.
    ES384;
    /// Ed25519.
    EdDSA;
}

impl JwtAlgorithm {
    /// Of an HMAC, the fewest bytes of a secret: as many as the hash has (RFC 7518, 3.2).
    pub(super) const fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            _ => None,
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
