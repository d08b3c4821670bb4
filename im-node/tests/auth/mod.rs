//! JSON Web Tokens: the suite for each kind of key, and what the suite can't know.

use std::sync::Arc;

use im_node::auth::{JwtAlgorithm, JwtAuthenticator};
use im_testkit::suite::auth::{Signing, Tokens};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

mod details;
mod keys;

const SECRET: &[u8] =
    b"a secret of the tests, of over 64 bytes, that opens nothing at all anywhere";
const OTHER_SECRET: &[u8] =
    b"another one of the tests, of over 64 bytes, that opens nothing either...";

/// What signs for one authenticator.
struct Signers {
    algorithm: Algorithm,
    right: EncodingKey,
    wrong: EncodingKey,
    other: (Algorithm, EncodingKey),
    public_pem: Option<&'static [u8]>,
}

impl Signers {
    fn mint(&self, signing: Signing, claims: &Value) -> Option<String> {
        let (algorithm, key) = match signing {
            Signing::Right => (self.algorithm, self.right.clone()),
            Signing::WrongKey => (self.algorithm, self.wrong.clone()),
            Signing::OtherAlgorithm => self.other.clone(),
            Signing::PublicKeyAsSecret => {
                let secret = EncodingKey::from_secret(self.public_pem?);
                (Algorithm::HS256, secret)
            }
        };
        Some(sign(algorithm, &key, claims))
    }
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

/// HMAC with the tests' secret.
fn shared_secret(name: &str, algorithm: Algorithm, other: Algorithm) -> Tokens {
    let auth = JwtAuthenticator::with_secret(name.parse().unwrap(), SECRET).unwrap();
    let signers = Signers {
        algorithm,
        right: EncodingKey::from_secret(SECRET),
        wrong: EncodingKey::from_secret(OTHER_SECRET),
        other: (other, EncodingKey::from_secret(SECRET)),
        public_pem: None,
    };
    tokens(auth, signers)
}

/// A public key of the tests, and who has the private one.
fn public_key(name: &str, pem: &'static [u8], signers: Signers) -> Tokens {
    let algorithm: JwtAlgorithm = name.parse().unwrap();
    tokens(
        JwtAuthenticator::with_public_key(algorithm, pem).unwrap(),
        signers,
    )
}

fn tokens(auth: JwtAuthenticator, signers: Signers) -> Tokens {
    Tokens {
        auth: Arc::new(auth),
        mint: Box::new(move |signing, claims| signers.mint(signing, claims)),
    }
}

macro_rules! suite_of_secret {
    ($module:ident, $algorithm:ident, $other:ident) => {
        mod $module {
            use super::*;

            async fn fresh() -> ((), Tokens) {
                let name = stringify!($algorithm);
                (
                    (),
                    shared_secret(name, Algorithm::$algorithm, Algorithm::$other),
                )
            }

            im_testkit::auth_suite!(fresh());
        }
    };
}

macro_rules! suite_of_key {
    ($module:ident, $algorithm:ident, $from_pem:ident, $file:literal, $other:expr) => {
        mod $module {
            use super::*;

            async fn fresh() -> ((), Tokens) {
                let public = include_bytes!(concat!("../keys/", $file, ".public.pem"));
                let right = include_bytes!(concat!("../keys/", $file, ".private.pem"));
                let wrong = include_bytes!(concat!("../keys/", $file, "-other.private.pem"));
                let signers = Signers {
                    algorithm: Algorithm::$algorithm,
                    right: EncodingKey::$from_pem(right).unwrap(),
                    wrong: EncodingKey::$from_pem(wrong).unwrap(),
                    other: $other,
                    public_pem: Some(public),
                };
                ((), public_key(stringify!($algorithm), public, signers))
            }

            im_testkit::auth_suite!(fresh());
        }
    };
}

// One of each family: the rest differ in what the library does below us (`details`).
suite_of_secret!(hs256, HS256, HS512);
suite_of_key!(rs256, RS256, from_rsa_pem, "rsa", rsa(Algorithm::PS256));
suite_of_key!(es256, ES256, from_ec_pem, "p256", p384());
suite_of_key!(eddsa, EdDSA, from_ed_pem, "ed25519", hmac());

fn rsa(algorithm: Algorithm) -> (Algorithm, EncodingKey) {
    let pem = include_bytes!("../keys/rsa.private.pem");
    (algorithm, EncodingKey::from_rsa_pem(pem).unwrap())
}

fn p384() -> (Algorithm, EncodingKey) {
    let pem = include_bytes!("../keys/p384.private.pem");
    (Algorithm::ES384, EncodingKey::from_ec_pem(pem).unwrap())
}

fn hmac() -> (Algorithm, EncodingKey) {
    (Algorithm::HS256, EncodingKey::from_secret(SECRET))
}
